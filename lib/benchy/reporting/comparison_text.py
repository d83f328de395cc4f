"""The text output of a comparison: the table, notes on it, and samples side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchy.core.errors import printable
from benchy.core.text import listed
from benchy.display import text_table
from benchy.evaluation import scores
from benchy.reporting import paired_tests, sample_view

if TYPE_CHECKING:
    from benchy.reporting.comparison import MetricComparison, Sample
    from benchy.reporting.comparison_sides import Side

SHOWN = 10  # IDs of flipped samples in a note
EMPTY = "(empty)"  # as on the model's page
WIDE = 600  # characters of a flipped sample's prompt, target and answers


def titles(both: Mapping[str, tuple[Side, Side]], which: int) -> dict[str, list[str]]:
    """Return the titles of A (which=0) or B (which=1), each with the tasks it applies to."""
    tasks_by_title: dict[str, list[str]] = {}
    for task, pair in both.items():
        tasks_by_title.setdefault(pair[which].title, []).append(task)
    return tasks_by_title


def table(comparisons: Sequence[MetricComparison]) -> Iterator[str]:
    head = ("task", "metric", "A", "B", "B - A", "95 % interval", "p", "flips", "")
    lines = [head]
    for r in comparisons:
        v = r.verdict
        peers = (r.a, r.b)
        low, high = (
            "" if end is None else scores.number(end, r.metric, peers=peers, sign=True)
            for end in (v.low, v.high)
        )
        between = f"{low} … {high}" if low and high else "-"
        flips = f"+{v.gained} -{v.lost} of {v.n}" if v.test not in ("unpaired", "none") else "-"
        p = "-" if r.p is None else "<0.001" if r.p < 0.001 else f"{r.p:.3f}"
        lines.append(
            (r.label, scores.short(r.metric),
             scores.number(r.a, r.metric, peers=peers),
             scores.number(r.b, r.metric, peers=peers),
             scores.number(v.difference, r.metric, peers=peers, sign=True),
             between, p, flips, r.word)
        )  # fmt: skip
    yield from text_table.aligned(lines, right=range(2, 8))


def notes(comparisons: Sequence[MetricComparison]) -> Iterator[str]:
    """Yield notes that qualify the rows, one line each."""
    for r in comparisons:
        v = r.verdict
        if r.word == "noise" and v.least:
            least, this = (
                scores.number(abs(d), r.metric, peers=(r.a, r.b)) for d in (v.least, v.difference)
            )
            yield (
                f"{r.label}: noise. {v.n} samples detect a difference of {least} four times "
                f"out of five; this one is {this}."
            )
        if v.few:
            yield (
                f"{r.label}: too few samples to tell: {v.gained + v.lost} of {v.n} differ, and "
                f"fewer than {paired_tests.FEWEST} are never significant."
            )
        elif r.word == "noise" and not v.least and v.test in ("McNemar", "bootstrap"):
            yield f"{r.label}: too few samples to tell: {v.n}."
        if r.word == "no test":
            yield f"{r.label}: no test; neither samples nor standard errors are available."
        if r.verdict.test == "unpaired":
            yield f"{r.label}: by standard errors alone (no samples, or no mean over them)."
        for side, ids in (("B", r.gained), ("A", r.lost)):
            if ids and r.verdict.test == "McNemar":
                yield f"{r.label}: only {side} is right in {listed(ids, SHOWN)}"
    if sum(r.verdict.test != "combined" for r in comparisons) > 1:
        yield "p is adjusted for the number of tasks compared (Holm)."


def flipped(
    row: MetricComparison, ours: Mapping[str, Sample], theirs: Mapping[str, Sample], count: int
) -> Iterator[str]:
    """Yield the text of up to `count` flipped samples in each direction: the prompt, the expected
    answer and both answers. ours, theirs: the row's samples of A and of B."""
    for ids in (row.gained, row.lost):
        for i in ids[:count]:
            sample_a = sample_view.shown(row.task, ours[i].record)
            sample_b = sample_view.shown(row.task, theirs[i].record)
            a, b = (scores.of_sample(side[i].value, row.metric) for side in (ours, theirs))
            yield f"--- {row.label} {i}: A {a}, B {b}"
            prompt = str(sample_a["prompt"])
            yield printable(both_ends(prompt))
            yield f"    expected  {printable(sample_view.joined(sample_a['target'])[:WIDE])}"
            yield f"    A         {printable(answer(sample_a))}"
            yield f"    B         {printable(answer(sample_b))}"


def both_ends(prompt: str) -> str:
    """Shorten a long prompt to its beginning and a longer part of its end."""
    if len(prompt) <= WIDE:
        return prompt
    return f"{prompt[: WIDE // 4]} … {prompt[-(WIDE - WIDE // 4) :]}"


def answer(shown: Mapping[str, Any]) -> str:
    return (
        EMPTY if "answer" in shown.get("empty", []) else sample_view.joined(shown["answer"])[:WIDE]
    )
