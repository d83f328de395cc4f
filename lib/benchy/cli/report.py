"""bin/report: write the leaderboard, or print a table of results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchy.core import paths
from benchy.core.errors import printable
from benchy.display import text_table
from benchy.display.messages import say
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import exports, freshness
from benchy.reporting.collection import collect
from benchy.reporting.leaderboard import chosen, load_board


def main(argv: list[str]) -> int:
    """Run `bin/report`, or `bin/report --table [--limit N] MODEL…`. Return 1 if a result is
    damaged."""
    parser = argparse.ArgumentParser(prog="bin/report", description="Make the leaderboard.")
    parser.add_argument("--table", action="store_true", help="print a table of MODEL… instead")
    parser.add_argument("--limit", type=int, help="with --table: the results of LIMIT=N")
    parser.add_argument(
        "--stale",
        action="append",
        default=[],
        metavar="PATH",
        help="with --table: a stale result",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="with --table: the models")
    args = parser.parse_args(argv)
    if not args.table:
        made_from = freshness.signature()
        freshness.begin()
        board, damaged, mistakes = load_board()
        exports.write(board, [str(d).splitlines()[0] for d in damaged])
        for mistake in mistakes:
            print(f"the leaderboard lacks its groups and metrics: {mistake}", file=sys.stderr)
        # None makes the next report run in any case, so that it reports the mistakes again.
        freshness.note(None if damaged or mistakes else made_from)
        count = len(board.entries)
        results = f"{count} result{'s' * (count != 1)}"
        say(exports.TAG, f"{paths.RESULTS / 'index.html'}  ({results})")
    else:
        entries, damaged = collect(args.models or None, args.limit, limited=args.limit is not None)
        if entries:
            entries, mistakes = chosen(entries)
            entries = [replace(e, stale=str(e.path) in args.stale) for e in entries]
            print(table(entries))  # printable: table() escapes its cells
            for mistake in mistakes:
                print(f"the table lacks the metrics of the task files: {mistake}", file=sys.stderr)
    for what in damaged:
        print(what, file=sys.stderr)
    return 1 if damaged else 0


def table(entries: Sequence[ScoredResult]) -> str:
    """Return the results as a text table with aligned columns."""
    head = ("model", "task", "metric", "score", "result")
    rows = [
        [
            printable(text)
            for text in (
                *(e.model, e.task, e.metric, e.value),
                " ".join([str(e.path), *(f"({m})" for m in e.marks)]),
            )
        ]
        for e in entries
    ]
    return "\n".join(text_table.aligned([head, *rows]))
