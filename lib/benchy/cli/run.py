"""bin/run: run the pipeline."""

from __future__ import annotations

import argparse

from benchy.display import activity
from benchy.plan.selection import graph_for
from benchy.process.signals import Stopped
from benchy.run import orchestrator


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/run",
        description="lead through a run; the knobs CONFIG, MODELS, TASKS, LIMIT, TEST, SET and "
        "FALLBACK come from the environment, as make exports them",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("eval", help="everything for the model of CONFIG")
    verbs.add_parser("results", help="every model, or those that MODELS names")
    verbs.add_parser("fetch", help="environments and weights, and no more")
    verbs.add_parser("venvs", help="environments, and no more")
    args = parser.parse_args(argv)
    try:
        graph = graph_for("eval" if args.verb == "eval" else "results")
        with activity.run_under_way(graph.directory):
            own = {"fetch": orchestrator.fetch_all, "venvs": orchestrator.build_all}.get(args.verb)
            return own() if own else orchestrator.run(args.verb)
    except Stopped as stopped:
        return 128 + stopped.signum
