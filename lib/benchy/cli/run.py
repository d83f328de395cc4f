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
        description="Run the pipeline. The knobs CONFIG, MODELS, TASKS, LIMIT, TEST, SET and "
        "FALLBACK come from the environment, to which make exports them.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("eval", help="make all results of the model of CONFIG")
    verbs.add_parser("results", help="make the results of all models, or of those in MODELS")
    verbs.add_parser("fetch", help="only build environments and download weights")
    verbs.add_parser("venvs", help="only build environments")
    args = parser.parse_args(argv)
    try:
        graph = graph_for("eval" if args.verb == "eval" else "results")
        with activity.run_under_way(graph.directory):
            if args.verb == "fetch":
                from benchy.run import fetch_all  # noqa: PLC0415 - other verbs start faster

                return fetch_all.run()
            if args.verb == "venvs":
                from benchy.run import build_all  # noqa: PLC0415

                return build_all.run()
            return orchestrator.run(args.verb)
    except Stopped as stopped:
        return 128 + stopped.signum
