"""bin/why: explain why a result is stale."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchy.core.knobs import knob
from benchy.display.messages import print_lines
from benchy.plan import staleness
from benchy.plan.selection import graph_for, select


def main(argv: list[str]) -> int:
    """Run `bin/why [TARGET]`; without TARGET, the knobs MODELS, TASKS, LIMIT and CONFIG select the
    results. Raise UsageError or Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/why",
        description="Show why a result is stale. Without TARGET: every stale result that "
        "MODELS, TASKS, LIMIT and CONFIG select.",
    )
    parser.add_argument("target", nargs="?", default=os.environ.get("TARGET") or None)
    args = parser.parse_args(argv)
    single = bool(os.environ.get("CONFIG"))
    if args.target:
        target = staleness.result_path(args.target)
        limit, model, task = staleness.parts(target)
        if single:
            staleness.refreshed(graph_for("eval"))
        if not staleness.is_requested(limit, model, task):
            raise staleness.not_requested(target)
        reasons = staleness.reasons(target)
        state = "stale" if reasons else f"up to date, made {staleness.made(target)}"
        print_lines(f"{target}: {state}")
        print_lines(*(f"  {line}" for line in reasons))
        return 0
    graph = staleness.refreshed(graph_for("eval" if single else "results"))
    targets = select(graph.read(), ["*"] if single else knob("MODELS"), knob("TASKS")).all()
    stale = (
        set(graph.stale([f"--old-file={graph.directory}/rules.mk", *targets])) if targets else ()
    )
    chosen = [t for t in targets if t in stale]
    for name in chosen:
        reasons = staleness.reasons(Path(name))
        print_lines(f"{name}: {reasons[0] if reasons else 'stale'}")
    if not chosen:
        print("everything is up to date")
    return 0
