"""Tests of the libraries that commands import at startup: each one slows down every call."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchy.core.paths import CODE

SLOW = ("jinja2", "pydantic", "requests", "rich")
CODE_OF = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
importlib.import_module("benchy.cli." + sys.argv[2])
print(*[name for name in sys.argv[3:] if name in sys.modules])
"""
# Command → slow libraries that it may import at startup. Other commands are not limited.
LOADS = {
    "compare": set(),
    "eval": set(),
    "fetch": set(),
    "health": set(),
    "idle": set(),
    "knobs": set(),
    "plan": {"pydantic"},
    "run": set(),
    "serve": set(),
    "venv": set(),
    "why": set(),
}


@pytest.mark.parametrize("command", LOADS)
def test_a_command_imports_only_the_slow_libraries_that_it_needs(command: str) -> None:
    words = [sys.executable, "-I", "-c", CODE_OF, str(CODE.parent), command, *SLOW]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LOADS[command]
