"""Check whether the planned results can be made, before anything is served (make plan CHECK=1).

For each model and task, runs the checks of bin/fetch before a lease: options of the release,
preflight.py, model_checks.py. Reports all errors at once. Builds missing harness environments,
which are small and know the tasks. Builds no engine environments and fetches no weights; prints
which checks need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import ConfigError, Failure, Mistake
from benchy.core.knobs import knob
from benchy.core.specs import PlanIndex, ServerSpec, read_server
from benchy.core.text import listed
from benchy.display.messages import say
from benchy.engines import option_check
from benchy.environments import health
from benchy.evaluation import model_checks, preflight
from benchy.evaluation.preflight import ModelFiles
from benchy.hub import access, tokens
from benchy.plan.make import Graph, call
from benchy.plan.selection import graph_for, select, task_of
from benchy.plan.staleness import refreshed
from benchy.serving import preparation

TAG = "CHECK"
FILES = "files that make fetch downloads"


def run() -> int:
    """Check the results that CONFIG, MODELS, TASKS and LIMIT select, and return the exit status.

    Raises ConfigError for the errors found, Failure if a spec cannot be read.
    """
    single = bool(os.environ.get("CONFIG"))
    graph = refreshed(graph_for("eval" if single else "results"))
    plan = graph.read()
    chosen = select(plan, ["*"] if single else knob("MODELS"), knob("TASKS"))
    servers = {model: read_server(model) for model in chosen.models}
    mistakes: list[Mistake] = []
    try:
        option_check.refuse(servers.values())
    except ConfigError as error:
        mistakes += error.mistakes
    harnesses = {env for model in chosen.models for env in plan["models"][model]["harnesses"]}
    unbuilt = build(graph, sorted(harnesses))
    later = {f"tasks of {env}, which could not be built": [""] for env in sorted(unbuilt)}
    count = 0
    for model in chosen.models:
        tasks = [task_of(target) for target in chosen.targets(model)]
        mistakes += of_model(servers[model], tasks, plan, unbuilt)
        for what in left_for_later(servers[model]):
            later.setdefault(what, []).append(model)
        count += len(tasks)
    for what, of in later.items():
        print(f"not checked: {what}{_of(of)}", file=sys.stderr)
    if mistakes:
        raise ConfigError(sorted(set(mistakes)))
    if unbuilt:
        return 1
    models = f"{len(servers)} model{'s' * (len(servers) != 1)}"
    print(f"check: {count} result{'s' * (count != 1)} of {models}: no mistake found")
    return 0


def _of(models: Sequence[str]) -> str:
    """Format up to three names after a colon, with the number of others; "" for none."""
    named = [model for model in models if model]
    return f": {listed(named)}" if named else ""


def of_model(
    server: ServerSpec, tasks: Sequence[str], plan: PlanIndex, unbuilt: set[str]
) -> list[Mistake]:
    """Return the errors of these tasks on a model. Raises Failure if a spec cannot be read."""
    say(TAG, f"{server['model']}: {', '.join(tasks)}")
    if set(plan["models"][server["model"]]["harnesses"]) & unbuilt:
        return []
    files = ModelFiles(preparation.fetched(server), tokens.of(server), reachable(server))
    try:
        wrong = preflight.of_tasks(server, tasks, plan["limit"], files)
    except (OSError, ValueError) as error:
        raise Failure(f"a spec can't be read: {error}", "make plan reports what is wrong") from None
    return [mistake for of_task in wrong.values() for mistake in of_task]


def reachable(server: ServerSpec) -> bool:
    """Return whether a model's small files (its tokenizer) are here or can be downloaded."""
    if server["path"]:
        return Path(server["path"]).is_dir()
    return model_checks.files_of(server) is not None or not (access.network_forbidden())


def left_for_later(server: ServerSpec) -> list[str]:
    """Return what can be checked only once the model is prepared for serving."""
    unchecked = []
    if not server["path"] and model_checks.files_of(server) is None:
        unchecked.append(FILES)
    if server["chat"] and not health.intact(server["environment"]):
        unchecked.append(f"chat templates by {server['environment']}, which is not built")
    return unchecked


def build(graph: Graph, envs: Sequence[str]) -> set[str]:
    """Build the missing harness environments, and return those that could not be built."""
    missing = [env for env in envs if not health.intact(env)]
    if missing:
        call(graph.command(*(str(paths.stamp(env)) for env in missing), frozen=True))
    return {env for env in missing if not health.intact(env)}
