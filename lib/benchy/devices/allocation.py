"""What a server runs on, as a lease: GPUs of the caller's pool, or a CPU slot where it needs none.

bin/run takes the lease when it is a model's turn and hands it to bin/serve: BENCHY_LEASE holds
{"devices", "names", "descriptors"}, and the descriptors are inherited. By hand, bin/serve takes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchy.core import knobs, paths
from benchy.core.errors import Failure
from benchy.devices import gpu, leases

Spec = Mapping[str, Any]
HANDED = "BENCHY_LEASE"


@dataclass(frozen=True)
class Need:
    """names: each device of the pool → what CUDA_VISIBLE_DEVICES calls it ("" for a CPU slot)."""

    want: leases.LeaseRequest
    names: Mapping[str, str]

    @property
    def noun(self) -> str:
        """What a device of it is called."""
        return "GPU" if any(self.names.values()) else "CPU slot"

    def visible(self, held: leases.Lease) -> list[str]:
        return [self.names[device] for device in held.devices if self.names[device]]


def owner(spec: Spec) -> dict[str, Any]:
    """Who waits or holds, as others are told: the server of this spec, for this process."""
    return {"model": spec["model"], "pid": os.getpid(), "root": str(paths.ROOT)}


def need(
    spec: Spec,
    cards: Sequence[gpu.Gpu] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> Need:
    """What the server of this spec needs. cards, skipped: this machine's, asked for if not given.
    Raises Failure if it can't have it, UsageError for a knob."""
    if spec["device"] != "gpu":
        slots = {f"cpu-{number}": "" for number in range(knobs.count("CPU_SLOTS", 1))}
        return Need(leases.LeaseRequest(1, tuple(slots), owner(spec)), slots)
    have = gpu.gpus() if cards is None else cards
    pool = gpu.pool(spec, have)
    names = {f"gpu-{card.uuid}": card.cuda for card in pool}
    taken = left_out(have) if skipped is None else skipped
    if taken := {device: who for device, who in taken.items() if device in names}:
        names = {device: name for device, name in names.items() if device not in taken}
        if len(names) < spec["gpus"]:
            left = f"GPU_BUSY=skip, and strangers leave {len(names)}: {'; '.join(taken.values())}"
            raise Failure(f"{spec['model']} needs {spec['gpus']} GPUs; {left}")
    return Need(leases.LeaseRequest(spec["gpus"], tuple(names), owner(spec)), names)


def left_out(cards: Sequence[gpu.Gpu]) -> dict[str, str]:
    """Of these cards those that GPU_BUSY=skip leaves to strangers: device → words about who; none
    with another GPU_BUSY. What one of us has leased is waited for."""
    if gpu.busy_policy(os.environ) != "skip" or not cards:
        return {}
    at = desk()
    before = at.holders([f"gpu-{card.uuid}" for card in cards])  # one may just be ending
    seen = {f"gpu-{uuid}": who for uuid, who in gpu.strangers(cards).items()}
    return {device: who for device, who in at.outside(seen).items() if device not in before}


def elsewhere(spec: Spec) -> Need:
    """What a launcher has to give a server: no device of this machine."""
    number = int(spec.get("gpus") or 0)
    return Need(leases.LeaseRequest(number or 1, (), owner(spec)), {})


def desk() -> leases.LeaseDirectory:
    """Where this user's leases are had; it looks out for strangers as GPU_BUSY says."""

    def strangers() -> dict[str, str]:
        if gpu.busy_policy(os.environ) != "wait" or not (cards := gpu.gpus()):
            return {}
        return {f"gpu-{uuid}": who for uuid, who in gpu.strangers(cards).items()}

    return leases.LeaseDirectory(leases.directory(), strangers)


def hand(held: leases.Lease, names: Sequence[str]) -> dict[str, str]:
    """The variable that tells a child which inherited descriptors are its lease."""
    told = {"devices": held.devices, "names": names, "descriptors": held.descriptors}
    return {HANDED: json.dumps(told)}


def handed(spec: Spec) -> tuple[leases.Lease, list[str]] | None:
    """The lease that our parent has handed us, and what CUDA calls its devices; None if none."""
    text = os.environ.pop(HANDED, "")
    if not text:
        return None
    told = json.loads(text)
    for descriptor in told["descriptors"]:
        os.set_inheritable(descriptor, False)  # the guardian alone gets it from here
    held = leases.Lease(tuple(told["devices"]), tuple(told["descriptors"]))
    held.inscribe(owner(spec))
    return held, list(told["names"])
