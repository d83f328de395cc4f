"""Prepares environments and weights of models, and serves none (make fetch)."""

from __future__ import annotations

from benchy.core.errors import UsageError
from benchy.core.knobs import knob
from benchy.display.messages import say
from benchy.plan.selection import graph_for, select
from benchy.run import machine
from benchy.run.accounting import RunStats
from benchy.run.outcome import names_no_release
from benchy.run.pipeline import Work, dispatch_all


def run() -> int:
    """Prepare the models that MODELS names, and return the exit status."""
    graph = graph_for("results")
    selection = select(graph.plan(), knob("MODELS"), [])
    if not selection.models:
        raise UsageError("there is no model yet", "copy one of configs/templates/ to configs/")
    stats = RunStats(plan=graph.directory)
    fit = machine.fitting(selection.plan, selection.models)
    failed = dispatch_all(Work(graph, selection, fit, stats, fetch_only=True)) if fit else set()
    for name in sorted(failed):
        say("FAILED", name)
    if not failed:
        print(f"fetch: {len(fit)} model{'s are' if len(fit) > 1 else ' is'} ready")
    all_fit = len(fit) == len(selection.models)
    if all_fit and not failed:
        return 0
    models = graph.read()["models"]
    return 2 if all_fit and all(names_no_release(models[name]) for name in failed) else 1
