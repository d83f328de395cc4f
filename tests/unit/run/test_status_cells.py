"""The state of a result, by what is known about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.core import process_info
from benchy.display import activity
from benchy.environments import health
from benchy.run import status_cells, status_text
from benchy.run.status_cells import (
    DONE,
    FAILED,
    MISSING,
    RUNNING,
    STALE,
    WAITING,
    Observed,
    cell_of,
)

ENTRY: Any = SimpleNamespace(value="0.5", metric="acc", score=0.5, marks=["mark"], doubts=["doubt"])
FACTS, BROKEN = specs.model(asked="good"), specs.model(asked="broken")


def note(kind: str, state: str) -> activity.Note:
    """Return a note of this host with half of its stage done."""
    text = "it broke" if state == activity.FAILED else ""
    return activity.Note(
        kind, "m", state, "scoring", 1, 2, text=text, log="a.log" * bool(text),
        host=process_info.host(),
    )  # fmt: skip


RUNS, FAILS = note("task", activity.RUNNING), note("task", activity.FAILED)
SERVES, DIED = note("model", activity.SERVING), note("model", activity.FAILED)
JOB = {"job": "job 1: PENDING"}

# (about, what is known) → (state, the start of the text)
CELLS: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("nothing is known", {}, (MISSING, "")),
    ("an old result, without a reason", {"entry": ENTRY}, (MISSING, "")),
    ("an old result", {"entry": ENTRY, "reason": "its spec"}, (STALE, "its spec")),
    ("up to date", {"entry": ENTRY, "stale": False}, (DONE, "")),
    ("up to date while its model runs", {"stale": False, "model_note": SERVES}, (DONE, "")),
    ("up to date after a failure", {"stale": False, "task_note": FAILS}, (DONE, "")),
    ("its task runs", {"task_note": RUNS}, (RUNNING, "scoring 1/2")),
    ("its task runs again", {"task_note": RUNS, "stale": False}, (RUNNING, "scoring 1/2")),
    ("its task runs in a job", {"task_note": RUNS, **JOB}, (RUNNING, "scoring 1/2")),
    ("its server runs", {"model_note": SERVES}, (RUNNING, "scoring 1/2")),
    ("its server runs, the task failed", {"task_note": FAILS, "model_note": SERVES},
     (RUNNING, "scoring 1/2")),
    ("its model waits", {"waits_for": "1 GPU"}, (WAITING, "1 GPU")),
    ("its model waits again", {"waits_for": "1 GPU", "task_note": FAILS}, (WAITING, "1 GPU")),
    ("its job waits", {"waits_for": "a job", **JOB}, (WAITING, "a job")),
    ("its job runs", JOB, (RUNNING, "job 1: PENDING")),
    ("its task failed", {"task_note": FAILS, "reason": "its spec"}, (FAILED, "it broke")),
    ("its server failed", {"model_note": DIED}, (FAILED, "it broke")),
    ("its environment failed", {"facts": BROKEN}, (FAILED, "no such wheel")),
    ("its environment failed, an old result", {"facts": BROKEN, "reason": "its spec"},
     (FAILED, "no such wheel")),
    ("a fallback serves", {"facts": {**BROKEN, "fallback": {"version": "1"}}}, (MISSING, "")),
]  # fmt: skip


@pytest.mark.parametrize(("about", "known", "expected"), CELLS)
def test_state_of_a_result_follows_from_its_files_and_notes(
    monkeypatch: pytest.MonkeyPatch, about: str, known: dict[str, Any], expected: tuple[str, str]
) -> None:
    failed = {"broken": {"what": "no such wheel", "log": "b.log"}}
    monkeypatch.setattr(status_cells, "failure_of", lambda env: failed.get(env, {}))
    monkeypatch.setattr(health, "intact", lambda env: env not in failed)
    cell = cell_of(Observed(**{"model": "m", "task": "t", "facts": FACTS, "now": 0.0, **known}))
    state, text = expected
    assert (cell.state, cell.text[: len(text)]) == (state, text), about
    assert bool(cell.text) == bool(text)
    assert bool(cell.log) == (state == FAILED)
    # A missing result has no score; only a score that counts has doubts.
    assert bool(cell.score) == (state == DONE or ("entry" in known and state != MISSING))
    assert bool(cell.doubts) == (state == DONE and "entry" in known)


# (value, score, metric) → text in the table
BRIEF = [
    ("0.3056 ± 0.0790", 0.3, "acc", "0.3056!"), ("-", None, "acc", "no acc!"),
    ("no 0.5", 0.5, "acc", "no!"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "score", "metric", "expected"), BRIEF)
def test_table_shows_a_score_without_its_error(
    value: str, score: float | None, metric: str, expected: str
) -> None:
    entry: Any = SimpleNamespace(
        value=value, metric=metric, score=score, marks=[], doubts=["doubt"]
    )
    cell = cell_of(Observed("m", "t", FACTS, 100, stale=False, entry=entry))
    assert cell.brief == expected
    (row,) = status_text.data([cell])["results"]
    assert "short_score" not in row and "doubts" not in row
