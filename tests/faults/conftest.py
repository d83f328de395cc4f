"""The fixtures of tests/build, for the trees that these tests disturb."""

from trees import bare, complete, fresh, tree

__all__ = ["bare", "complete", "fresh", "tree"]
