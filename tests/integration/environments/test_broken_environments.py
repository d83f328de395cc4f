"""Tests of condemning, sweeping and checking environments while other processes use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.cli import health as health_command
from benchy.cli import venv as venv_command
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.environments import (
    audit,
    builder,
    checker,
    health,
    inventory,
    removal,
    resolver,
    usage_locks,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.evaluation import evaluate
from benchy.maintenance import activity_check
from benchy.process import logged_program
from benchy.process.signals import Signals
from benchy.scripts import probe_environment
from benchy.serving import preparation

ENV = "standin_1_0_0"
SPEC = BuildSpec(ENV, "engine", "standin-engine", "1.0.0", ("standin-engine==1.0.0",))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path / "leases"))
    return tmp_path


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def built(env: str = ENV) -> Path:
    """Make a folder that looks like a complete environment."""
    folder = paths.env_dir(env)
    put(folder / "bin/python", "#!/bin/sh\n").chmod(0o755)
    put(folder / "lock", "standin-engine==1.0.0\n")
    put(paths.stamp(env), json.dumps(health.seal(folder) | {"lock": "1"}))
    return folder


@contextmanager
def builder_elsewhere(env: str) -> Iterator[None]:
    """Hold the builder's lock in another process, as a builder of any host does."""
    code = (
        "import sys; from benchy.environments import usage_locks\n"
        f"with usage_locks.held({env!r}): print(flush=True); sys.stdin.read()"
    )
    lib = str(Path(health.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": lib},
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == b"\n"
        yield
    finally:
        process.communicate()


# --- leftovers of builds


def test_prune_keeps_the_build_folder_of_a_builder_on_another_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inventory, "plan", lambda: {"environments": {}, "models": {}})
    monkeypatch.setattr(activity_check, "plans", list)
    running = put(removal.BUILDING / f"{ENV}-999999999/x").parent  # no such pid on this host
    dead = put(removal.BUILDING / f"other_1_0_0-{os.getpid()}.old/x").parent  # a reused pid
    with builder_elsewhere(ENV):
        states = {path: alive for _, path, alive in removal.unfinished()}
        assert states == {running: True, dead: False}
        assert venv_command.main(["prune", "--yes"]) == 0
        assert running.exists() and not dead.exists()
    assert venv_command.main(["prune", "--yes"]) == 0
    assert not running.exists(), "its builder is gone"


def test_looking_for_unfinished_builds_writes_nothing() -> None:
    put(removal.BUILDING / f"{ENV}-1/x")
    assert [alive for *_, alive in removal.unfinished()] == [False]
    assert not (paths.VENVS / ".locks").exists()


# --- reasons that are out of date


def broken_once(env: str) -> Callable[[str], str]:
    """Return a check that finds a reason once, as if another process rebuilt it meanwhile."""
    reasons = ["its files were changed by hand: x.py"]
    return lambda asked: reasons.pop() if reasons and asked == env else ""


def test_condemn_checks_again_under_the_builders_lock() -> None:
    built()
    assert health.condemn(ENV, broken_once(ENV)) == ""
    assert health.intact(ENV) and not (paths.env_dir(ENV) / ".broken").exists()


def test_condemn_waits_for_the_builder() -> None:
    folder = built()
    (folder / "bin/python").chmod(0o644)
    with builder_elsewhere(ENV):
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(health.condemn(ENV, health.flaw)))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and paths.stamp(ENV).exists()
        (folder / "bin/python").chmod(0o755)  # the builder repairs it
    thread.join()
    assert found == [""] and health.intact(ENV)


def test_condemn_returns_the_reason_of_another_process() -> None:
    built()
    why = "its files were changed by hand: x.py"
    assert health.condemn(ENV, lambda env: why) == why
    assert not paths.stamp(ENV).exists()
    assert health.condemn(ENV, health.edited) == why


def health_checks() -> None:
    health_command.main([])


def venv_check() -> None:
    assert venv_command.inspect(SPEC) == "1.0.0"


def server_starts() -> None:
    spec: Any = {"model": "m", "environment": ENV}
    assert preparation.ready_environment(spec, Signals(), closely=True).name == ENV


def task_starts() -> None:
    job: Any = SimpleNamespace(title="m t", spec={"task": {"harness_environment": ENV}})
    evaluate.check_environment(job)


CALLERS = [("flaw", health_checks), ("flaw", venv_check), ("edited", server_starts),
           ("edited", task_starts)]  # fmt: skip


@pytest.mark.parametrize(("name", "work"), CALLERS, ids=[work.__name__ for _, work in CALLERS])
def test_a_rebuilt_environment_is_not_condemned(
    name: str, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process rebuilds it between the check and the builder's lock."""
    built()
    reasons = broken_once(ENV)
    monkeypatch.setattr(checker, "check", lambda spec, folder: "1.0.0")
    monkeypatch.setattr(audit, "against_lock", lambda spec, log: "")
    monkeypatch.setattr(health, name, reasons)
    work()
    assert paths.stamp(ENV).exists() and reasons(ENV) == ""


def test_a_task_does_not_start_from_an_edited_harness() -> None:
    built()
    health.condemn(ENV, lambda env: "its files were changed by hand: x.py")
    with pytest.raises(Failure, match=f"m t: {ENV}: its files were changed by hand: x.py"):
        task_starts()


def test_check_protects_the_environment_from_being_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built()
    monkeypatch.setattr(audit, "against_lock", lambda spec, log: "")

    def check(spec: BuildSpec, folder: Path) -> str:
        with usage_locks.unused(ENV) as unused:
            assert not unused
        return "1.0.0"

    monkeypatch.setattr(checker, "check", check)
    assert venv_command.inspect(SPEC) == "1.0.0"


@pytest.mark.parametrize("content", [b"x.py,sha256=A,many\n", b"\xff,sha256=A,1\n"])
def test_damaged_record_counts_as_edited(content: bytes) -> None:
    folder = built()
    record = folder / "lib/python3.11/site-packages/x-1.dist-info/RECORD"
    put(record).write_bytes(content)
    stamp = health.seal(folder) | {"lock": "1", "when": "2026-01-01T00:00:00Z"}
    put(paths.stamp(ENV), json.dumps(stamp))
    assert audit.against_records(folder) == {"x-1": ["x-1.dist-info/RECORD"]}
    assert health.edited(ENV) == "its files were changed by hand: x-1.dist-info/RECORD"


# --- the main environment, which is installed in place


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """Replace uv and the probe. Each entry has the words of an install and its status."""
    made: list[tuple[list[str], int]] = []
    statuses = [0, 2, 0]

    def install(
        spec: BuildSpec, verb: list[str], python: Path, options: list[str]
    ) -> logged_program.Done:
        made.append((list(verb), statuses.pop(0)))
        return logged_program.Done(made[-1][1], "", ["error: no network"])

    monkeypatch.setattr(builder, "_install", install)
    monkeypatch.setattr(builder, "ensure_lock", lambda spec: False)
    monkeypatch.setattr(checker, "check", lambda spec, folder: "1.0.0")
    return made


@pytest.mark.parametrize("noticed", [True, False], ids=["condemned", "found by the build"])
def test_failed_reinstallation_remembers_that_files_were_edited(
    noticed: bool, installs: list[tuple[list[str], int]]
) -> None:
    folder = paths.env_dir(paths.MAIN)
    put(folder / "bin/python", "#!/bin/sh\n").chmod(0o755)
    site = folder / "lib/python3.11/site-packages"
    module = put(site / "standin_engine/__init__.py", "x = 1\n")
    put(site / "standin_engine-1.0.0.dist-info/RECORD", "standin_engine/__init__.py,sha256=A,6\n")
    put(paths.lock(paths.MAIN), "standin-engine==1.0.0\n")
    spec = BuildSpec(paths.MAIN, "main", "standin-engine", "1.0.0", ())
    builder.create(spec)
    good = "standin_engine/__init__.py,,\n"
    module.write_text("x = 2, by hand\n")
    if noticed:
        assert isinstance(health.condemn(paths.MAIN, health.edited), health.EditedFiles)
    else:
        put(paths.lock(paths.MAIN), "standin-engine==1.0.0\nmore==1\n")
    with pytest.raises(Failure, match="cannot be installed"):
        builder.create(spec)
    assert not health.intact(paths.MAIN)
    put(site / "standin_engine-1.0.0.dist-info/RECORD", good)
    assert builder.create(spec)
    assert ["--reinstall" in verb for verb, _ in installs] == [False, True, True]
    assert health.intact(paths.MAIN) and not (folder / ".broken").exists()


def test_edits_of_packages_that_benchy_did_not_install_do_not_count(
    installs: list[tuple[list[str], int]],
) -> None:
    folder = paths.env_dir(paths.MAIN)
    put(folder / "bin/python", "#!/bin/sh\n").chmod(0o755)
    site = folder / "lib/python3.11/site-packages"
    put(site / "pytest-1.dist-info/RECORD", "pytest.py,sha256=A,6\n")
    put(paths.lock(paths.MAIN), "standin-engine==1.0.0\n")
    builder.create(BuildSpec(paths.MAIN, "main", "standin-engine", "1.0.0", ()))
    assert health.edited(paths.MAIN) == ""


# --- the probe


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Replace the probe by one that writes `result`, and then calls `meanwhile`."""
    given: dict[str, Any] = {"status": 0, "result": None, "meanwhile": lambda: None}

    def run(command: list[str], *rest: object, **more: object) -> logged_program.Done:
        out = Path(command[-1])
        if given["result"]:
            (out / "flags.json").write_text('{"--new": {}}\n')
            given["meanwhile"]()
            (out / "check.json").write_text(json.dumps(given["result"]))
        given["meanwhile"]()
        return logged_program.Done(given["status"], "", [])

    monkeypatch.setattr(logged_program, "run_program", run)
    yield given


def test_check_of_a_live_environment_never_hides_its_files(probe: dict[str, Any]) -> None:
    folder = built()
    put(folder / "check.json", '{"ok": true, "version": "1.0.0"}')
    put(folder / "flags.json", '{"--old": {}}')
    seen: list[object] = []

    def look() -> None:
        seen.append((checker.check_result(ENV).get("version"), (folder / "flags.json").read_text()))

    probe.update(result={"ok": True, "version": "1.0.0", "steps": []}, meanwhile=look)
    assert checker.check(SPEC, folder) == "1.0.0"
    assert set(seen) == {("1.0.0", '{"--old": {}}')}
    assert json.loads((folder / "flags.json").read_text()) == {"--new": {}}
    assert checker.check_result(ENV)["steps"] == []


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (1, {"ok": False, "version": "1.0.0", "failed": {"step": "import x", "error": "no"}}),
        (-11, None),
    ],
    ids=["fails", "crashes"],
)
def test_failed_check_keeps_the_files_of_the_last_one(
    status: int, result: dict[str, Any] | None, probe: dict[str, Any]
) -> None:
    folder = built()
    put(folder / "check.json", '{"ok": true, "version": "1.0.0"}')
    put(folder / "flags.json", '{"--old": {}}')
    probe.update(status=status, result=result)
    with pytest.raises(Failure):
        checker.check(SPEC, folder)
    assert checker.check_result(ENV) == {"ok": True, "version": "1.0.0"}
    assert (folder / "flags.json").read_text() == '{"--old": {}}'


RELEASES = [
    ("0.4.0", "0.4", True),  # as the wheel's metadata has it
    ("0.4.0", "0.4.0+cpu", True),
    ("1.0.0rc1", "1.0.0.rc1", True),
    ("0.4.0", "0.4.1", False),
    ("0.4.0+cpu", "0.4.0", False),
]


@pytest.mark.parametrize(("requested", "installed", "same"), RELEASES)
def test_installed_release_is_compared_as_a_version(
    requested: str, installed: str, same: bool, probe: dict[str, Any]
) -> None:
    folder = built()
    probe.update(result={"ok": True, "version": installed, "steps": []})
    spec = BuildSpec(ENV, "engine", "standin-engine", requested, ())
    if same:
        assert checker.check(spec, folder) == installed
        return
    with pytest.raises(Failure, match="does not work: version") as told:
        checker.check(spec, folder)
    assert told.value.lines == [f"standin-engine is {installed}, not {requested}"]
    assert resolver.log_path(ENV).name in str(told.value.log)


def test_probe_reports_the_installed_release_whatever_was_requested(tmp_path: Path) -> None:
    spec = {"kind": "harness", "package": "pytest", "version": "0.1", "module": "pytest"}
    (name, work), *_ = probe_environment.steps(spec, "model", tmp_path)
    assert (name, work()) == ("version", pytest.__version__)
