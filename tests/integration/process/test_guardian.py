"""Tests of the guardian with processes that start sessions, ignore SIGTERM or are stopped."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchy.process import guardian, guardian_client

# Forks two grandchildren in new sessions. All three append their pids to a file and sleep.
AWAY = """
import os, signal, sys, time
if sys.argv[2] == "deaf":
    for name in ("TERM", "INT", "HUP"):
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            break
        os._exit(0)
with open(sys.argv[1], "a") as file: file.write(f"{os.getpid()}\\n")
if sys.argv[2] == "stopped": os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(100)
"""


def until(what: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(pids: list[int]) -> list[int]:
    return [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != "zombie"]


def three(path: Path) -> list[int]:
    until(lambda: path.exists() and len(path.read_text().split()) == 3)
    return [int(word) for word in path.read_text().split()]


@pytest.mark.parametrize(("how", "grace"), [("plain", 10), ("stopped", 10), ("deaf", 0.5)])
def test_finish_ends_all_descendants(tmp_path: Path, how: str, grace: float) -> None:
    with guardian_client.Guard() as guard:
        words = [sys.executable, "-S", "-c", AWAY, str(tmp_path / "pids"), how]
        first = guard.start("away", words, os.environ)
        pids = three(tmp_path / "pids")
        assert first in pids and len(alive(pids)) == 3
        assert set(pids) <= guardian.descendants(guard.pid)
        begun = time.monotonic()
        guard.finish(grace)
    assert not alive(pids) and time.monotonic() - begun < grace + 3


def test_exit_status_is_reported_and_output_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with guardian_client.Guard() as guard:
        guard.start("a", ["sh", "-c", "echo out; echo err >&2; cat; exit 3"], os.environ, str(log))
        until(lambda: "a" in guard.wait(0.1))
        guard.start("b", ["sh", "-c", "kill -9 $$"], os.environ)
        until(lambda: "b" in guard.wait(0.1))
        assert guard.ended == {"a": 3, "b": -9}
        with pytest.raises(OSError, match="no-such: No such file"):
            guard.start("c", ["no-such"], os.environ)
    assert log.read_text() == "out\nerr\n" and log.stat().st_mode & 0o777 == 0o600


def test_process_gets_default_signals_and_only_the_given_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with guardian_client.Guard() as guard:
        for words in (["cat", "/proc/self/status"], ["env"]):
            given = {"PATH": os.environ["PATH"], "X": "1"}
            guard.start(words[0], words, given, str(log))
            while words[0] not in guard.wait(10):
                pass
    told = log.read_text()
    ignored = int(told.split("SigIgn:")[1].split()[0], 16)
    # Python ignores SIGPIPE, but pipes in a shell that it starts need the default.
    assert not ignored >> (signal.SIGPIPE - 1) & 1
    assert told.splitlines()[-2:] == [f"PATH={os.environ['PATH']}", "X=1"]


@pytest.mark.parametrize("keep", [True, False])
def test_jobserver_descriptors_reach_commands_and_leases_do_not(tmp_path: Path, keep: bool) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, keep)
    log = tmp_path / "log"
    with guardian_client.Guard([read] if not keep else []) as guard:
        words = ["sh", "-c", f"test -e /proc/$$/fd/{read}"]
        guard.start("a", words, os.environ, str(log))
        until(lambda: "a" in guard.wait(0.1))
        assert (guard.ended["a"] == 0) is keep
        assert Path(f"/proc/{guard.pid}/fd/{read}").exists()
    os.close(read)
    os.close(write)


WRAPPER = """
import os, sys
from benchy.process import guardian, guardian_client
guard = guardian_client.Guard()
guard.start("away", sys.argv[1:], os.environ)
print(guard.pid, flush=True)
try:
    while True: guard.wait(60)
except guardian_client.Lost:
    guard.finish()
    print("lost", len(guardian.descendants(os.getpid())), flush=True)
"""


@pytest.mark.parametrize("whom", ["wrapper", "guardian"])
def test_descendants_end_if_the_wrapper_or_the_guardian_is_killed(
    tmp_path: Path, whom: str
) -> None:
    words = [sys.executable, "-S", "-c", AWAY, str(tmp_path / "pids"), "plain"]
    wrapper = subprocess.Popen(
        [sys.executable, "-c", WRAPPER, *words], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(guardian.__file__).parents[2])},
    )  # fmt: skip
    assert wrapper.stdout
    helper = int(wrapper.stdout.readline())
    pids = three(tmp_path / "pids")
    os.kill(wrapper.pid if whom == "wrapper" else helper, 9)
    wrapper.wait(10)
    until(lambda: not alive([*pids, helper]))
    if whom == "guardian":
        assert wrapper.stdout.read() == "lost 0\n"
    wrapper.stdout.close()


def test_the_guardian_starts_quickly() -> None:
    spans = []
    for _ in range(5):
        begun = time.monotonic()
        with guardian_client.Guard() as guard:
            guard.start("a", ["true"], os.environ)
            spans.append(time.monotonic() - begun)
    assert min(spans) < 0.3


# Maps files of shared memory and ignores SIGTERM.
MAPS = """
import mmap, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = []
for name in sys.argv[1:]:
    with open(name, "wb+") as file:
        file.truncate(4096)
        held.append(mmap.mmap(file.fileno(), 4096))
print("mapped", flush=True)
time.sleep(100)
"""


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no shared memory")  # noqa: S108
def test_shared_memory_of_killed_processes_is_removed() -> None:
    """Files that a living process maps stay, and so do files that a user may have put there."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    kinds = ("psm_", "torch_", "nccl-", "psm_used-", "weights-")
    files = [Path("/dev/shm", f"{kind}{mark}") for kind in kinds]  # noqa: S108
    try:
        with guardian_client.Guard() as guard:
            words = [sys.executable, "-S", "-c", MAPS, *map(str, files)]
            pid = guard.start("maps", words, os.environ, os.devnull)
            until(lambda: str(files[-1]) in Path(f"/proc/{pid}/maps").read_text())
            with files[3].open("rb+") as file, mmap.mmap(file.fileno(), 0):
                guard.finish(0.2)
        assert [path.exists() for path in files] == [False, False, False, True, True]
    finally:
        for path in files:
            path.unlink(missing_ok=True)
