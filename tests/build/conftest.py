"""Fixtures from tests/support/trees.py."""

from trees import bare, complete, fresh, tree

__all__ = ["bare", "complete", "fresh", "tree"]
