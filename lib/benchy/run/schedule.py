"""Order the models of a run so that the devices finish at about the same time.

The expected time of a model comes from its earlier results; otherwise from the size of its weights,
if they are on this machine, at the median pace of the models for which both are known. A model
about which nothing is known starts early: started last, it could keep the run waiting alone.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchy.core.specs import ServerSpec
from benchy.hub import local_cache
from benchy.serving import preparation

TRIES = 20_000  # models times orders to try: about 0.3 s
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


@dataclass(frozen=True)
class Item:
    """A model with its expected time in seconds, on `count` devices of its pool."""

    name: str
    seconds: float
    count: int
    pool: tuple[str, ...]


def took(results: Sequence[str]) -> float | None:
    """Return the seconds that these results took last time, including the start of their server.
    Results that were never made count as the mean of the others. None if none was made."""
    spent, ready = [], 0.0
    for path in results:
        try:
            times = json.loads(Path(path).read_bytes())["times"]
            spent.append(float(times["seconds"]))
            ready = max(ready, float(times["server_ready_seconds"] or 0))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ready + statistics.mean(spent) * len(results) if spent else None


def weight(spec: ServerSpec) -> int | None:
    """Return the size of a model's weights in bytes, None if they are not on this machine.

    spec: the spec of its server.
    """
    if local := spec["path"] or preparation.fetched(spec).package:
        folder = Path(local)
    else:
        folder = local_cache.hub_cache(spec["hf_cache"], os.environ) / local_cache.folder_name(
            spec["name"]
        )
        folder = folder / "blobs"
    files = [folder, *folder.glob("*")] if folder.is_dir() else []
    size = 0
    for file in files:
        if file.suffix in WEIGHTS or folder.name == "blobs":
            size += file.stat().st_size if file.is_file() else 0
    return size or None


def expectations(
    known: Mapping[str, float | None], weights: Mapping[str, int | None]
) -> dict[str, float]:
    """Return each model's expected seconds: known, by its weights, or those of the longest."""
    paces = [s / w for name, s in known.items() if s and (w := weights.get(name))]
    # Seconds for each byte; by default 10 GB take a quarter of an hour.
    pace = statistics.median(paces) if paces else 1e-7
    estimates = {}
    for name, seconds in known.items():
        size = weights.get(name)
        estimates[name] = seconds if seconds else size * pace if size else None
    longest = max((s for s in estimates.values() if s), default=1.0)
    return {name: seconds or longest for name, seconds in estimates.items()}


def best(items: Sequence[Item], at_once: int | None = None) -> list[str]:
    """Return the names of the models in the order in which to start them.

    Takes the best of three orders (by time, by number of devices, by their product), then moves
    single models at random and keeps each move that ends the run earlier. The same items give the
    same order. at_once: how many models run together, None for no limit.
    """
    ways = (
        lambda i: (-i.seconds, i.name),
        lambda i: (-i.count, -i.seconds, i.name),
        lambda i: (-i.seconds * i.count, i.name),
    )
    orders = [sorted(items, key=way) for way in ways]
    chosen = min(orders, key=lambda order: round(lasts(order, at_once), 6))
    ends, bound = lasts(chosen, at_once), least(items)
    dice = random.Random(0)  # noqa: S311
    for _ in range(TRIES // max(1, len(items))):
        if ends <= bound * 1.01 or ends == float("inf"):
            break
        other = list(chosen)
        other.insert(dice.randrange(len(items)), other.pop(dice.randrange(len(items))))
        then = lasts(other, at_once)
        if then < ends:
            chosen, ends = other, then
    return [item.name for item in chosen]


def least(items: Sequence[Item]) -> float:
    """Return a lower bound of `lasts`: the work spread over all devices, or the longest item."""
    devices = {device for item in items for device in item.pool}
    work = sum(item.seconds * item.count for item in items)
    return max([item.seconds for item in items] + [work / max(1, len(devices))])


def lasts(order: Sequence[Item], at_once: int | None = None) -> float:
    """Return the seconds until all models end if leases.py serves them in this order."""
    waiting = list(order)
    free = {device for item in order for device in item.pool}
    under_way: list[tuple[float, str, tuple[str, ...]]] = []
    now = 0.0
    while waiting:
        available = set(free)
        later: list[Item] = []
        for at, item in enumerate(waiting):
            if not available or (at_once and len(under_way) >= at_once):
                later += waiting[at:]
                break
            mine = [d for d in item.pool if d in available][: item.count]
            available -= set(mine)
            if len(mine) == item.count:
                free -= set(mine)
                heapq.heappush(under_way, (now + item.seconds, item.name, tuple(mine)))
            else:
                later.append(item)
        waiting = later
        if not under_way:
            return float("inf")  # an item needs more devices than there are
        if waiting:
            now, _, back = heapq.heappop(under_way)
            free |= set(back)
    return max((end for end, _, _ in under_way), default=now)
