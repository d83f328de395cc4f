"""Kill a run before each change that it makes to a file, and in the middle of each write: the next
run gets the same results and leaves no other files behind.

The kill hits the process that is about to make the change or, in turn, also Make's whole process
group. Of changes that differ only in model, task or environment, one is chosen. BENCHY_POINTS (3;
`make test-faults`: all, about 300) points are tried, chosen by BENCHY_SEED. BENCHY_POINT=PATTERN
tries those whose label matches.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import injector
from same import meaning
from trees import Tree, copy, held, swept, wait_for

SEED = int(os.environ.get("BENCHY_SEED", "20261129"))
POINTS = os.environ.get("BENCHY_POINTS", "3")
WORKERS = int(os.environ.get("BENCHY_POINT_WORKERS") or (1 if POINTS.isdecimal() else 3))
ENV = {"CPU_SLOTS": "1"}
MODELS = ("three", "two")  # three results and two environments
# Programs that start only after the environments are built: their points are tried on trees that
# have environments.
LATE = ("eval", "wrapper", "harness", "engine", "guard", "serve", "report")
# Where changes count. Excluded are unnamed files (#), files that bin/bootstrap makes if .venv is
# older than the checkout, and Python's byte code.
OURS = r"(tree|leases|tmp)/(?!.*/?#|\.venv|lib/|build/(\.bootstrap|\.tmp|requirements))"
# Files that a disturbed run may or may not have: the log of an earlier attempt; the summary, which
# a no-op does not write; the cache of parsed configs; files of bin/bootstrap; the environment that
# serves instead of one whose builder was killed.
MAY_DIFFER = re.compile(
    r"^tree/(logs/serve/\w+\.log\.1$|run/summary\.json$|build/kept\.json$|"
    r"build/(\.bootstrap|requirements.*)$|lib/|.*\bstandin_2_0_0\b)"
)


@dataclass(frozen=True)
class Point:
    """Where to kill.

    label: of the change. how: kill the "process" or the "group". halved: kill after the first half
    of a write, not before it.
    """

    label: str
    how: str
    halved: bool = False

    def __str__(self) -> str:
        return f"{self.label} | {self.how}{', half' if self.halved else ''}"


@dataclass
class Outcome:
    point: Point
    met: bool
    wrong: str = ""
    left: tuple[str, ...] = ()


def small(source: Path, target: Path) -> Tree:
    """Copy a tree, keep only MODELS and add a folder for temporary files."""
    tree = copy(source, target)
    for model in (tree.root / "configs/models").iterdir():
        if model.stem not in MODELS:
            model.unlink()
    (tree.base / "tmp").mkdir()
    return tree


def environ(tree: Tree) -> dict[str, str]:
    return tree.environ(TMPDIR=str(tree.base / "tmp"), **ENV)


def held_make(tree: Tree, on: Callable[[injector.Call, str], bool]) -> injector.Held:
    return injector.Held(["make", "results"], tree.base, on, cwd=tree.root, environ=environ(tree))


def files(tree: Tree) -> collections.Counter[str]:
    """Count the files and folders by names that are the same from run to run."""
    found = []
    for top in ("tree", "leases", "tmp"):
        for place, folders, names in os.walk(tree.base / top):
            found += [f"{place}/{name}" for name in (*folders, *names)]
    shown = (injector.masked(path.removeprefix(f"{tree.base}/")) for path in found)
    return collections.Counter(path for path in shown if not MAY_DIFFER.search(path))


def built(source: Path, target: Path) -> Tree:
    """Copy a tree after an undisturbed run, and restore the state after its environments' build."""
    tree = copy(source, target)
    for name in ("results", "logs/eval", "logs/serve", "build/cache", "build/reported"):
        path = tree.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return tree


def undisturbed(tree: Tree) -> tuple[list[Point], dict[str, str], collections.Counter[str]]:
    """Run make undisturbed; return all points, the results, and the files that exist afterwards."""
    kinds: dict[str, list[tuple[str, bool]]] = {}

    def note(call: injector.Call, label: str) -> bool:
        if re.match(OURS, label.split(" ")[2]) and call.changes:
            kinds.setdefault(kind(label), []).append((label, call.size > 1))
        return False

    run = held_make(tree, note)
    text = run.process.communicate()[0]
    assert run.process.returncode == 0, text
    run.over()
    dice = random.Random(SEED)  # noqa: S311
    points = []
    for number, found in enumerate(kinds.values()):
        label, divisible = dice.choice(found[:4])  # a run may have fewer than these
        points.append(Point(label, ("process", "group")[number % 2]))
        if label.split(" ")[1] == "write" and divisible:
            points.append(Point(label, ("group", "process")[number % 2], halved=True))
    return points, meaning(tree), files(tree)


def kind(label: str) -> str:
    """Replace model, task and environment in a label, to group changes of one kind."""
    for pattern, name in (
        (r"(standin|lm_eval)_\d_\d_\d", "ENV"), (r"(?<![a-z])(two|three)\b", "MODEL"),
        (r"(?<![a-z])(alpha|beta|gamma)", "TASK"), (r" #\d+$", ""), (r"#\d+", "#N"),
        (r"(\.building/ENV-PID/(?:bin|lib))/.*", r"\1/FILE"),  # one kind for all files
    ):  # fmt: skip
        label = re.sub(pattern, name, label)
    return label


def disturbed(tree: Tree, point: Point) -> bool:
    """Kill a run at a point; return whether the run reached it."""
    hits: list[object] = []

    def strike(call: injector.Call, label: str) -> bool:
        if hits or label != point.label:
            return False
        hits.append(label)
        if point.halved:
            injector.half(call)
        injector.kill(call.tid)
        if point.how == "group":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
        return True

    run = held_make(tree, strike)
    run.process.communicate(timeout=120)
    wait_for(lambda: not tree.processes(), 60, f"the end of {tree.processes()}")
    run.over()
    return bool(hits)


def outcome(
    tree: Tree, point: Point, same: dict[str, str], there: collections.Counter[str]
) -> Outcome:
    """Kill a run at a point, recover with another run, and compare results and files."""
    out = Outcome(point, disturbed(tree, point))
    for title in tree.written():
        assert tree.result(title)["spec_sha256"]
    variables = environ(tree)
    done = tree.make("results", **variables)
    if done.status:
        out.wrong = f"status {done.status}\n{done.text}"
    elif meaning(tree) != same:
        out.wrong = "other results"
    elif tree.processes() or held(tree):
        out.wrong = f"left: {tree.processes()} {held(tree)}"
    elif "Traceback" in done.text:
        out.wrong = done.text
    else:
        again = tree.make("results", **variables)
        if again.status or "everything is up to date" not in again.text:
            out.wrong = f"the second is no no-op: {again.text}"
    now = files(tree)
    out.left = tuple(sorted((now - there).elements()))
    if gone := there - now:
        out.wrong = out.wrong or f"missing: {sorted(gone)}"
    return out


@pytest.fixture
def base(bare: Path, tmp_path: Path) -> Iterator[Path]:
    yield bare
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize(
    ("at", "halved", "left"),
    [
        ("sh open one", False, {}),
        ("sh write one", False, {"one": ""}),
        ("sh write one", True, {"one": "abc"}),
        ("sh write one #2", True, {"one": "abcdefgh"}),
        ("mv rename two", False, {"one": "abcdefghij"}),
        ("rm unlink two", False, {"two": "abcdefghij"}),
        ("sh open nowhere", False, {}),
    ],
)
def test_the_injector_kills_at_the_requested_call(
    tmp_path: Path, at: str, halved: bool, left: dict[str, str]
) -> None:
    if why := injector.possible():
        pytest.skip(why)

    def strike(call: injector.Call, label: str) -> bool:
        if label != at:
            return False
        if halved:
            injector.half(call)
        injector.kill(call.tid)
        return True

    script = "{ printf abcdef; printf ghij; } > one; mv one two; rm two"
    command = ["sh", "-ec", script]
    run = injector.Held(command, tmp_path, strike, cwd=tmp_path, environ=os.environ)
    status = run.process.wait(20)
    run.over()
    assert (status != 0) == (at != "sh open nowhere")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == left


def test_a_run_recovers_from_a_kill_at_each_point(base: Path, tmp_path: Path) -> None:
    if why := injector.possible():
        pytest.skip(why)
    whole = made(tmp_path / "undisturbed")
    with swept(small(base, whole)) as tree:
        points, same, there = undisturbed(tree)
    assert len(points) > 250
    if given := os.environ.get("BENCHY_POINT"):
        chosen = [point for point in points if re.search(given, str(point))]
    elif POINTS.isdecimal():
        chosen = random.Random(SEED).sample(points, int(POINTS))  # noqa: S311
    else:
        chosen = points

    def one(number: int) -> Outcome:
        folder = made(tmp_path / str(number))
        try:
            late = chosen[number].label.startswith(LATE)
            with swept(built(whole, folder) if late else small(base, folder)) as tree:
                return outcome(tree, chosen[number], same, there)
        except (AssertionError, OSError) as error:
            return Outcome(chosen[number], True, f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    begun = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = []
        for each in pool.map(one, range(len(chosen))):
            outcomes.append(each)
            told = "wrong: " + each.wrong if each.wrong else "left" if each.left else "well"
            print(
                f"{len(outcomes)}: {each.point}: {told if each.met else 'not met'}",
                *each.left,
                flush=True,
            )
    met = sum(each.met for each in outcomes)
    bad = [each for each in outcomes if each.wrong or each.left]
    print(
        f"seed {SEED}: {len(points)} points; of {len(chosen)} {met} killed, "
        f"{sum(bool(e.wrong) for e in outcomes)} not recovered, "
        f"{sum(bool(e.left) for e in outcomes)} with something left, "
        f"{time.monotonic() - begun:.0f} s",
        flush=True,
    )
    assert not bad, "\n".join(f"{e.point}: {e.wrong} {' '.join(e.left)}" for e in bad)
    assert met >= len(chosen) / 2


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
