"""bin/plan: expand configs/ into build/rules.mk and spec files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchy.config import loader
from benchy.core import knobs, names, paths
from benchy.core.errors import UsageError
from benchy.engines import option_check
from benchy.plan import incremental, planner, writer
from benchy.plan.selection import config_file, select


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/plan", description="expand configs/ into build/rules.mk and spec files"
    )
    parser.add_argument("--dir", default="build", help="where rules.mk goes (default: build)")
    parser.add_argument("--config", help="plan only this model's file; it may be anywhere")
    parser.add_argument("--show", choices=["text", "json"], help="print the plan and write nothing")
    args = parser.parse_args(argv)
    with incremental.uncollected(), incremental.alone(args.show is None) as mine:
        return plan_for(args, mine)


def plan_for(args: argparse.Namespace, mine: bool = True) -> int:
    """Make or show the plan that the command line requests. mine: see incremental.alone()."""
    if args.show and knobs.on("CHECK"):
        from benchy.run import plan_check  # noqa: PLC0415 - it imports what a plan does not need

        return plan_check.run()
    only = None
    if args.config is not None:
        if not args.config:
            raise UsageError("is empty", "write CONFIG=configs/quickstart.yaml", "CONFIG")
        only = config_file(args.config)
    base = loader.ConfigLoader(paths.ROOT, {"SET": os.environ.get("SET", "")})
    directory = Path(args.dir)
    if not only and not args.show:
        incremental.refresh(directory, base, mine)
        return 0
    config = planner.checked(base, base.files(only), planner.surroundings())
    extra = tuple(os.environ.get("TASKS", "").split()) if only else ()
    for task in extra:
        if task not in config.tasks:
            nearest = names.near(task, config.tasks)
            raise UsageError(
                f"there is no task {task!r}",
                f"did you mean {nearest!r}?"
                if nearest
                else "known: " + ", ".join(sorted(config.tasks)),
                "TASKS",
            )
    plan = planner.expand(
        config, planner.surroundings(), planner.limit_knob(config.settings), extra
    )
    if args.show:
        option_check.refuse(plan.servers.values())
        if globs := os.environ.get("MODELS", "").split():
            chosen = select(writer.index(plan), globs, []).models
            plan.models = {model: plan.models[model] for model in chosen}
            plan.results = {key: spec for key, spec in plan.results.items() if key[0] in chosen}
        print(planner.show(plan, args.show), end="")
    else:
        planner.saved(plan, directory, mine)
    return 0
