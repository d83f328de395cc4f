"""The fixtures of trees.py."""

from trees import bare, complete, fresh, tree

__all__ = ["bare", "complete", "fresh", "tree"]
