"""Trees of benchy in temporary directories, with the stand-in engine, for runs of real `make`.
Fixtures for tests/build and tests/faults.

Each test gets a copy of one tree that is built once. `cp -a` keeps modification times and the
environments are relocatable, so the copy is as up to date as the original.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import wheels
from benchy.core import files
from benchy.devices import leases, lock_files

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Makefile", "mk", "bin", "lib", "pyproject.toml", "uv.lock")
MODELS = "MODELS=one two three four"  # the models that need no GPU
ALL = ("four/beta", "four/gamma", "one/alpha", "one/beta", "three/alpha", "two/alpha", "two/beta")
BUSY = 5  # a busy machine with slow processors may take this many times as long as an idle one
# Prefixes of variables that must not reach the make of a tree: Make's flags, benchy's variables,
# settings of uv and pip.
OURS = ("MAKE", "MFLAGS", "BENCHY_", "STANDIN_", "UV_", "PIP_", "VIRTUAL_ENV", "PYTHONPATH")
KNOBS = (
    *("CONFIG", "LIMIT", "MODELS", "TASKS", "TEST", "SET", "FALLBACK"),
    *("FORMAT", "VERSION", "ENGINE", "CUTOFF", "SHARE", "TARGET", "OFFLINE", "VENV_JOBS"),
)


@dataclass(frozen=True)
class Done:
    """The exit status of a make, and its stdout and stderr together."""

    status: int
    text: str


@dataclass
class Tree:
    """A checkout of benchy in base/tree; base also holds wheels, leases and the stand-ins' log."""

    base: Path
    seen: int = field(default=0)  # bytes of the log that `events` has already returned

    @property
    def root(self) -> Path:
        return self.base / "tree"

    @property
    def wheels(self) -> Path:
        return self.base / "wheels"

    @property
    def log(self) -> Path:
        return self.base / "log"

    def environ(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS) and k not in KNOBS}
        own = ROOT / ".uv" / "bin"
        if own.is_dir():
            kept["PATH"] = f"{own}:{kept['PATH']}"
        return kept | {
            "PIP_FIND_LINKS": str(self.wheels),
            "UV_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "UV_NO_INDEX": "1",
            "BENCHY_LEASES": str(self.base / "leases"),
            "STANDIN_LOG_FILE": str(self.log),
            "STANDIN_HARNESS_HOLD": str(self.base / "hold"),
            **more,
        }

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within the block, the tree's harnesses send no request, so that no task ends before a
        test has done with it, however busy the machine is."""
        mark = self.base / "hold"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start make in its own session, as a terminal does. more: variables for it."""
        return subprocess.Popen(
            ["make", *arguments],
            cwd=self.root,
            env=self.environ(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def make(self, *arguments: str, **more: str) -> Done:
        return ended(self.start(*arguments, **more))

    def results(self, *arguments: str, **more: str) -> Done:
        return self.make("results", MODELS, *arguments, **more)

    def events(self) -> list[dict[str, Any]]:
        """Return the events that the stand-ins have logged since the last call."""
        data = self.log.read_bytes() if self.log.exists() else b""
        fresh, self.seen = data[self.seen :], len(data)
        return [json.loads(line) for line in fresh.splitlines()]

    def ran(self) -> list[str]:
        """Return the results evaluated since the last call, as MODEL/TASK, sorted."""
        return sorted(titles(self.events()))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of configs/. The file must contain it."""
        file = self.root / "configs" / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def result(self, title: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file(title).read_text())
        return found

    def file(self, title: str) -> Path:
        return self.root / "results" / title / "results.json"

    def written(self) -> list[str]:
        """Return the existing results, as MODEL/TASK, sorted. Each must parse."""
        files = sorted((self.root / "results").glob("[!l]*/*/results.json"))
        files += sorted((self.root / "results").glob("limit-*/*/*/results.json"))
        for file in files:
            json.loads(file.read_text())
        return [str(file.parent.relative_to(self.root / "results")) for file in files]

    def processes(self) -> dict[int, str]:
        """Return pid → command line of processes whose command, cwd or environment names base."""
        mark, found = os.fsencode(self.base), {}
        for entry in Path("/proc").glob("[0-9]*"):
            if int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to another user
                command = (entry / "cmdline").read_bytes()
                place = os.fsencode((entry / "cwd").readlink())
                if any(mark in text for text in (command, place, (entry / "environ").read_bytes())):
                    words = command.replace(b"\0", b" ").decode(errors="replace")
                    if command:  # the command line of a zombie is empty
                        found[int(entry.name)] = words
        return found


def titles(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return MODEL/TASK of each evaluation among the events."""
    return [
        f"{e['model'].removeprefix('acme/')}/{e['tasks'][0].removeprefix('standin_')}"
        for e in events
        if e["event"] == "eval"
    ]


def ended(process: subprocess.Popen[str], seconds: float = 240) -> Done:
    """Wait for a process to end. Raises TimeoutExpired; the limit is long for busy machines."""
    text, _ = process.communicate(timeout=seconds)
    return Done(process.returncode, text)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Read a make's output up to the first line with `words` and return it. AssertionError if the
    make ends without such a line."""
    text = ""
    assert process.stdout
    while words not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    return text


def wait_for(what: Callable[[], Any], seconds: float, about: str) -> Any:
    """Call `what` until it returns a true value and return that.

    seconds: what an idle machine takes at most. AssertionError after BUSY times as long.
    """
    end = time.monotonic() + seconds * BUSY
    while not (found := what()):
        assert time.monotonic() < end, f"{about}: not within {seconds * BUSY} s"
        time.sleep(0.02)
    return found


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills once in a run of pytest, for all processes of pytest-xdist.

    If `make` raises, the next process that asks tries again.
    """
    top = factory.getbasetemp()
    top = top.parent if "PYTEST_XDIST_WORKER" in os.environ else top
    folder, done, lock = (top / f"shared-{name}{end}" for end in ("", ".done", ".lock"))
    with files.locked(lock):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the base of a tree in which nothing is built yet."""
    return once(tmp_path_factory, "bare", lay)


def take(names: Sequence[str], root: Path) -> None:
    """Copy files and folders of this checkout into another."""
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)


def lay(base: Path) -> Path:
    """Create a tree below base, with wheels and configs of the stand-ins; return base."""
    root = base / "tree"
    root.mkdir()
    take(COPIED, root)
    shutil.copytree(ROOT / "tests/build/configs", root / "configs")
    (root / ".venv").symlink_to(ROOT / ".venv")
    wheels.build(base / "wheels")
    broken = (wheels.DOES_NOT_IMPORT, wheels.DOES_NOT_RESOLVE, wheels.LIES)
    wheels.build(base / "wheels", {"standin-engine": broken})
    return base


def copy(source: Path, target: Path) -> Tree:
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    for stamp in (target / "tree/venvs").glob("*/.stamp"):
        # benchy treats a copied environment as broken: make its stamp fit the new place.
        age = stamp.stat().st_mtime_ns
        moved = {"inode": stamp.parent.stat().st_ino, "path": str(stamp.parent.resolve())}
        stamp.write_text(json.dumps(json.loads(stamp.read_text()) | moved))
        os.utime(stamp, ns=(age, age))
    return Tree(target)


@pytest.fixture(scope="session")
def complete(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done, list[str]]:
    """Return the base of a tree with all results, the outcome of its make, and what that ran."""

    def make(folder: Path) -> None:
        tree = copy(bare, folder / "base")
        done = tree.results()
        outcome = {"status": done.status, "text": done.text, "ran": tree.ran()}
        (folder / "outcome.json").write_text(json.dumps(outcome))
        tree.log.unlink(missing_ok=True)

    folder = once(tmp_path_factory, "complete", make)
    outcome = json.loads((folder / "outcome.json").read_text())
    return folder / "base", Done(outcome["status"], outcome["text"]), outcome["ran"]


@contextlib.contextmanager
def swept(tree: Tree) -> Iterator[Tree]:
    """Assert that no process of the tree outlives the block, and kill those that do."""
    try:
        yield tree
        assert not tree.processes()
    finally:
        for pid in tree.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fresh(bare: Path, tmp_path: Path) -> Iterator[Tree]:
    with swept(copy(bare, tmp_path)) as tree:
        yield tree


@pytest.fixture
def tree(complete: tuple[Path, Done, list[str]], tmp_path: Path) -> Iterator[Tree]:
    assert complete[1].status == 0, complete[1].text
    with swept(copy(complete[0], tmp_path)) as made:
        yield made


def held(tree: Tree) -> list[str]:
    """Return the leased devices, the occupied build slots and the tickets in the waiting line."""
    desk = leases.LeaseDirectory(leases.directory({"BENCHY_LEASES": str(tree.base / "leases")}))
    with desk.mutex():
        names = [path.name for path in desk.path.iterdir() if path.name != "mutex"]
        return [name for name in names if lock_files.locked(desk.path / name)]


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a small tmpfs with a copy of the folder's content over it; skip if mount fails."""
    aside = folder.with_name(folder.name + ".aside")
    folder.rename(aside)
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)
