"""Tests of imports in lib/benchy: packages import only packages below them, without cycles.

Imports within functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import benchy
from benchy.core.paths import CODE

# The packages from the top down, as the docstring of lib/benchy/__init__.py lists them.
PACKAGES = [
    line.split()[0] for line in (benchy.__doc__ or "").splitlines() if line.startswith("  ")
]


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield (module, module that it imports, "file:line") for all modules in packages."""
    for path in sorted(CODE.glob("*/*.py")):
        module = ".".join(path.relative_to(CODE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(CODE.parents[1])}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                parts = name.split(".")
                if parts[0] == "benchy" and parts[1:]:
                    yield module, ".".join(parts[1:3]), where


def test_the_docstring_of_benchy_lists_every_package() -> None:
    assert sorted(path.parent.name for path in CODE.glob("*/__init__.py")) == sorted(PACKAGES)
    assert [path.name for path in CODE.glob("*.py")] == ["__init__.py"]


def test_no_package_imports_one_above_it() -> None:
    rank = {package: at for at, package in enumerate(PACKAGES)}
    upward = [
        f"{where}: {module} imports {other}"
        for module, other, where in imports()
        if rank[other.partition(".")[0]] < rank[module.partition(".")[0]]
    ]
    assert not upward, "\n".join(upward)


def test_imports_of_modules_have_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for module, other, _ in imports():
        graph.setdefault(module, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(error.args[1])) from None


def test_scripts_import_nothing_of_benchy() -> None:
    """Scripts run in other environments. They import each other only for type checkers."""
    found = [
        f"{where}: {other}"
        for module, other, where in imports()
        if module.startswith("scripts.") and not other.startswith("scripts.")
    ]
    assert not found, "\n".join(found)


def test_the_version_matches_pyproject() -> None:
    text = (CODE.parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{benchy.__version__}"\n' in text
