"""What the Python code of harness tasks imports, and whether it may open files."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# What Python code opens files with: modules, names, and attributes with these prefixes. Functions
# that only read text (`json.loads`) are excluded.
MODULES = frozenset(
    {
        "builtins", "codecs", "fileinput", "fsspec", "glob", "importlib", "io", "linecache", "mmap",
        "os", "pathlib", "pkgutil", "polars", "pyarrow", "runpy", "shelve", "shutil", "sqlite3",
        "subprocess", "sys", "tarfile", "zipfile",
    }
)  # fmt: skip
CALLS = frozenset({"__file__", "__import__", "__loader__", "__spec__", "eval", "exec", "open"})
READERS = ("load", "read", "open", "from_file", "fromfile", "genfromtxt")
TEXT_READERS = frozenset({"loads"})


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield modules that may be imported; for `from a import b` both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def opens_files(tree: ast.Module) -> bool:
    """Return whether code uses anything that can open files."""
    if any(module.split(".")[0] in MODULES for module in imported(tree)):
        return True
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Name) and node.id in CALLS:
            return True
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        if any(name.startswith(READERS) and name not in TEXT_READERS for name in names):
            return True
    return False
