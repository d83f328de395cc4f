"""bin/why: what makes a result stale.

Compares the result spec as it is planned now with the one that the result was made from (kept
beside it as spec.json), field by field, and the locks of both environments by their age.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchy import paths
from benchy.errors import Failure, UsageError
from benchy.graph import Graph


def differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, old value, new value) of each leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{at}.{key}" if at else key)
    elif old != new:
        yield at, old, new


def reasons(target: Path) -> list[str]:
    """Why a result is stale, one line a reason; [] if it is not. Failure if it can't be known."""
    limit, model, task = parts(target)
    spec_path = paths.result_spec(model, task, limit)
    if not spec_path.exists():
        raise Failure(
            f"no configuration asks for {target}", "`make plan` lists what would be built"
        )
    if not target.exists():
        return ["it was never made"]
    now = json.loads(spec_path.read_text())
    try:
        made = json.loads(target.with_name("spec.json").read_text())
    except (OSError, ValueError):
        made = now  # made before spec.json was kept, or moved: only the ages can tell
    found = [
        f"{key}: {short(a)} → {short(b)}{origin(model, key)}"
        for key, a, b in differences(made, now)
    ]
    for env in (now["engine"]["environment"], now["task"]["harness_environment"]):
        lock = paths.lock(env)
        if not lock.exists():
            found.append(f"{lock} is not resolved yet")
        elif lock.stat().st_mtime > target.stat().st_mtime:
            found.append(f"{lock} has changed since: other packages")
    if not found and spec_path.stat().st_mtime > target.stat().st_mtime:
        found.append(f"{spec_path} is newer than the result")
    return found


def made(target: Path) -> str:
    """When a result was made."""
    when = datetime.fromtimestamp(target.stat().st_mtime)
    return when.strftime("%Y-%m-%d %H:%M")


def origin(model: str, key: str) -> str:
    """Where the value of an option was written, for the end of a line."""
    server = json.loads(paths.server_spec(model).read_text())
    where = server.get("origin", {}).get(key.rpartition(".")[2], server["source"])
    return f"  ({where})"


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def parts(target: Path) -> tuple[int | None, str, str]:
    """results/[limit-N/]MODEL/TASK/results.json → (N, MODEL, TASK)"""
    words = target.parts
    limit = None
    if len(words) == 5 and words[1].startswith("limit-") and words[1][6:].isdigit():
        limit, words = int(words[1][6:]), (words[0], *words[2:])
    if len(words) != 4 or words[0] != "results" or words[3] != "results.json":
        raise UsageError(f"{target} is no result", "write TARGET=results/MODEL/TASK/results.json")
    return limit, words[1], words[2]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/why", description="what makes a result stale")
    parser.add_argument("target", nargs="?", default=os.environ.get("TARGET") or None)
    args = parser.parse_args(argv)
    graph = Graph("build")
    plan = graph.plan()
    if args.target:
        target = Path(args.target)
        limit, model, _ = parts(target)
        if limit or model not in plan["models"]:
            graph = Graph(f"build/limit-{limit}" if limit else f"build/eval/{model}", not limit)
        found = reasons(target)
        print(f"{target}: {'stale' if found else f'up to date, made {made(target)}'}")
        for line in found:
            print(f"  {line}")
        return 0
    targets = [
        str(paths.result(m, t, plan["limit"]))
        for m, f in plan["models"].items()
        for t in f["tasks"]
    ]
    stale = [t for t in graph.stale(targets) if t in targets]
    for name in stale:
        found = reasons(Path(name))
        print(f"{name}: {found[0] if found else 'stale'}")
    if not stale:
        print("everything is up to date")
    return 0
