"""In which order a run's models go to the devices, so that the last one is not the only busy one.

How long a model takes is known from its earlier results; else from its weights, where they are on
this machine, at the pace of those models of which both are known. One of which nothing is known
goes early: started last, a long one would be waited for alone.
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
from typing import Any

from benchy.hub import local_cache

TRIES = 20_000  # models times orders that are tried: some 0.3 s
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


@dataclass(frozen=True)
class Item:
    """A model: the seconds it is expected to take, on `count` devices of its pool."""

    name: str
    seconds: float
    count: int
    pool: tuple[str, ...]


def took(results: Sequence[str]) -> float | None:
    """Seconds that these results took when they were made last, the start of their server
    included; those that were never made count as the others' mean. None if none was made."""
    spent, ready = [], 0.0
    for path in results:
        try:
            times = json.loads(Path(path).read_bytes())["times"]
            spent.append(float(times["seconds"]))
            ready = max(ready, float(times["server_ready_seconds"] or 0))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ready + statistics.mean(spent) * len(results) if spent else None


def weight(spec: Mapping[str, Any]) -> int | None:
    """Bytes of a model's weights, None if they are not on this machine. spec: the server's."""
    if spec.get("path"):
        folder = Path(spec["path"])
    else:
        folder = local_cache.hub_cache(spec.get("hf_cache"), os.environ) / local_cache.folder_name(
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
    """Seconds for each model: known, or by its weights, or as long as the longest."""
    paces = [s / w for name, s in known.items() if s and (w := weights.get(name))]
    pace = statistics.median(paces) if paces else 1e-7  # 10 GB: a quarter of an hour
    found = {}
    for name, seconds in known.items():
        size = weights.get(name)
        found[name] = seconds if seconds else size * pace if size else None
    longest = max((s for s in found.values() if s), default=1.0)
    return {name: seconds or longest for name, seconds in found.items()}


def best(items: Sequence[Item], at_once: int | None = None) -> list[str]:
    """The names in the order in which they should go: the longest first, or the widest, whichever
    has all over sooner, mended by moving one here and there as long as that gains time.

    at_once: models under way together, None for no bound. The same items give the same order.
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
    """No order has all over sooner than this: all the work on all the devices, or the longest."""
    devices = {device for item in items for device in item.pool}
    work = sum(item.seconds * item.count for item in items)
    return max([item.seconds for item in items] + [work / max(1, len(devices))])


def lasts(order: Sequence[Item], at_once: int | None = None) -> float:
    """Seconds until all are over, if they are served in this order by the rules of leases.py."""
    waiting = list(order)
    free = {device for item in order for device in item.pool}
    under_way: list[tuple[float, str, tuple[str, ...]]] = []
    now = 0.0
    while waiting:
        left = set(free)
        later: list[Item] = []
        for at, item in enumerate(waiting):
            if not left or (at_once and len(under_way) >= at_once):
                later += waiting[at:]
                break
            mine = [d for d in item.pool if d in left][: item.count]
            left -= set(mine)
            if len(mine) == item.count:
                free -= set(mine)
                heapq.heappush(under_way, (now + item.seconds, item.name, tuple(mine)))
            else:
                later.append(item)
        waiting = later
        if not under_way:
            return float("inf")  # one wants more than there is
        if waiting:
            now, _, back = heapq.heappop(under_way)
            free |= set(back)
    return max((end for end, _, _ in under_way), default=now)
