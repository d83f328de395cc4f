"""The trees of tests/build, on which everything here is killed, starved or frozen."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "build"))
from trees import bare, complete, fresh, tree

__all__ = ["bare", "complete", "fresh", "tree"]
