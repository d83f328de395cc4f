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
    from benchy.reporting.comparison import Row, Sample
    from benchy.reporting.comparison_sides import Side

SHOWN = 10  # IDs of flipped samples in a note
EMPTY = "(empty)"  # as on the model's page
WIDE = 600  # characters of a flipped sample's prompt, target and answers


def titles(both: Mapping[str, tuple[Side, Side]], which: int) -> dict[str, list[str]]:
    """Return the titles of A (which=0) or B (which=1), each with the tasks it applies to."""
    found: dict[str, list[str]] = {}
    for task, pair in both.items():
        found.setdefault(pair[which].title, []).append(task)
    return found


def table(found: Sequence[Row]) -> Iterator[str]:
    head = ("task", "metric", "A", "B", "B - A", "95 % interval", "p", "flips", "")
    lines = [head]
    for r in found:
        v = r.verdict
        beside = (r.a, r.b)
        low, high = (
            "" if end is None else scores.number(end, r.metric, beside=beside, sign=True)
            for end in (v.low, v.high)
        )
        between = f"{low} … {high}" if low and high else "-"
        flips = f"+{v.gained} -{v.lost} of {v.n}" if v.test not in ("unpaired", "none") else "-"
        p = "-" if r.p is None else "<0.001" if r.p < 0.001 else f"{r.p:.3f}"
        lines.append(
            (r.label, scores.short(r.metric),
             scores.number(r.a, r.metric, beside=beside),
             scores.number(r.b, r.metric, beside=beside),
             scores.number(v.difference, r.metric, beside=beside, sign=True),
             between, p, flips, r.word)
        )  # fmt: skip
    yield from text_table.aligned(lines, right=range(2, 8))


def notes(found: Sequence[Row]) -> Iterator[str]:
    """Yield notes that qualify the rows, one line each."""
    for r in found:
        v = r.verdict
        if r.word == "noise" and v.least:
            least, this = (
                scores.number(abs(d), r.metric, beside=(r.a, r.b)) for d in (v.least, v.difference)
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
        for whose, ids in (("B", r.gained), ("A", r.lost)):
            if ids and r.verdict.test == "McNemar":
                yield f"{r.label}: only {whose} is right in {listed(ids, SHOWN)}"
    if sum(r.verdict.test != "combined" for r in found) > 1:
        yield "p is adjusted for the number of tasks compared (Holm)."


def flipped(
    row: Row, ours: Mapping[str, Sample], theirs: Mapping[str, Sample], count: int
) -> Iterator[str]:
    """Yield the text of up to `count` flipped samples in each direction: the prompt, the expected
    answer and both answers. ours, theirs: the row's samples of A and of B."""
    for ids in (row.gained, row.lost):
        for i in ids[:count]:
            one = sample_view.shown(row.task, ours[i].whole)
            two = sample_view.shown(row.task, theirs[i].whole)
            a, b = (scores.of_sample(side[i].value, row.metric) for side in (ours, theirs))
            yield f"--- {row.label} {i}: A {a}, B {b}"
            prompt = str(one["prompt"])
            yield printable(both_ends(prompt))
            yield f"    expected  {printable(sample_view.joined(one['target'])[:WIDE])}"
            yield f"    A         {printable(answer(one))}"
            yield f"    B         {printable(answer(two))}"


def both_ends(prompt: str) -> str:
    """Shorten a long prompt to its beginning and a longer part of its end."""
    if len(prompt) <= WIDE:
        return prompt
    return f"{prompt[: WIDE // 4]} … {prompt[-(WIDE - WIDE // 4) :]}"


def answer(shown: Mapping[str, Any]) -> str:
    return (
        EMPTY if "answer" in shown.get("empty", []) else sample_view.joined(shown["answer"])[:WIDE]
    )
