"""Builds environments without a model, with a live line for each (make venvs)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchy.core import paths
from benchy.core.errors import FailureKind
from benchy.core.knobs import flags
from benchy.core.specs import PlanIndex, read_server
from benchy.display.messages import say
from benchy.display.units import span
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.plan.make import Graph
from benchy.plan.selection import Selection, graph_for
from benchy.run.accounting import RunStats
from benchy.run.current_plan import CurrentPlan
from benchy.run.dispatcher import Dispatcher
from benchy.run.graph_queries import GraphQueries
from benchy.run.launchers import build_resources, launcher_for
from benchy.run.pipeline import drive, environment_for, job_limit, screen_for
from benchy.run.settings import RunSettings


def run() -> int:
    """Build every environment that a config needs (make venvs on a terminal, or with BUILD_ON).
    Return the exit status."""
    graph = graph_for("results")
    if set("nqt") & set(flags()):
        return graph.make("environments")
    plan = graph.plan()
    envs = sorted(plan["environments"])
    stale = set(graph.stale([str(paths.stamp(env)) for env in envs]))
    due = [env for env in envs if {str(paths.stamp(env)), str(paths.lock(env))} & stale]
    failed = build(graph, plan, due)
    for env in sorted(failed):
        say("FAILED", f"{env}, see above; log: {paths.LOGS / 'venv' / env}.log")
    if not failed:
        return 0
    kinds = {failure_of(env).get("kind") for env in failed}
    return 2 if kinds == {FailureKind.NO_SUCH_RELEASE} else 1


def build(graph: Graph, plan: PlanIndex, envs: Sequence[str]) -> set[str]:
    """Build environments, here or in jobs (BUILD_ON). Return the failed ones. Raises Stopped."""
    if not envs:
        return set()
    stats = RunStats(plan=graph.directory)

    def progress_line() -> str:
        ready = sum(health.intact(env) for env in envs)
        return f"{ready} of {len(envs)} environments · {span(stats.seconds)}"

    screen = screen_for(progress_line)
    specs = {name: read_server(name) for name in plan["models"]}
    elsewhere = os.environ.get("BUILD_ON") == "slurm"
    launcher = launcher_for(plan, specs) if elsewhere else None
    settings = RunSettings(
        make=GraphQueries(graph, Selection(plan, (), ())),
        needs={},
        jobs=job_limit(),
        environ=environment_for(launcher, screen),
        launcher=launcher,
        build_resources=build_resources(plan, launcher, specs),
    )
    dispatcher = Dispatcher(settings, CurrentPlan(settings.make, {}), stats, screen)
    drive(dispatcher, (), envs)
    return dispatcher.failed
