"""Tests of finding and running uv: its output, its failures, and processes left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.core.errors import UsageError
from benchy.environments import uv
from benchy.process import logged_program


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_uv_is_found_by_variable_then_project_then_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv, "ROOT", tmp_path / "nowhere")
    named, other = program(tmp_path / "a/uv", ""), program(tmp_path / "b/uv", "")
    environ = {"PATH": str(other.parent)}
    assert uv.find(environ) == other
    assert uv.find({**environ, "UV": str(named)}) == named
    own = program(tmp_path / "nowhere/.uv/bin/uv", "")
    assert uv.find(environ) == own, "the project's own comes before the machine's"
    with pytest.raises(UsageError, match="there is no program"):
        uv.find({**environ, "UV": str(tmp_path / "gone")})


def test_missing_uv_suggests_make_bootstrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv, "ROOT", tmp_path)
    with pytest.raises(UsageError, match="make bootstrap"):
        uv.find({"PATH": str(tmp_path)})


ENDS = [
    ("no network", 2, ["error: Failed to fetch: `https://h/simple/x/`", "  cause: dns error"],
     "cannot be reached"),
    ("full disk", 2, ["error: failed to copy", "  cause: No space left on device (os error 28)"],
     "the disk is full"),
    ("a signal", -9, [], "ended by SIGKILL"),
    ("anything else", 1, ["warning: w", "error: No solution found", "  cause: because"], "it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "stderr", "said"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS]
)
def test_failure_describes_how_uv_ended(
    tmp_path: Path, status: int, stderr: list[str], said: str
) -> None:
    failure = uv.failure(logged_program.Done(status, "", stderr), "it", tmp_path / "log")
    assert said in failure.what
    assert failure.lines == [line for line in stderr if not line.startswith("warning")]
    assert failure.log == str(tmp_path / "log")


def test_uv_does_not_inherit_variables_of_benchy_s_python(monkeypatch: pytest.MonkeyPatch) -> None:
    found = uv.variables({"PATH": "/bin", "VIRTUAL_ENV": "/v", "PYTHONPATH": "lib", "KEEP": "1"})
    assert found["KEEP"] == "1"
    assert not {"VIRTUAL_ENV", "PYTHONPATH"} & set(found)
    assert found["PATH"].split(":")[0] == "/bin"


def test_find_links_folder_with_local_torch_can_be_excluded(tmp_path: Path) -> None:
    """uv resolves torch==2.13.0 to 2.13.0+cpu if that is available, and +cpu cannot use a GPU."""
    for folder, wheel in (("a", "torch-2.13.0+cpu-cp311-x.whl"), ("b", "torch-2.13.0-cp311-x.whl")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / wheel).touch()
    links = [str(tmp_path / "a"), str(tmp_path / "b"), "https://host.example/w"]
    environ = {"UV_FIND_LINKS": ",".join(links)}
    assert uv.variables(environ)["UV_FIND_LINKS"] == ",".join(links)
    assert uv.variables(environ, local_torch=False)["UV_FIND_LINKS"] == ",".join(links[1:])


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False), ("", False)])
def test_offline_reads_the_knob(text: str, expected: bool) -> None:
    assert uv.offline({"OFFLINE": text}) is expected
