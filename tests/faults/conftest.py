"""The trees of tests/build, on which everything here is killed, starved or frozen."""

from trees import bare, complete, fresh, tree

__all__ = ["bare", "complete", "fresh", "tree"]
