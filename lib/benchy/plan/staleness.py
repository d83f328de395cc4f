"""bin/why: what makes a result stale.

Compares field by field the planned spec of a result with the one that it was made from (spec.json
beside it), and the locks of both environments with the packages that it was made with
(packages.json). The specs of server and task say where a field was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchy.config import option_files
from benchy.core import files, names, paths
from benchy.core.errors import Failure, UsageError
from benchy.core.result_files import ResultId
from benchy.core.specs import ResultSpec, read_result, read_server, read_task
from benchy.core.text import listed
from benchy.display import activity
from benchy.environments import lock_file
from benchy.environments.lock_file import Package
from benchy.plan import changes, origins, snapshot
from benchy.plan.make import Graph

MOST = 5  # changed packages that are listed


def differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted field, old value, new value) for each leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            below = f"{at}.{key}" if at else key
            # If the mapping itself was added or removed, report each file in it.
            other: dict[str, Any] | None = (
                {} if below in ("option_files", "variable_files", "task.files_elsewhere") else None
            )
            yield from differences(old.get(key, other), new.get(key, other), below)
    elif None in (old, new) and (mapping := old or new) and isinstance(mapping, dict):
        # Report each leaf: a whole mapping on one line is unreadable.
        yield from differences(old or {}, new or {}, at)
    elif old != new:
        yield at, old, new


def reasons(target: Path) -> list[str]:
    """Return why a result is stale, one line per reason, edits first; [] if it is not stale.

    Raise Failure if no configuration requests the result.
    """
    limit, model, task = parts(target)
    spec_path = paths.result_spec(model, task, limit)
    if not spec_path.exists():
        raise not_requested(target)
    if not target.exists():
        return ["it does not exist yet"]
    now = read_result(spec_path)
    try:
        made = read_result(target.with_name("spec.json"))
    except (OSError, ValueError):
        made = now  # no spec.json (old or moved result): compare only ages
    lines = [change(model, now, *difference) for difference in origins.last(differences(made, now))]
    for part, old, env in (
        ("engine", made["engine"]["environment"], now["engine"]["environment"]),
        ("harness", made["task"]["harness_environment"], now["task"]["harness_environment"]),
    ):
        if old == env:
            lines += packages(target, part, env)
    if not lines and spec_path.stat().st_mtime > target.stat().st_mtime:
        lines.append(f"{spec_path} is newer than the result")
    return lines


def change(model: str, now: ResultSpec, field: str, old: Any, new: Any) -> str:
    """Return the line for one field: both values, and where it was written."""
    kind, _, key = field.partition(".")
    if kind in ("option_files", "variable_files"):
        text = option_files.text_of(now, kind, key)
        kind = {"option_files": "options", "variable_files": "variables"}[kind]
        how = changes.happened(old, new)
        return (
            f"{kind}.{key}: {text or 'what it names'} {how}{written(model, now, f'{kind}.{key}')}"
        )
    if field.startswith("task.files."):
        folder = read_task(now["task"]["name"])["include_path"] or ""
        path = Path(folder, field.removeprefix("task.files."))
        return f"task.files: {changes.file(path, old, new)}"
    if field.startswith("task.files_elsewhere."):
        path = Path(field.removeprefix("task.files_elsewhere."))
        return f"task.files: {changes.file(path, old, new)}"
    if field == "model.content":
        what = f"model: the files of {now['model']['path'] or now['model']['name']}"
        return f"{what}: {changes.content(old, new)}{written(model, now, field)}"
    return f"{field}: {changes.values(old, new)}{written(model, now, field)}"


def not_requested(target: Path) -> Failure:
    """Return the error for a result that no plan contains."""
    hint = "`make plan` lists what would be built"
    if target.exists():
        hint = "`make gc` lists and removes what no configuration requests"
    return Failure(f"no configuration requests {target}", hint)


def packages(target: Path, part: str, env: str) -> Iterator[str]:
    """Yield how the lock of an environment makes a result stale. part: engine or harness."""
    lock, spec = paths.lock(env), paths.env_spec(env)
    if not lock.exists():
        yield f"{lock} is not resolved yet"
    elif spec.exists() and spec.stat().st_mtime > lock.stat().st_mtime:
        yield f"{lock} must be resolved again: {spec} has changed"
    elif lock.stat().st_mtime > target.stat().st_mtime:
        old = packages_of(target, part, env)
        if old is None:
            yield f"{lock} has changed since: other packages"
            return
        now = [Package(package.name, package.version) for package in lock_file.packages(lock)]
        lines = [line.removeprefix("~ ") for line in lock_file.differences(old, now)]
        what = listed(lines, MOST) or "the same packages, from other files or resolved again"
        yield f"{lock} has changed since: {what}"


def packages_of(target: Path, part: str, env: str) -> list[Package] | None:
    """Return the packages that a result was made with, None if unknown."""
    versions = files.read_json(target.with_name("packages.json")).get(part)
    if isinstance(versions, dict):
        return [Package(name, version) for name, version in versions.items()]
    # Made by an older benchy: its environment may still exist unchanged.
    facts = files.read_json(target).get(part)
    made = facts.get("lock_sha256") if isinstance(facts, dict) else None
    inside = paths.env_dir(env) / "lock"
    if not made or lock_file.digest(inside) != made:
        return None
    return [Package(package.name, package.version) for package in lock_file.packages(inside)]


def made(target: Path) -> str:
    """Return when a result was made."""
    when = datetime.fromtimestamp(target.stat().st_mtime)
    return when.strftime("%Y-%m-%d %H:%M")


def written(model: str, spec: ResultSpec, field: str) -> str:
    """Return where a field was written, as the end of a line; "" if unknown."""
    part, _, rest = field.partition(".")
    task, server = read_task(spec["task"]["name"]), read_server(model)
    if part == "fallback" and (fallback := server["fallback"]):
        where = str(paths.failed(fallback["environment"]))
    elif part == "task":
        where = origins.place(task["where"], rest)
    else:
        where = origins.place(server["where"], field)
    return f"  ({where.replace('SET:1', 'SET')})" if where else ""


def parts(target: Path) -> tuple[int | None, str, str]:
    """Convert results/[limit-N/]MODEL/TASK/results.json to (N, MODEL, TASK). Raise UsageError."""
    try:
        result = ResultId.parse(target)
    except ValueError:
        hint = f"write TARGET={example(target)}"
        raise UsageError(f"{target} is not a result", hint, "TARGET") from None
    return result.limit, result.model, result.task


def example(target: Path) -> str:
    """Return a result of the plan that shares the most path components with what was typed."""
    try:
        models = Graph("build").read()["models"]
    except (OSError, ValueError):
        models = {}
    known = [paths.target(m, t, None) for m in sorted(models) for t in models[m]["tasks"]]
    words = set(target.parts)
    known.sort(key=lambda path: -len(words & set(Path(path).parts)))
    return known[0] if known else "results/quickstart/smoke/results.json"


def result_path(text: str) -> Path:
    """Return a result's path as Make names it, given that path, an absolute one, or its folder."""
    path = Path(text)
    if path.is_absolute():
        for root in (paths.ROOT, Path.cwd()):
            if path.is_relative_to(root):
                path = path.relative_to(root)
                break
    return path if path.name == "results.json" else path / "results.json"


def refreshed(graph: Graph) -> Graph:
    """Return the graph with its plan up to date.

    While a run is under way, plan separately, because the run must not use this process's knobs.
    """
    if any(activity.runs()):
        return snapshot.plan(graph)
    graph.plan()
    return graph


def is_requested(limit: int | None, model: str, task: str) -> bool:
    """Return whether a configuration requests this result, after updating its specs.

    The specs for a single file outside of configs/ stay as `make eval` left them.
    """
    graph = Graph("build")
    try:
        default = graph.read()["limit"]  # may come from config.yaml
    except (OSError, ValueError):
        default = None
    if limit != default or os.environ.get("LIMIT"):
        os.environ["LIMIT"] = str(limit or "")
        graph = Graph(f"build/{paths.limit_dir(limit)}".rstrip("/"))
    plan = refreshed(graph).read()
    if plan["limit"] == limit and task in plan["models"].get(model, {"tasks": ()})["tasks"]:
        return True
    folder = paths.BUILD / "eval" / names.config_of(model) / paths.limit_dir(limit)
    try:
        facts = Graph(str(folder)).read()["models"][model]
    except (OSError, ValueError, KeyError):
        return False
    return task in facts["tasks"] and Path(facts["source"]).exists()
