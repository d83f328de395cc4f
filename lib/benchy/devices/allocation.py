"""The devices of a server, as a lease: GPUs from the caller's pool, or a CPU slot.

bin/run takes the lease when it is a model's turn and passes it to bin/serve: BENCHY_LEASE holds
{"devices", "names", "descriptors"}, and the descriptors are inherited. A bin/serve that a person
runs takes the lease itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchy.core import knobs, paths
from benchy.core.errors import Failure
from benchy.core.specs import ServerSpec
from benchy.devices import gpu, leases

HANDED = "BENCHY_LEASE"


@dataclass(frozen=True)
class DeviceNeed:
    """The request of a server, and how CUDA_VISIBLE_DEVICES names each device of its pool.

    names: device → its name in CUDA_VISIBLE_DEVICES, or "" for a CPU slot.
    """

    want: leases.LeaseRequest
    names: Mapping[str, str]

    @property
    def noun(self) -> str:
        """What messages call one of its devices."""
        return "GPU" if any(self.names.values()) else "CPU slot"

    def visible(self, held: leases.Lease) -> list[str]:
        return [self.names[device] for device in held.devices if self.names[device]]


def owner(spec: ServerSpec) -> dict[str, Any]:
    """Return what other processes see of the owner: the model, this process, the checkout."""
    return {"model": spec["model"], "pid": os.getpid(), "root": str(paths.ROOT)}


def cpu_slots() -> int:
    """Return how many servers may run on the CPU at once: CPU_SLOTS. Raises UsageError."""
    return knobs.count("CPU_SLOTS", 1)


def need(
    spec: ServerSpec,
    cards: Sequence[gpu.Gpu] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> DeviceNeed:
    """Return what the server of this spec needs.

    Args:
        spec: The server's spec.
        cards: This machine's GPUs, queried if None.
        skipped: Devices to leave to foreign programs, as left_out() returns them, queried if None.

    Raises:
        Failure: This machine cannot provide it, or nvidia-smi fails.
        UsageError: A knob has a wrong value.
    """
    if spec["device"] != "gpu":
        slots = {f"{leases.CPU}{number}": "" for number in range(cpu_slots())}
        return DeviceNeed(leases.LeaseRequest(1, tuple(slots), owner(spec)), slots)
    have = gpu.gpus() if cards is None else cards
    pool = gpu.pool(spec, have)
    names = {f"gpu-{card.uuid}": card.cuda for card in pool}
    taken = left_out(have) if skipped is None else skipped
    if taken := {device: who for device, who in taken.items() if device in names}:
        names = {device: name for device, name in names.items() if device not in taken}
        if len(names) < spec["gpus"]:
            programs = "; ".join(taken.values())
            shortage = f"with GPU_BUSY=skip, other programs leave {len(names)}: {programs}"
            raise Failure(f"{spec['model']} needs {spec['gpus']} GPUs; {shortage}")
    return DeviceNeed(leases.LeaseRequest(spec["gpus"], tuple(names), owner(spec)), names)


def left_out(cards: Sequence[gpu.Gpu]) -> dict[str, str]:
    """Return the devices that GPU_BUSY=skip leaves to foreign programs, with words about each.

    Returns {} for any other GPU_BUSY. Devices that benchy has leased are not included: a server
    waits for those.
    """
    if gpu.busy_policy(os.environ) != "skip" or not cards:
        return {}
    return use_of(cards)[1]


def use_of(cards: Sequence[gpu.Gpu]) -> tuple[set[str], dict[str, str]]:
    """Return the devices of these cards that benchy has leased, and those that foreign programs
    use, with words about each. Raises Failure."""
    at = desk()
    # Asked first: a server may be ending right now.
    leased = at.holders([f"gpu-{card.uuid}" for card in cards])
    seen = {f"gpu-{uuid}": who for uuid, who in gpu.strangers(cards).items()}
    foreign = at.foreign_among(seen)
    return set(leased), {device: who for device, who in foreign.items() if device not in leased}


def elsewhere(spec: ServerSpec) -> DeviceNeed:
    """Return what a launcher must provide for a server. It needs no device of this machine."""
    return DeviceNeed(leases.LeaseRequest(spec["gpus"] or 1, (), owner(spec)), {})


def desk() -> leases.LeaseDirectory:
    """Return this user's directory of leases.

    With GPU_BUSY=wait, it also checks for foreign programs.
    """

    def strangers() -> dict[str, str]:
        if gpu.busy_policy(os.environ) != "wait" or not (cards := gpu.gpus()):
            return {}
        return {f"gpu-{uuid}": who for uuid, who in gpu.strangers(cards).items()}

    return leases.LeaseDirectory(leases.directory(), strangers)


def hand(held: leases.Lease, names: Sequence[str]) -> dict[str, str]:
    """Return the variable that tells a child which inherited descriptors are its lease."""
    lease = {"devices": held.devices, "names": names, "descriptors": held.descriptors}
    return {HANDED: json.dumps(lease)}


def handed(spec: ServerSpec) -> tuple[leases.Lease, list[str]] | None:
    """Return the lease from the parent process and the CUDA names of its devices, or None."""
    text = os.environ.pop(HANDED, "")
    if not text:
        return None
    lease = json.loads(text)
    for descriptor in lease["descriptors"]:
        os.set_inheritable(descriptor, False)  # from here on, only the guardian inherits it
    held = leases.Lease(tuple(lease["devices"]), tuple(lease["descriptors"]))
    held.inscribe(owner(spec))
    return held, list(lease["names"])
