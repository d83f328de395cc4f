"""What this machine has for a run, and which models fit it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchy.core.errors import Failure
from benchy.core.specs import PlanIndex, read_server
from benchy.devices import allocation, gpu
from benchy.run.accounting import RunStats
from benchy.run.launchers import launcher_of


@dataclass(frozen=True)
class Devices:
    """The devices of a run. count: 0 if unknown. noun: what messages call one."""

    count: int
    noun: str


def fitting(plan: PlanIndex, models: Sequence[str], stats: RunStats | None = None) -> list[str]:
    """Return the models that fit this machine; all of them if a launcher runs the servers."""
    return list(models) if launcher_of(plan) else refuse_unfit(models, stats)


def refuse_unfit(models: Sequence[str], stats: RunStats | None = None) -> list[str]:
    """Return the models that fit this machine. Print a message for the others, with what can run
    here, and add them to `stats`."""
    fit = []
    servers = {model: read_server(model) for model in models}
    cards: list[gpu.Gpu] = []
    broken = ""
    if any(server["device"] == "gpu" for server in servers.values()):
        try:
            cards = gpu.gpus()
        except Failure as failure:
            broken = failure.what
    for model, server in servers.items():
        on_gpu = server["device"] == "gpu"
        reason = broken if broken and on_gpu else gpu.fits(server, cards)
        if not reason:
            fit.append(model)
        else:
            if stats:
                stats.reasons[model] = (f"it can't run here: {reason}", "")
            print(Failure(f"{model} can't run here: {reason}"), file=sys.stderr)
    if len(fit) < len(models) and not broken:
        count = len(cards)
        here = (
            f"{count} GPU{'s' * (count > 1)}: models that need no more"
            if count
            else "no GPU: models of an engine for CPUs (provider vllm_cpu; see configs/templates/)"
        )
        print(f"  this machine has {here}", file=sys.stderr)
    return fit


def devices() -> Devices:
    """Return the devices of this machine."""
    try:
        cards = gpu.gpus()
    except Failure:  # the models that need a GPU report it
        return Devices(0, "GPU")
    return Devices(len(cards), "GPU") if cards else Devices(allocation.cpu_slots(), "CPU slot")
