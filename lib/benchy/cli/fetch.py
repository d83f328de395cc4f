"""bin/fetch: download what a model's server needs."""

from __future__ import annotations

import argparse

from benchy.display import activity
from benchy.display.progress import Step
from benchy.process.signals import Signals, end_once
from benchy.run import fetch
from benchy.serving import preparation


def main(argv: list[str]) -> int:
    """Run `bin/fetch MODEL [TASK…]`."""
    parser = argparse.ArgumentParser(
        prog="bin/fetch",
        description="Prepare what a model's server needs: its environment and its weights.",
        epilog="HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are respected; OFFLINE=1 "
        "uses only what is cached.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of `make plan`")
    parser.add_argument(
        "tasks", metavar="TASK", nargs="*", help="tasks to check: whether they can run on the model"
    )
    parser.add_argument("--limit", type=int, help="of the run: which results the tasks make")
    args = parser.parse_args(argv)
    name = args.model
    end_once()
    plan = preparation.prepare(name, Signals(), served_here=False)
    if not plan.spec.get("path") or args.tasks:
        with Step(fetch.TAG, name, "model", name, activity.FETCHING) as step:
            if not plan.spec.get("path"):
                fetch.weights(plan, step)
            if args.tasks:
                step.at("check tasks")
                fetch.check(plan.spec, args.tasks, args.limit)
    return 0
