"""bin/compare A B: the same tasks on two models, or on one under two releases, sample by sample.

Reads results/<A>/<task>/results.json and <B>'s, and the samples that the harness logged beside
them. A and B: a model (`name`, `name@cell`), one with a limit (`limit-10/name`), or a directory
that holds tasks, such as a copy kept elsewhere. Writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchy import leaderboard, likeness, names, paired, paths, samples
from benchy import result as document
from benchy.entries import Entry
from benchy.errors import ConfigError, Failure, Mistake, UsageError, printable
from benchy.paired import Verdict
from benchy.result import Result

SHOWN = 10  # ids of flipped samples that are named
WIDE = 600  # characters of a flipped sample's prompt


@dataclass(frozen=True)
class Side:
    """One result and where it lies. stale: Make would make it anew; None where it is not known."""

    directory: Path
    result: Result
    stale: bool | None = None

    @property
    def title(self) -> str:
        engine = self.result.engine
        more = ", fallback" * self.result.fallback + ", stale" * bool(self.stale)
        return f"{self.result.model.config} ({engine.package} {engine.answered}{more})"


@dataclass(frozen=True)
class Sample:
    """doc: a hash of the document. value: by the metric compared."""

    doc: str
    value: float
    whole: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One metric of one task or group of the harness. parts: the tasks whose samples it is over. p:
    with the number of rows allowed for. gained, lost: ids of samples that B has better, and A; so
    too in the verdict, where less is better."""

    task: str
    metric: str
    a: float
    b: float
    verdict: Verdict
    better: bool | None
    parts: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    p: float | None = None

    @property
    def word(self) -> str:
        """Who is better, in a word."""
        if self.verdict.difference == 0 and not self.verdict.gained + self.verdict.lost:
            return "same"
        if self.verdict.few and self.verdict.n < paired.FEWEST:
            return "too few"
        if self.p is None:
            return "no test"
        if self.p >= paired.LEVEL:
            return "noise"
        up = self.verdict.difference > 0
        return "B better" if up == (self.better is not False) else "A better"


def directory(name: str, knob: str) -> Path:
    """Where the results of A or B lie. Raises UsageError."""
    if not name:
        raise UsageError("is missing", "write make compare A=… B=…, two of `make status`", knob)
    for path in (paths.RESULTS / name, Path(os.environ.get("BENCHY_CWD", "."), name)):
        if path.is_dir() and list(path.glob("*/results.json")):
            return path
    known = sorted({str(p.parent.parent.relative_to(paths.RESULTS)) for p in _all()})
    near = names.near(name, known)
    mend = f"did you mean {near!r}?" if near else f"there are: {', '.join(known[:8]) or 'none'}"
    raise UsageError(f"{name!r} has no results", mend, knob)


def _all() -> Iterator[Path]:
    yield from paths.RESULTS.glob("*/*/results.json")
    yield from paths.RESULTS.glob("limit-*/*/*/results.json")


def sides(a: Path, b: Path, tasks: Sequence[str]) -> dict[str, tuple[Side, Side]]:
    """The tasks that both have. Raises UsageError, Failure."""
    common = {p.parent.name for p in a.glob("*/results.json")}
    common &= {p.parent.name for p in b.glob("*/results.json")}
    for task in tasks:
        if task not in common:
            raise UsageError(
                f"not both have the task {task!r}",
                f"both have: {', '.join(sorted(common))}",
                "TASK",
            )
    if not common:
        raise UsageError(f"{a} and {b} have no task in common", "see `make status`")
    found = {
        task: (read(a / task), read(b / task))
        for task in sorted(common)
        if not tasks or task in tasks
    }
    old = leaderboard.stale(side.result.limit for pair in found.values() for side in pair)
    return {task: (aged(one, old), aged(two, old)) for task, (one, two) in found.items()}


def read(where: Path) -> Side:
    return Side(where, document.read(where / "results.json"))


def aged(side: Side, old: Mapping[Path, bool]) -> Side:
    """With whether it is stale."""
    return replace(side, stale=old.get(side.directory / "results.json"))


def titles(both: Mapping[str, tuple[Side, Side]], which: int) -> dict[str, list[str]]:
    """Of A (0) or B (1): each title, with the tasks that it is true of."""
    found: dict[str, list[str]] = {}
    for task, pair in both.items():
        found.setdefault(pair[which].title, []).append(task)
    return found


def unlike(a: Result, b: Result) -> list[str]:
    """What of two results makes their numbers different things, in words."""
    return [f"{what}: {x} and {y}" for what, x, y in likeness.differences(a, b)]


def logged(side: Side, parts: Sequence[str], key: str) -> dict[str, Sample]:
    """The samples of these tasks of the harness by id, as far as they have a number for the metric
    "metric,filter"; {} where none were logged."""
    metric, _, chosen = key.partition(",")
    found = {}
    for name, path in samples.files(side.directory, side.result):
        if name not in parts:
            continue
        whose = f"{name} " if len(parts) > 1 else ""
        for one in samples.read(path):
            value = one.get(metric)
            if one.get("filter", "none") == chosen and isinstance(value, bool | int | float):
                doc = one.get("doc_hash") or _hash(one.get("doc"))
                found[f"{whose}{one.get('doc_id')}"] = Sample(str(doc), float(value), one)
    return found


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def rows(a: Side, b: Side, task: str, wrong: list[str]) -> list[Row]:
    """Of one task of benchy's: a row for each task of the harness in it, and their mean where the
    score is one; a single row where the score is over all their samples. What is unlike in their
    documents is added to `wrong`."""
    chosen = Entry(a.directory, a.result, main_metric(task)).score
    key = chosen.metric
    leaves = [
        name
        for name in sorted(a.result.metrics)
        if key in a.result.metrics[name] and key in b.result.metrics.get(name, {})
    ]
    group = chosen.of if key in b.result.groups.get(chosen.of, {}) else None
    if group and (whole := row(a, b, group, leaves, key, wrong)).verdict.test != "unpaired":
        return [whole]
    found = [row(a, b, name, [name], key, wrong) for name in leaves]
    if group and not found:
        return [row(a, b, group, [], key, wrong)]
    if len(found) > 1:
        verdict = paired.together([one.verdict for one in found])
        mean_a = sum(one.a for one in found) / len(found)
        mean_b = sum(one.b for one in found) / len(found)
        title = f"{task}: mean of {len(found)}"
        found.append(Row(title, key, mean_a, mean_b, verdict, found[0].better))
    return found


def main_metric(task: str) -> str | None:
    """The metric that the task's file names. Mistakes in it are of no concern here."""
    try:
        return leaderboard.settings().metrics.get(task)
    except ConfigError:
        return None


def row(a: Side, b: Side, task: str, parts: Sequence[str], key: str, wrong: list[str]) -> Row:
    """parts: the tasks of the harness whose samples it is over."""
    one = {**a.result.groups, **a.result.metrics}[task][key]
    two = {**b.result.groups, **b.result.metrics}[task][key]
    ours, theirs = logged(a, parts, key), logged(b, parts, key)
    common = [i for i in ours if i in theirs and ours[i].doc == theirs[i].doc]
    others = len(ours.keys() | theirs.keys()) - len(common)
    if ours and theirs and others and a.result.limit == b.result.limit:
        wrong.append(f"{task}: {others} documents are not the same, {len(common)} are")
    x, y = [ours[i].value for i in common], [theirs[i].value for i in common]
    n = sum(a.result.counts.samples.get(part, 0) for part in parts)
    if not common or (not others and not (_is_mean(x, one.value) and _is_mean(y, two.value))):
        # Not logged, or a metric of the whole (BLEU, perplexity) and not a mean over samples.
        verdict = paired.unpaired(one.value, two.value, one.stderr, two.stderr, n)
        return Row(task, key, one.value, two.value, verdict, one.higher_is_better)
    if all(value in (0.0, 1.0) for value in (*x, *y)):
        verdict = paired.right_or_wrong(x, y)
    else:
        verdict = paired.numbers(x, y)
    gained = tuple(i for i in common if theirs[i].value > ours[i].value)
    lost = tuple(i for i in common if theirs[i].value < ours[i].value)
    if one.higher_is_better is False:
        gained, lost = lost, gained
        verdict = replace(verdict, gained=verdict.lost, lost=verdict.gained)
    mean_a, mean_b = sum(x) / len(x), sum(y) / len(y)
    of = tuple(parts)
    return Row(task, key, mean_a, mean_b, verdict, one.higher_is_better, of, gained, lost)


def _is_mean(values: Sequence[float], told: float) -> bool:
    return abs(sum(values) / len(values) - told) <= 1e-6 * max(1.0, abs(told))


def adjusted(found: Sequence[Row]) -> list[Row]:
    """With p-values that allow for how many rows there are. A mean is no test more: it is of the
    same samples."""
    single = [r for r in found if r.verdict.test != "combined"]
    ps = iter(paired.holm([r.verdict.p for r in single]))
    return [
        Row(**{**_fields(r), "p": r.verdict.p if r.verdict.test == "combined" else next(ps)})
        for r in found
    ]


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def table(found: Sequence[Row]) -> Iterator[str]:
    head = ("task", "metric", "A", "B", "B - A", "95 % interval", "p", "flips", "")
    lines = [head]
    for r in found:
        v = r.verdict
        small = max(abs(r.a), abs(r.b)) <= 1
        form = "{:.4f}" if small else "{:.2f}"
        signed = "{:+.4f}" if small else "{:+.2f}"
        known = v.low is not None and v.high is not None
        between = f"{signed.format(v.low)} … {signed.format(v.high)}" if known else "-"
        flips = f"+{v.gained} -{v.lost} of {v.n}" if v.test not in ("unpaired", "none") else "-"
        p = "-" if r.p is None else "<0.001" if r.p < 0.001 else f"{r.p:.3f}"
        lines.append(
            (r.task, r.metric.removesuffix(",none"), form.format(r.a), form.format(r.b),
             signed.format(v.difference), between, p, flips, r.word)
        )  # fmt: skip
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    left = (0, 1, 8)
    for line in lines:
        cells = [
            f"{cell:<{widths[n]}}" if n in left else f"{cell:>{widths[n]}}"
            for n, cell in enumerate(line)
        ]
        yield "  ".join(cells).rstrip()


def notes(found: Sequence[Row]) -> Iterator[str]:
    """What a reader has to know besides."""
    for r in found:
        v = r.verdict
        if r.word == "noise" and v.least:
            yield (
                f"{r.task}: noise. {v.n} samples show a difference of {v.least:.2g} four times "
                f"out of five; this one is {abs(v.difference):.2g}."
            )
        if v.few:
            yield (
                f"{r.task}: too few samples to tell: {v.gained + v.lost} of {v.n} differ, and "
                f"fewer than {paired.FEWEST} never show a difference."
            )
        elif r.word == "noise" and not v.least and v.test in ("McNemar", "bootstrap"):
            yield f"{r.task}: too few samples to tell: {v.n}."
        if r.word == "no test":
            yield f"{r.task}: no test; neither samples nor standard errors are there."
        if r.verdict.test == "unpaired":
            yield f"{r.task}: by standard errors alone (no samples, or no mean over them): blunt."
        for whose, ids in (("B", r.gained), ("A", r.lost)):
            if ids and r.verdict.test == "McNemar":
                more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
                yield f"{r.task}: only {whose} is right in {', '.join(ids[:SHOWN])}{more}"
    if sum(r.verdict.test != "combined" for r in found) > 1:
        yield "p allows for the number of tasks compared (Holm)."


def flipped(a: Side, b: Side, row: Row, count: int) -> Iterator[str]:
    """Up to `count` samples each way, with prompt, what was expected and both answers."""
    ours, theirs = logged(a, row.parts, row.metric), logged(b, row.parts, row.metric)
    for ids in (row.gained, row.lost):
        for i in ids[:count]:
            one = samples.shown(row.task, ours[i].whole)
            two = samples.shown(row.task, theirs[i].whole)
            yield f"--- {row.task} {i}: A {ours[i].value:g}, B {theirs[i].value:g}"
            prompt = str(one["prompt"])
            yield printable("…" + prompt[-WIDE:] if len(prompt) > WIDE else prompt)
            yield f"    expected  {printable(str(one['target'])[:WIDE])}"
            yield f"    A         {printable(str(one['answer'])[:WIDE])}"
            yield f"    B         {printable(str(two['answer'])[:WIDE])}"


def main(argv: list[str]) -> int:
    """bin/compare A B; status 2 where they are unlike. Raises ConfigError, Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/compare", description="Two models on the same samples: difference or noise?"
    )
    knob = os.environ.get
    parser.add_argument("a", nargs="?", default=knob("A", ""), metavar="A")
    parser.add_argument("b", nargs="?", default=knob("B", ""), metavar="B")
    parser.add_argument(
        "--task", action="append", default=(knob("TASK") or knob("TASKS") or "").split()
    )
    parser.add_argument("--flips", default=knob("FLIPS") or "0", help="show so many, each way")
    parser.add_argument("--anyway", action="store_true", help="compare unlike things (ANYWAY=1)")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    args = parser.parse_args(argv)
    if not args.flips.isdecimal():
        raise UsageError(f"{args.flips!r} is no number of samples", "write e.g. FLIPS=3", "FLIPS")
    both = sides(directory(args.a, "A"), directory(args.b, "B"), args.task)
    found: list[tuple[Side, Side, Row]] = []
    mistakes = []
    for task, (a, b) in both.items():
        wrong = unlike(a.result, b.result)
        found += [(a, b, r) for r in rows(a, b, task, wrong)]
        mistakes += [Mistake(f"{task}", 0, "", w, "ANYWAY=1 compares all the same") for w in wrong]
    if mistakes and not (args.anyway or knob("ANYWAY", "0") not in ("", "0")):
        raise ConfigError(mistakes)
    if not found:
        raise Failure("the two have no metric in common")
    all_rows = adjusted([r for _, _, r in found])
    if args.format == "json":
        told = {
            "A": {"name": args.a, "title": "; ".join(titles(both, 0)), "tasks": titles(both, 0)},
            "B": {"name": args.b, "title": "; ".join(titles(both, 1)), "tasks": titles(both, 1)},
            "unlike": [f"{m.file}: {m.what}" for m in mistakes],
            "rows": [{**asdict(r), "verdict": asdict(r.verdict), "word": r.word} for r in all_rows],
        }
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    for m in mistakes:
        print(f"unlike: {m.file}: {m.what}", file=sys.stderr)
    for which, name in enumerate("AB"):
        said = titles(both, which)
        for title, of in said.items():
            print(f"{name}  {title}" + (f": {', '.join(of)}" if len(said) > 1 else ""))
    print()
    print("\n".join(table(all_rows)))
    words = list(notes(all_rows))
    print("\n".join(["", *words] if words else []))
    for a, b, r in found:
        for line in flipped(a, b, r, int(args.flips)):
            print(line)
    return 0
