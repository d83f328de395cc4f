"""docs/tutorial.md: its files, run as a reader runs them, on real vLLM, print what it shows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import pages
from clone import make

PAGE = "tutorial.md"
CONFIG = "CONFIG=configs/first.yaml"
WRITTEN = "configs/tasks/capitals/capitals_written.yaml"
# The parts of an output that differ from run to run.
VARIABLE = [
    (r"port \d+", "port N"), (r"\d+(\.\d+)? (s|min)\b", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE"),
]  # fmt: skip
# Lines about progress and cost, which depend on the machine and on what it has built before.
INCIDENTAL = re.compile(
    r"  ((LOCK|LOCKED|VENV|READY|COST|PREVIEW|SERVE   first:) |EVAL    first/\w+: (?!.* ± ))"
)


def comparable(text: str) -> list[str]:
    for pattern, word in VARIABLE:
        text = re.sub(pattern, word, text)
    return [line.rstrip() for line in text.splitlines() if not INCIDENTAL.match(line)]


def run(tree: Path, *words: str) -> str:
    """Return what a command prints, on standard output and then on standard error."""
    done = make(tree, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def without_results(tree: Path) -> Iterator[Path]:
    """The clone as a reader has it: without the results of other tests, which come back later."""
    results, aside = tree / "results", tree / "results-of-other-tests"
    if results.exists():
        results.rename(aside)
    yield tree
    shutil.rmtree(results, ignore_errors=True)
    if aside.exists():
        aside.rename(results)


@pytest.mark.timeout(900)
def test_tutorial_prints_what_it_shows(without_results: Path) -> None:
    tree = without_results
    pages.write(PAGE, tree)
    plan, preview, first_run, questions, second_run = map(comparable, pages.outputs(PAGE))
    assert comparable(run(tree, "plan", CONFIG)) == plan
    task = "TASK=capitals_written"
    assert comparable(run(tree, "preview", CONFIG, task, "LIMIT=1")) == preview
    # The two tasks run side by side, so that their lines have no fixed order.
    assert sorted(comparable(run(tree, "eval", CONFIG))) == sorted(first_run)
    file = tree / WRITTEN
    (edit,) = re.findall(r"```yaml\n(doc_to_text: .*\n)```", (pages.DOCS / PAGE).read_text())
    file.write_text(re.sub(r"^doc_to_text: .*\n", lambda _: edit, file.read_text(), flags=re.M))
    target = "TARGET=results/first/capitals_written/results.json"
    assert comparable(run(tree, "status", CONFIG) + run(tree, "why", target)) == questions
    assert set(second_run) <= set(comparable(run(tree, "eval", CONFIG)))
