"""Which libraries a command loads when it starts: each costs every call of it."""

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
# Commands besides these may load what they like, but for those that no command needs to start.
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
def test_a_command_loads_no_library_that_it_may_not_need(command: str) -> None:
    words = [sys.executable, "-I", "-c", CODE_OF, str(CODE.parent), command, *SLOW]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LOADS[command]
