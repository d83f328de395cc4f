"""The wrapper as the harness's Python runs it: by its path, without benchy."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchy.core import paths
from benchy.evaluation import harness, task_list


def siblings(script: Path) -> set[Path]:
    """Return the scripts that a script imports, at any depth, and itself."""
    found, new = set[Path](), {script}
    while new:
        path = new.pop()
        found.add(path)
        modules = {
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        imported = {path.with_name(f"{module.rpartition('.')[2]}.py") for module in modules}
        new |= {each for each in imported if each.is_file()} - found
    return found


@pytest.mark.parametrize(
    ("script", "hashed"),
    [
        (harness.WRAPPER, harness.WRAPPER_FILES),
        (task_list.SCRIPT, (task_list.SCRIPT, task_list.SHARED)),
    ],
)
def test_caches_depend_on_all_files_of_a_script(script: Path, hashed: tuple[Path, ...]) -> None:
    assert siblings(script) == set(hashed)


@pytest.mark.parametrize("name", ["harness_wrapper", "harness_preview"])
def test_script_runs_by_its_path_in_an_environment_without_benchy(
    tmp_path: Path, name: str
) -> None:
    """The modules of lm_eval that the scripts change are missing here."""
    (tmp_path / "lm_eval").mkdir()
    (tmp_path / "lm_eval/__init__.py").touch()
    (tmp_path / "lm_eval/__main__.py").write_text("import sys\nprint(sys.argv[1:], sys.path[0])")
    settings: dict[str, Any] = {
        "facts": str(tmp_path / "facts"), "gen_kwargs": {}, "request_fields": None,
        "server": ["127.0.0.1", 1], "guardian": os.getpid(),
    }  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    script = str(paths.SCRIPTS.resolve() / f"{name}.py")
    command = [sys.executable, script, "settings.json", "-m", "lm_eval", "--tasks=t"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    if name == "harness_preview":
        assert done.returncode == 1 and "this harness has other code: No module" in done.stderr
        return
    assert "this harness runs unobserved: No module named" in done.stderr
    assert (done.returncode, done.stdout) == (0, "['--tasks=t'] \n"), done.stderr
    assert not (tmp_path / "facts").exists()
