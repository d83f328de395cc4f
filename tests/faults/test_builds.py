"""Builds that fail or are killed: the main environment serves instead and the result says so, no
partial build is used, and the next run builds the environment once the cause is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wheels
from index import Index
from trees import Tree, mounted, wait_for

RELEASE, ENV = "1.2.0", "standin_1_2_0"
FILE, DATA = wheels.wheel("standin-engine", RELEASE)
METADATA = f"Metadata-Version: 2.1\nName: standin-engine\nVersion: {RELEASE}\n"


def does_not_import() -> bytes:
    """Return a wheel of RELEASE that does not import."""
    wheels.QUIRKS["standin-engine", RELEASE] = wheels.QUIRKS[
        "standin-engine", wheels.DOES_NOT_IMPORT
    ]
    try:
        return wheels.wheel("standin-engine", RELEASE)[1]
    finally:
        del wheels.QUIRKS["standin-engine", RELEASE]


class Shaky(Index):
    """An index that serves the metadata of a wheel separately (PEP 658), so that uv downloads the
    wheel only to install it. wrong: serve bytes that do not match the hash; requires: additional
    lines of the metadata."""

    wrong = False
    requires = ""

    def answer(self, path: str) -> tuple[str, bytes] | None:
        if path.endswith(".metadata"):
            self.asked.append(path)
            return "text/plain", (METADATA + self.requires).encode()
        found = super().answer(path)
        if found and path.endswith(FILE) and self.wrong:
            return found[0], does_not_import()
        return found

    def put(self, *arguments: Any) -> None:
        super().put(*arguments)
        self.projects[arguments[0]][-1]["core-metadata"] = True


@pytest.fixture
def index() -> Iterator[Shaky]:
    shaky = Shaky()
    with shaky:
        shaky.put("standin-engine", FILE, DATA, None)
        yield shaky


def through(index: Index, tree: Tree) -> dict[str, str]:
    """Return the variables that make a run use this index and a separate cache."""
    return {
        "UV_NO_INDEX": "false", "PIP_NO_INDEX": "0", "UV_DEFAULT_INDEX": index.url,
        "UV_FIND_LINKS": "", "PIP_FIND_LINKS": "", "UV_CACHE_DIR": str(tree.base / "cache"),
        "UV_HTTP_RETRIES": "0",
    }  # fmt: skip


@contextlib.contextmanager
def does_not_resolve(index: Shaky, tree: Tree) -> Iterator[None]:
    index.requires = "Requires-Dist: standin-gone-from-the-index==0.1.16\n"
    yield
    index.requires = ""


@contextlib.contextmanager
def breaks_off(index: Shaky, tree: Tree) -> Iterator[None]:
    index.cut = FILE
    yield
    index.cut = ""


@contextlib.contextmanager
def other_bytes(index: Shaky, tree: Tree) -> Iterator[None]:
    index.wrong = True
    yield
    index.wrong = False


@contextlib.contextmanager
def disk_is_full(index: Shaky, tree: Tree) -> Iterator[None]:
    (tree.root / "venvs/.building").mkdir(exist_ok=True)
    with mounted(tree.root / "venvs/.building", "16k"):
        yield


@contextlib.contextmanager
def check_fails(index: Shaky, tree: Tree) -> Iterator[None]:
    """Serve a wheel of RELEASE that does not import, then replace it with one that does."""
    index.projects.clear()
    index.put("standin-engine", FILE, does_not_import(), None)
    yield
    index.projects.clear()
    index.put("standin-engine", FILE, DATA, None)
    shutil.rmtree(tree.base / "cache")
    (tree.root / f"venvs/{ENV}.lock").unlink()  # as `make lock`: the locked wheel is gone


Fault = Callable[[Shaky, Tree], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (does_not_resolve, "standin_1_2_0 cannot be resolved"),
        (breaks_off, "cannot be installed"),
        (other_bytes, "ash mismatch"),
        (disk_is_full, "disk is full"),
        (check_fails, "undefined symbol"),
    ],
)
def test_the_main_environment_serves_until_the_build_succeeds(
    tree: Tree, index: Shaky, fault: Fault, says: str
) -> None:
    tree.edit("models/three.yaml", '"1.0.0"', f'"{RELEASE}"')
    environ = through(index, tree)
    marker = tree.root / f"venvs/.failed/{ENV}.json"
    with fault(index, tree):
        done = tree.results(**environ)
        assert done.status == 0 and says in done.text, done.text
        assert marker.exists() and not (tree.root / "venvs" / ENV / ".stamp").exists()
        result = tree.result("three/alpha")
        assert result["fallback"] is True
        assert (result["engine"]["asked"], result["engine"]["answered"]) == (RELEASE, "2.0.0")
        assert (tree.root / f"logs/venv/{ENV}.log").exists()
        tree.events()
        again = tree.results(**environ)  # tries to build again; the result is still up to date
        assert again.status == 0 and ENV in again.text and tree.events() == []
    done = tree.results(**environ)
    assert done.status == 0 and tree.ran() == ["three/alpha"], done.text
    result = tree.result("three/alpha")
    assert (result["fallback"], result["engine"]["answered"]) == (False, RELEASE)
    assert not marker.exists()


def test_killed_builds_leave_no_partial_environment(tree: Tree, index: Shaky) -> None:
    """SIGKILL at random moments, in turn to the builder and to its process group."""
    environ = tree.environ(**through(index, tree))
    command = ["bin/venv", "create", "--engine", "standin", "--version", RELEASE]
    folder, building = tree.root / "venvs" / ENV, tree.root / "venvs/.building"
    dice = random.Random(9)  # noqa: S311

    def whole() -> bool:
        """Return whether the stamp exists; if so, assert that the environment is complete."""
        if not (folder / ".stamp").exists():
            return False
        lock = (tree.root / f"venvs/{ENV}.lock").read_text()
        assert (folder / "lock").read_text() == lock
        assert json.loads((folder / "check.json").read_text())["ok"]
        return True

    begun = time.monotonic()
    subprocess.run(command, cwd=tree.root, env=environ, check=True, capture_output=True)
    length = time.monotonic() - begun
    assert whole()
    assert [path for path in index.asked if path.endswith(FILE)] == [f"/files/{FILE}"]
    for number in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        build = subprocess.Popen(
            command, cwd=tree.root, env=environ, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(length * (number + dice.random()) / 10)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number % 2 else os.kill)(build.pid, signal.SIGKILL)
        build.wait()
        wait_for(lambda: not tree.processes(), 20, "the end of what it had started")
        if not whole():
            listed = subprocess.run(
                ["bin/venv", "list", "--format", "json"], cwd=tree.root, env=environ,
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            states = {row["env"]: row["state"] for row in json.loads(listed)}
            assert states.get(ENV, "missing") != "ready"
    subprocess.run(command, cwd=tree.root, env=environ, check=True, capture_output=True)
    assert whole() and list(building.iterdir()) == []
    fetched = [path for path in index.asked if path.endswith(FILE)]
    assert len(fetched) == 1, "each build goes on from the cache"
