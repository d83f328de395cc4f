"""The state of one result, from what Make, the board, the results and the environments say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchy.core import process_info
from benchy.core.specs import ModelEntry
from benchy.display import activity, progress, units
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.evaluation.marks import Mark, MarkKind
from benchy.evaluation.scored_result import ScoredResult

DONE, RUNNING, WAITING, STALE, FAILED, MISSING = (
    "done", "running", "waiting", "stale", "failed", "missing",
)  # fmt: skip


@dataclass(frozen=True)
class StatusCell:
    """The state of one result.

    Attributes:
        model: The model's name.
        task: The task's name.
        state: DONE, RUNNING, WAITING, STALE, FAILED or MISSING.
        score: The score and metric of the existing result, stale or not.
        marks: The marks of that result.
        text: The stage, what the model waits for, or why the result is stale or failed.
        log: Path of a failure's log.
        done: Finished part of the stage.
        total: Size of the stage, 0 if unknown.
        seconds_left: Estimated seconds until the stage ends, None if unknown.
        job: Description of the launcher's job.
        doubts: The marks that are reasons not to trust the score.
        short_score: The score without its error and metric, or why there is none.
    """

    model: str
    task: str
    state: str
    score: str = ""
    marks: tuple[Mark, ...] = ()
    text: str = ""
    log: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    job: str = ""
    doubts: tuple[Mark, ...] = ()
    short_score: str = ""

    @property
    def brief(self) -> str:
        """The text of the cell in a table."""
        if self.state == DONE:
            mark = "*" if any(mark.kind is MarkKind.FALLBACK for mark in self.marks) else ""
            return self.short_score + mark + "!" * bool(self.doubts)
        if self.state == RUNNING and self.total:
            remaining = f" {units.span(self.seconds_left)}" if self.seconds_left is not None else ""
            return f"{100 * self.done // self.total} %{remaining}"
        return {FAILED: "FAILED", MISSING: "-"}.get(self.state, self.state)


@dataclass(frozen=True)
class Observed:
    """What is known about one result when its state is determined.

    Attributes:
        model: The model's name.
        task: The task's name.
        facts: The model's entry in the plan.
        now: The time, in seconds since 1970.
        stale: Whether it was missing or stale when Make was queried, and was not written since.
        reason: Why the existing result is stale, "" if that is unknown.
        entry: The existing result, None if there is none.
        task_note: The task's note on the board.
        model_note: The model's note on the board.
        waits_for: What the model waits for, "" if it does not wait.
        job: Description of the launcher's job for the model, "" if none is under way.
    """

    model: str
    task: str
    facts: ModelEntry
    now: float
    stale: bool = True
    reason: str = ""
    entry: ScoredResult | None = None
    task_note: activity.Note | None = None
    model_note: activity.Note | None = None
    waits_for: str = ""
    job: str = ""


def cell_of(seen: Observed) -> StatusCell:
    """Return the cell of a result: that of the first rule that applies."""
    entry = seen.entry
    cell = StatusCell(seen.model, seen.task, MISSING)
    existing = replace(
        cell, score=scored(entry) if entry else "", marks=tuple(entry.marks) if entry else ()
    )
    for rule in RULES:
        if matched := rule(seen, existing):
            return matched
    return cell


def _task_runs(seen: Observed, cell: StatusCell) -> StatusCell | None:
    note = seen.task_note
    if not note or note.state == activity.FAILED:
        return None
    text, seconds_left = note_text(note, seen.now, seen.job), note.seconds_left(seen.now)
    return replace(
        cell, state=RUNNING, text=text, done=note.done, total=note.total, seconds_left=seconds_left,
        job=seen.job,
    )  # fmt: skip


def _up_to_date(seen: Observed, cell: StatusCell) -> StatusCell | None:
    if seen.stale:
        return None
    doubts = tuple(seen.entry.doubts) if seen.entry else ()
    short = short_score(seen.entry) if seen.entry else "made"
    score = cell.score or "made just now"
    return replace(cell, state=DONE, score=score, doubts=doubts, short_score=short)


def _model_runs(seen: Observed, cell: StatusCell) -> StatusCell | None:
    note = seen.model_note
    if not note or note.state == activity.FAILED:
        return None
    return replace(cell, state=RUNNING, text=note_text(note, seen.now, seen.job), job=seen.job)


def _waits(seen: Observed, cell: StatusCell) -> StatusCell | None:
    if not seen.waits_for:
        return None
    return replace(cell, state=WAITING, text=seen.waits_for, job=seen.job)


def _job_runs(seen: Observed, cell: StatusCell) -> StatusCell | None:
    return replace(cell, state=RUNNING, text=seen.job, job=seen.job) if seen.job else None


def _failed(seen: Observed, cell: StatusCell) -> StatusCell | None:
    """Apply to a failure of the task, else of the model; the rules before exclude other notes."""
    note = seen.task_note or seen.model_note
    return replace(cell, state=FAILED, text=note.text, log=note.log) if note else None


def _environment_failed(seen: Observed, cell: StatusCell) -> StatusCell | None:
    requested = seen.facts["asked"]
    marker = failure_of(requested)
    if not marker or health.intact(requested) or seen.facts["fallback"]:
        return None
    text, log = str(marker.get("what", "")), str(marker.get("log", ""))
    return replace(cell, state=FAILED, text=text, log=log)


def _outdated(seen: Observed, cell: StatusCell) -> StatusCell | None:
    return replace(cell, state=STALE, text=seen.reason) if seen.reason else None


# In order of precedence. A result for which none applies is missing.
RULES: tuple[Callable[[Observed, StatusCell], StatusCell | None], ...] = (
    _task_runs,
    _up_to_date,
    _model_runs,
    _waits,
    _job_runs,
    _failed,
    _environment_failed,
    _outdated,
)


def scored(entry: ScoredResult) -> str:
    """Format the score of an entry: `0.3056 ± 0.0790 acc`."""
    return f"{entry.value} {entry.metric}" if entry.score else f"no {entry.metric}"


def short_score(entry: ScoredResult) -> str:
    """Format the score of an entry for a narrow column: `0.3056`, or `no acc`."""
    return entry.value.partition(" ")[0] if entry.score else scored(entry)


def note_text(note: activity.Note, now: float, job: str = "") -> str:
    """Describe a note, with its job if there is one, else its machine if not this one."""
    where = f", on {note.host}" if note.host != process_info.host() else ""
    where = f"; {job}" if job else where
    return f"{progress.words(note, now)}{where}"
