"""Servers, disks and clocks that misbehave: a run ends in bounded time, reports why, leaves nothing
behind, and the next run makes what is missing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trees import ALL, MODELS, Done, Tree, copy, ended, mounted, wait_for

SUSPENDED = float(os.environ.get("BENCHY_SUSPEND", "4"))  # seconds; 30 in the full suite
TWO = {"STANDIN_FAIL_MODEL": "acme/two"}


def without_two(tree: Tree) -> None:
    for task in ("alpha", "beta"):
        tree.file(f"two/{task}").unlink()
    tree.events()


@pytest.mark.parametrize("fault", ["error_every_5", "slow_0.05", "loud_100"])
def test_a_slow_loud_or_failing_server_gives_the_same_results(tree: Tree, fault: str) -> None:
    before = {title: tree.result(title)["metrics"] for title in tree.written()}
    without_two(tree)
    # One request at a time: with several, one could fail three times by chance.
    one = {"TASK_JOBS": "1", "STANDIN_HARNESS_SECONDS": "0.01"}
    done = tree.results(STANDIN_FAIL=fault, **TWO, **one)
    assert done.status == 0, done.text
    assert len(done.text) < 5000
    assert {title: tree.result(title)["metrics"] for title in tree.written()} == before


def test_a_server_that_never_answers_fails_its_tasks_in_time(tree: Tree) -> None:
    without_two(tree)
    for task in ("alpha", "beta"):
        file = tree.root / f"configs/tasks/{task}.yaml"
        file.write_text(file.read_text() + "request_timeout: 1\n")
    begun = time.monotonic()
    done = tree.results("-k", STANDIN_FAIL="mute_after_3", **TWO)
    assert done.status != 0 and time.monotonic() - begun < 45, done.text
    assert [t for t in ALL if t not in tree.written()] == ["two/alpha", "two/beta"]
    assert "FAILED  results/two/alpha/results.json" in done.text
    assert tree.results().status == 0
    assert tree.written() == list(ALL)


def test_a_port_taken_before_the_server_binds_is_replaced(tree: Tree) -> None:
    """Another process listens on the port first: benchy reports it and tries another port."""
    without_two(tree)
    make = tree.start("results", "MODELS=two", STANDIN_START_SECONDS="3")
    found: list[str] = []

    def chosen() -> bool:
        lines = " ".join(tree.processes().values())
        found[:] = re.findall(r"-m standin_engine .*?--port (\d+)", lines)[:1]
        return bool(found)

    wait_for(chosen, 60, "a server with a port")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", int(found[0])))
        stranger.listen()
        done = ended(make)
    assert done.status == 0, done.text
    assert f"two: another process took port {found[0]}; trying another port" in done.text
    assert tree.written() == list(ALL)


def test_a_failing_model_does_not_stop_the_others(tree: Tree) -> None:
    shutil.rmtree(tree.root / "results")
    done = tree.results(STANDIN_FAIL="start", **TWO)  # without -k
    assert done.status != 0
    assert [t for t in ALL if t not in tree.written()] == ["two/alpha", "two/beta"]


def test_a_suspended_run_resumes_and_completes(tree: Tree) -> None:
    shutil.rmtree(tree.root / "results")
    make = tree.start("-j4", "results", MODELS, STANDIN_HARNESS_SECONDS="1")
    wait_for(lambda: tree.events(), 60, "a server")
    frozen = list(tree.processes())
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(SUSPENDED if number == signal.SIGSTOP else 0)
    done = ended(make)
    assert done.status == 0, done.text
    assert tree.written() == list(ALL)


def test_a_full_disk_writes_no_partial_result(tree: Tree) -> None:
    without_two(tree)
    with mounted(tree.root / "results", "2m"):
        ballast = tree.root / "results" / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        done = tree.results()
        assert done.status != 0 and "No space left" in done.text, done.text
        assert "free some space (df -h results" in done.text, done.text
        assert "two/alpha" not in tree.written()
        ballast.unlink()
        assert tree.results().status == 0
        assert tree.written() == list(ALL)


@pytest.mark.parametrize("place", ["build", "run", "logs", "../leases"])
def test_a_full_disk_elsewhere_is_reported_and_results_are_kept(tree: Tree, place: str) -> None:
    without_two(tree)
    folder = tree.root / place
    if place == "build":
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    with mounted(folder.resolve(), "3m"):
        ballast = folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        done = tree.results()
        assert done.status != 0 and "Traceback" not in done.text, done.text
        assert "No space left" in done.text or "the disk is full: logs/serve" in done.text
        assert "free some space (df -h" in done.text, done.text
        assert [title for title in ALL if title not in tree.written()] == ["two/alpha", "two/beta"]
        ballast.unlink()
        done = tree.results()
        assert done.status == 0 and tree.written() == list(ALL), done.text
        assert tree.ran() == ["two/alpha", "two/beta"]


@contextlib.contextmanager
def only_readable(folder: Path) -> Iterator[None]:
    """Remount a folder read-only, so that not even root can write to it. Skips if mount fails."""
    mount = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_checkout_can_be_inspected_but_not_changed(tree: Tree) -> None:
    assert tree.results().status == 0  # writes the plan
    goals = (("status",), ("list-envs",), ("why",), ("plan",), ("compare", "A=one", "B=two"))
    with only_readable(tree.root):
        for goal in goals:
            done = tree.make(*goal)
            assert done.status == 0 and "Read-only" not in done.text, done.text
        assert "Read-only" not in tree.make("doctor").text
        for goal in (("report",), ("clean",), ("results", "MODELS=one", "LIMIT=1")):
            done = tree.make(*goal)
            assert done.status != 0 and "failed: Read-only file system: " in done.text, done.text
            assert "use a copy of the checkout" in done.text and "Traceback" not in done.text
            assert len(done.text.splitlines()) < 9, done.text


def test_a_checkout_of_another_user_is_rejected(complete: tuple[Path, Done, list[str]]) -> None:
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("takes a second user: root and setpriv")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        tree = copy(complete[0], Path(name))
        Path(name).chmod(0o755)
        other = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
        for goal in ("report", "clean"):
            done = subprocess.run(
                [*other, "make", goal], cwd=tree.root, env=tree.environ(HOME="/"),
                capture_output=True, text=True,
            )  # fmt: skip
            told = done.stderr
            # If the first user's Python is in a private home, the message says that instead.
            closed = "can't be run by" in told
            assert done.returncode != 0 and "Traceback" not in told, told
            assert closed or "belongs to root, and you are user 54321" in told or goal == "clean"
            assert "a checkout belongs to one user" in told or goal == "clean", told
            assert (tree.root / "build/rules.mk").exists() and tree.written() == list(ALL)


def test_a_moved_checkout_keeps_its_environments_and_results(tree: Tree) -> None:
    """Nothing is built or evaluated again, and the missing results are made in the new place."""
    without_two(tree)
    tree.root.rename(tree.base / "other")
    moved = Moved(tree.base)
    done = moved.results()
    assert done.status == 0 and "VENV" not in done.text, done.text
    assert moved.ran() == ["two/alpha", "two/beta"] and moved.written() == list(ALL)


class Moved(Tree):
    @property
    def root(self) -> Path:
        return self.base / "other"


def test_a_read_only_results_folder_is_reported(tree: Tree) -> None:
    without_two(tree)
    with mounted(tree.root / "results", "2m"):
        subprocess.run(["mount", "-o", "remount,ro", str(tree.root / "results")], check=True)
        done = tree.results()
        assert done.status != 0 and "Read-only file system" in done.text, done.text
        assert "Traceback" not in done.text
        subprocess.run(["mount", "-o", "remount,rw", str(tree.root / "results")], check=True)
        assert tree.results().status == 0


def test_a_clock_set_back_makes_nothing_stale(tree: Tree) -> None:
    """Files with modification times in the future are not made again, now or in later runs."""
    for top in ("build", "venvs", "results", "configs"):
        for path in (tree.root / top).rglob("*"):
            if not path.is_symlink():
                before = path.stat().st_mtime
                os.utime(path, (before + 3600, before + 3600))
    assert tree.results().status == 0
    assert tree.events() == []
    without_two(tree)
    assert tree.results().status == 0
    assert len(tree.ran()) == 2
    assert tree.results().status == 0
    assert tree.ran() == [], "made again though nothing changed"


def test_planning_ends_although_prerequisites_are_from_the_future(tree: Tree) -> None:
    """The prerequisites of rules.mk are from the future: Make must not rebuild it in a loop."""
    for path in (tree.root / "venvs/.failed", tree.root / "uv.lock"):
        later = path.stat().st_mtime + 3600
        os.utime(path, (later, later))
    shutil.rmtree(tree.root / "build")
    assert tree.results().status == 0
    assert tree.ran() == []


def test_an_edit_reruns_results_from_the_future(tree: Tree) -> None:
    """An edit makes results stale even if their modification times are in the future."""
    for top in ("build", "venvs", "results"):
        for path in (tree.root / top).rglob("*"):
            if not path.is_symlink():
                before = path.stat().st_mtime
                os.utime(path, (before + 3600, before + 3600))
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {max_model_len: 300}")
    done = tree.make("results", "MODELS=one two three four")
    assert (done.status, tree.ran()) == (0, ["one/alpha", "one/beta"]), done.text
    assert tree.results().status == 0
    assert tree.ran() == [], "made again though nothing changed"
