"""bin/status: show the state of each result: done, running, waiting, stale, failed or missing.

Asks Make what is stale; reads the board (activity.py), the results, and why environments failed.
Writes nothing and does not contact a run, so it can be called at any time from any terminal.
`--watch` refreshes it every few seconds until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchy.core import paths
from benchy.core.errors import Failure, printable
from benchy.core.specs import ModelEntry
from benchy.core.text import listed
from benchy.display import activity, progress, text_table, units
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.evaluation.marks import Mark, MarkKind
from benchy.evaluation.scored_result import Entry
from benchy.plan import snapshot, staleness
from benchy.plan.make import Graph
from benchy.plan.selection import Selection, select
from benchy.reporting.collection import collect
from benchy.reporting.leaderboard import chosen

DONE, RUNNING, WAITING, STALE, FAILED, MISSING = (
    "done", "running", "waiting", "stale", "failed", "missing",
)  # fmt: skip
PAUSE = 2.0  # seconds between looks at the board
ASKED = 30.0  # seconds until Make is queried again for stale results
COLOURS = {DONE: "32", RUNNING: "36", WAITING: "33", STALE: "35", FAILED: "31"}


@dataclass(frozen=True)
class Cell:
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

    @property
    def brief(self) -> str:
        """The text of the cell in a table."""
        if self.state == DONE:
            mark = "*" if any(mark.kind is MarkKind.FALLBACK for mark in self.marks) else ""
            score = self.score if self.score.startswith("no ") else self.score.partition(" ")[0]
            return score + mark + "!" * bool(self.doubts)
        if self.state == RUNNING and self.total:
            left = f" {units.span(self.seconds_left)}" if self.seconds_left is not None else ""
            return f"{100 * self.done // self.total} %{left}"
        return {FAILED: "FAILED", MISSING: "-"}.get(self.state, self.state)


@dataclass
class Status:
    """What Make and the results said when last queried."""

    graph: Graph
    globs: Sequence[str]
    tasks: Sequence[str]
    selection: Selection = field(init=False)
    stale: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    asked: float = 0.0
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def ask(self) -> None:
        """Query Make and read the results. Raises Failure, UsageError."""
        graph = self.planned()
        plan, globs = graph.read(), ["*"] if graph.one else self.globs
        self.selection = select(plan, globs, self.tasks)
        targets = self.selection.all()
        self.asked = time.time()
        rules = f"--old-file={graph.directory}/rules.mk"
        self.stale = set(graph.stale([rules, *targets])) & set(targets) if targets else set()
        self.reasons = {
            t: first(staleness.reasons(Path(t))) for t in self.stale if Path(t).exists()
        }
        limit = plan["limit"]
        found, _ = collect(self.selection.models, limit, limited=limit is not None)
        found, mistakes = chosen(found)
        for mistake in mistakes:
            print(f"scores are without the task files' metrics: {mistake}", file=sys.stderr)
        self.entries = {(entry.model, entry.task): entry for entry in found}

    def planned(self) -> Graph:
        """Return the graph with a readable plan.

        Updates the plan if no run is under way. Otherwise takes the existing plan, or the plan of a
        run, which is the only one in a fresh checkout, or makes a separate snapshot. Raises Failure
        if there is no plan.
        """
        # A plan depends on the caller's knobs, so this process must not replace that of a run.
        if paths.apart():  # this process already plans in a snapshot of its own
            return snapshot.plan(self.graph)
        runs = list(activity.runs())
        if not runs and (done := self.graph.renew()) and done.returncode:
            if not Path(self.graph.directory, "plan.json").exists():
                raise Failure("there is no plan yet", "fix what is wrong, then run this again")
            print("by the last plan:", file=sys.stderr)
        others = [Graph(run.plan, one="/eval/" in run.plan) for run in runs]
        for graph in (self.graph, *others):
            with contextlib.suppress(OSError, ValueError):
                graph.read()
                return graph
        return snapshot.plan(self.graph)

    def cells(self) -> list[Cell]:
        """Return the cell of every selected result, in the plan's order."""
        if time.time() - self.asked > ASKED:
            self.ask()
        limit = self.selection.plan["limit"]
        notes = {(note.kind, note.name): note for note in activity.notes()}
        runs = list(activity.runs())
        waiting = {model: what for run in runs for model, what in run.waiting.items()}
        jobs = {model: words for run in runs for model, words in run.jobs.items()}
        found = []
        for model in self.selection.models:
            facts = self.selection.plan["models"][model]
            for target in self.selection.targets(model):
                task = target.split("/")[-2]
                one = notes.get(("task", activity.name(model, task, limit)))
                two = notes.get(("model", model))
                waits, job = waiting.get(model), jobs.get(model, "")
                cell = self.cell(model, task, target, facts, one, two, waits, job)
                found.append(cell)
        return found

    def cell(
        self,
        model: str,
        task: str,
        target: str,
        facts: ModelEntry,
        own: activity.Note | None,
        of_model: activity.Note | None,
        waits: str | None,
        job: str = "",
    ) -> Cell:
        """Return the cell of one result.

        Args:
            model: The model's name.
            task: The task's name.
            target: The result's path.
            facts: The model's entry in the plan.
            own: The task's note on the board.
            of_model: The model's note on the board.
            waits: What the model waits for, None if it does not wait.
            job: Description of the launcher's job for the model, "" if none is under way.
        """
        entry = self.entries.get((model, task))
        score = scored(entry) if entry else ""
        marks = tuple(entry.marks) if entry else ()
        now = time.time()
        if own and own.state != activity.FAILED:
            text, left = said(own, now, job), own.left(now)
            return Cell(
                model, task, RUNNING, score, marks, text, "", own.done, own.total, left, job
            )
        try:
            fresh = Path(target).stat().st_mtime >= self.asked
        except OSError:
            fresh = False
        if target not in self.stale or fresh:
            doubts = tuple(entry.doubts) if entry else ()
            return Cell(model, task, DONE, score or "made just now", marks, doubts=doubts)
        if of_model and of_model.state != activity.FAILED:
            return Cell(model, task, RUNNING, score, marks, said(of_model, now, job), job=job)
        if waits:
            return Cell(model, task, WAITING, score, marks, waits, job=job)
        if job:
            return Cell(model, task, RUNNING, score, marks, job, job=job)
        for note in (own, of_model):
            if note:
                return Cell(model, task, FAILED, score, marks, note.text, note.log)
        marker = failure_of(facts["asked"])
        if marker and not health.well(facts["asked"]) and not facts["fallback"]:
            what, log = str(marker.get("what", "")), str(marker.get("log", ""))
            return Cell(model, task, FAILED, score, marks, what, log)
        if target in self.reasons:
            return Cell(model, task, STALE, score, marks, self.reasons[target])
        return Cell(model, task, MISSING)


def scored(entry: Entry) -> str:
    """Format the score of an entry: `0.3056 ± 0.0790 acc`."""
    return f"{entry.value} {entry.metric}" if entry.score else f"no {entry.metric}"


def said(note: activity.Note, now: float, job: str = "") -> str:
    """Describe a note, with its job if there is one, else its machine if not this one."""
    where = f", on {note.host}" if note.host != activity.host() else ""
    where = f"; {job}" if job else where
    return f"{progress.words(note, now)}{where}"


def first(reasons: Sequence[str]) -> str:
    return reasons[0] if reasons else "stale"


def table(cells: Sequence[Cell], width: int, colours: bool) -> Iterator[str]:
    """Yield a table with a row for each model and a column for each task. If it is wider than
    `width` characters, yield a line for each model instead."""
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.model, {})[cell.task] = cell
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    lines = [["model", *tasks]]
    states: list[dict[int, str]] = [{}]  # of each line by column
    for model, row in rows.items():
        states.append({column: row[t].state for column, t in enumerate(tasks, 1) if t in row})
        lines.append([model, *(printable(row[t].brief) if t in row else "" for t in tasks)])
    if text_table.width(lines) > width:
        yield from narrow(rows, width)
        return

    def paint(number: int, column: int, text: str) -> str:
        return painted(text, states[number].get(column, "")) if colours else text

    yield from text_table.aligned(lines, range(1, len(lines[0])), paint)


def narrow(rows: dict[str, dict[str, Cell]], width: int) -> Iterator[str]:
    for model, row in rows.items():
        counts = Counter(cell.state for cell in row.values())
        busy = [f"{c.task} {c.brief}" for c in row.values() if c.state == RUNNING]
        words = [f"{n} {state}" for state, n in counts.items() if state != RUNNING]
        yield printable(f"{model}: {', '.join([*busy, *words])}")[:width]


def painted(text: str, state: str) -> str:
    return f"\033[{COLOURS[state]}m{text}\033[0m" if state in COLOURS else text


def details(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the details that do not fit the table, and the totals."""
    for cell in cells:
        if cell.state == RUNNING:
            yield f"running  {cell.model}/{cell.task}: {cell.text}"
    for note in activity.notes():
        if note.state == activity.BUILDING:
            yield f"building {note.name}: {said(note, time.time())}"
    for state in (WAITING, STALE):
        together: dict[str, list[str]] = {}
        for cell in cells:
            if cell.state == state:
                together.setdefault(cell.text, []).append(f"{cell.model}/{cell.task}")
        for text, names in together.items():
            about = f"for {text}" if state == WAITING else text
            yield f"{state:<8} {listed(names)}: {about}"
    told: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.state == FAILED:
            told.setdefault((cell.text, cell.log), []).append(f"{cell.model}/{cell.task}")
    for (text, log), names in told.items():
        yield f"failed   {', '.join(names)}: {text}"
        if log:
            yield f"         log: {log}"
    marked: dict[str, list[str]] = {}
    for cell in cells:
        for doubt in cell.doubts:
            marked.setdefault(doubt, []).append(f"{cell.model}/{cell.task}")
    for words, names in marked.items():
        yield f"marked   {listed(names)}: {words}"
    if any(cell.state == DONE and "*" in cell.brief for cell in cells):
        yield "* made by a fallback: another release than the one asked for"
    if marked:
        yield "! marked: read why before you believe the score"
    yield sums(cells)


def sums(cells: Sequence[Cell]) -> str:
    """Return the number of results in each state, and the runs under way with their start."""
    counts = Counter(cell.state for cell in cells)
    states = (DONE, RUNNING, WAITING, STALE, FAILED, MISSING)
    words = [f"{counts[state]} {state}" for state in states if counts[state] or state == DONE]
    runs = [
        f"make of pid {run.pid} on {run.host} since {units.span(time.time() - run.began)}"
        for run in activity.runs()
    ]
    return f"{len(cells)} results: {', '.join(words)}" + "".join(f"; {run}" for run in runs)


def data(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the content of FORMAT=json."""
    counts = Counter(cell.state for cell in cells)
    runs = [
        asdict(run) | {"waiting": dict(run.waiting), "jobs": dict(run.jobs)}
        for run in activity.runs()
    ]
    rows = [asdict(cell) | {"marks": list(cell.marks)} for cell in cells]
    for row in rows:
        del row["doubts"]  # they are among the marks
    return {"results": rows, "counts": dict(sorted(counts.items())), "runs": runs}


def colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
