"""bin/compare: compare two models on the same samples."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from benchy.core import knobs
from benchy.core.errors import ConfigError, Failure, Mistake, UsageError, printable
from benchy.display.messages import print_lines
from benchy.reporting import comparison, comparison_sides, comparison_text, leaderboard
from benchy.reporting.comparison import MetricComparison
from benchy.reporting.comparison_sides import Side


def main(argv: list[str]) -> int:
    """Run `bin/compare A B`.

    Raises:
        UsageError: A knob is wrong, or A or B has no results.
        ConfigError: A and B are not comparable, and ANYWAY is off.
        Failure: A result is damaged, or A and B have no metric in common.
    """
    parser = argparse.ArgumentParser(
        prog="bin/compare",
        description="Compare two models on the same samples.",
    )
    knob = os.environ.get
    parser.add_argument("a", nargs="?", default=knob("A", ""), metavar="A")
    parser.add_argument("b", nargs="?", default=knob("B", ""), metavar="B")
    parser.add_argument(
        "--task", action="append", default=(knob("TASK") or knob("TASKS") or "").split()
    )
    parser.add_argument(
        "--flips",
        default=knob("FLIPS") or "0",
        help="number of changed samples to show, in each direction",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="compare even if the conditions differ (ANYWAY=1)"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    args = parser.parse_args(argv)
    if not args.flips.isdecimal():
        raise UsageError(
            f"{args.flips!r} is not a number of samples", "write e.g. FLIPS=3", "FLIPS"
        )
    settings, config_mistakes = leaderboard.settings_or_none()
    for mistake in config_mistakes:
        print(f"comparing without the metrics of the task files: {mistake}", file=sys.stderr)
    pairs = comparison_sides.sides(
        comparison_sides.directory(args.a, "A"), comparison_sides.directory(args.b, "B"), args.task
    )
    both = {
        task: comparison_sides.by(pair, settings.metrics.get(task)) for task, pair in pairs.items()
    }
    left_out: dict[str, str] = {}
    comparisons: list[tuple[Side, Side, MetricComparison]] = []
    mistakes = []
    for task, (a, b) in both.items():
        wrong = comparison_sides.unlike(a.result, b.result)
        of_task = comparison.rows(a, b, task, wrong)
        comparisons += [(a, b, r) for r in of_task]
        if not of_task:
            left_out[task] = comparison_sides.cannot(a, b)
        mistakes += [Mistake(f"{task}", 0, "", w, "ANYWAY=1 compares them anyway") for w in wrong]
    if mistakes and not (args.anyway or knobs.on("ANYWAY")):
        raise ConfigError(mistakes)
    if not comparisons:
        words = [f"{task}: {why}" for task, why in left_out.items()]
        raise Failure("the two results have no metric in common", "\n".join(words))
    all_rows = comparison.adjusted([r for _, _, r in comparisons])
    titles = [comparison_text.titles(both, which) for which in (0, 1)]
    marked = comparison_sides.warnings(
        {task: pair for task, pair in both.items() if task not in left_out}
    )
    if args.format == "json":
        document = {
            "A": {"name": args.a, "title": "; ".join(titles[0]), "tasks": titles[0]},
            "B": {"name": args.b, "title": "; ".join(titles[1]), "tasks": titles[1]},
            "unlike": [f"{m.file}: {m.what}" for m in mistakes],
            "warnings": marked,
            "not_compared": left_out,
            "rows": [{**asdict(r), "verdict": asdict(r.verdict), "word": r.word} for r in all_rows],
        }
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    for m in mistakes:
        print(printable(f"unlike: {m.file}: {m.what}"), file=sys.stderr)
    for name, of_it in zip("AB", titles, strict=True):
        for title, of in of_it.items():
            print_lines(f"{name}  {title}" + (f": {', '.join(of)}" if len(of_it) > 1 else ""))
    print_lines(*(f"warning: {line}" for line in marked))
    print_lines(*(f"not compared: {task}: {why}" for task, why in left_out.items()))
    print_lines("", *comparison_text.table(all_rows))
    words = list(comparison_text.notes(all_rows))
    print_lines("", *words) if words else print()
    for a, b, r in comparisons if int(args.flips) else ():
        ours, theirs = (comparison.logged(side, r.parts, r.metric) for side in (a, b))
        for line in comparison_text.flipped(r, ours, theirs, int(args.flips)):
            print_lines(line)
    return 0
