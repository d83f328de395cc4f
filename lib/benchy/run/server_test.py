"""Proves that each model's server starts and answers (TEST=1)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchy.core import paths
from benchy.core.specs import ModelEntry, PlanIndex, read_server
from benchy.engines import option_check
from benchy.environments import health
from benchy.plan.make import Graph, call
from benchy.plan.selection import Selection
from benchy.run import build_all, machine
from benchy.run.environment_stages import unbuilt
from benchy.run.launchers import build_resources, launch_variables, launcher_for
from benchy.run.outcome import names_no_release

if TYPE_CHECKING:
    from benchy.cluster.launcher import JobLauncher


def run(graph: Graph, selection: Selection) -> int:
    """Test the servers of the selected models, and return the exit status."""
    option_check.refuse(read_server(model) for model in selection.models)
    specs = {model: read_server(model) for model in selection.models}
    launcher = launcher_for(selection.plan, specs)
    # Reports a wrong BUILD_ON even if nothing is to be built.
    build_resources(selection.plan, launcher, specs)
    fit = machine.fitting(selection.plan, selection.models)
    status = 0 if len(fit) == len(selection.models) else 1
    models = build_environments(graph, selection.plan, fit)
    try:
        for model in fit:
            serving = models[model]["environment"]
            if health.intact(serving):
                status |= test(model, launcher)
            else:
                status |= 2 if names_no_release(models[model]) else 1
                print(f"failed: {unbuilt(model, serving)}", file=sys.stderr)
    finally:
        if launcher:
            launcher.queue.finish()
    return status if status in (0, 2) else 1


def build_environments(
    graph: Graph, plan: PlanIndex, models: Sequence[str]
) -> dict[str, ModelEntry]:
    """Build the environments that models request; then those that serve instead of the failed ones.
    Return the models of the plan after that."""
    tried: list[str] = []
    for part in ("asked", "environment"):
        envs = sorted({plan["models"][model][part] for model in models})
        stale = set(graph.stale([str(paths.stamp(env)) for env in envs]))
        due = [env for env in envs if str(paths.stamp(env)) in stale or not health.intact(env)]
        build_all.build(graph, plan, [env for env in due if env not in tried])
        tried += due
        plan = graph.plan()
    return plan["models"]


def test(model: str, launcher: JobLauncher | None) -> int:
    """Test the server of one model, and return the exit status."""
    command, env, spec = ["bin/serve", model, "--test"], None, read_server(model)
    if launcher:
        command = launcher.command(model, spec, command)
        env = {**launch_variables(launcher), **launcher.environ(model, spec)}
    return call(["bin/fetch", model]) or call(command, env)
