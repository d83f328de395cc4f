"""The YAML files of harness tasks: read with `!function`, compared by their meaning.

A comment or another order of keys is no change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchy.core import hashing

MOST_NODES = 200_000  # of a YAML file; one with more (nested aliases) counts by its bytes


@dataclass(frozen=True)
class Function:
    """`!function module.name`. folder: the folder of the file that contains it."""

    text: str
    folder: Path


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    folder = Path()


def _construct_function(loader: Any, node: yaml.Node) -> Function:
    return Function(str(loader.construct_scalar(node)), loader.folder)


_Loader.add_constructor("!function", _construct_function)


def load(path: Path) -> Any:
    """Read a YAML file. Raise OSError, ValueError, yaml.YAMLError or RecursionError."""
    loader = _Loader(path.read_bytes())
    loader.folder = path.parent
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def leaves(value: Any) -> Iterator[Any]:
    """Yield every value that is no dict or list. MOST_NODES bounds an alias of itself."""
    waiting, remaining = [value], MOST_NODES
    while waiting and remaining:
        remaining -= 1
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        else:
            yield node


def strings(value: Any) -> Iterator[str]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, str))


def meaning(path: Path) -> str:
    """Return a digest of a YAML file's meaning, or of its bytes if unreadable. Raise OSError."""
    try:
        return hashing.digest(_plain(load(path)))
    except (ValueError, TypeError, yaml.YAMLError, RecursionError):
        return hashing.sha256(path)


def _plain(value: Any) -> Any:
    """Return YAML values as JSON has them.

    Raise ValueError for more than MOST_NODES values, which aliases of aliases can make.
    """
    remaining = MOST_NODES

    def plain(node: Any) -> Any:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            raise ValueError("too many values")
        if isinstance(node, dict):
            return {
                k if isinstance(k, str) else f"{type(k).__name__} {k}": plain(v)
                for k, v in node.items()
            }
        if isinstance(node, list):
            return [plain(item) for item in node]
        if isinstance(node, Function):
            return {"!function": node.text}
        if node is None or isinstance(node, str | int | float):
            return node
        return f"{type(node).__name__} {node}"

    return plain(value)
