"""Show environments as tables, lines or JSON, for `make list-envs` and `make env-info`.

Reads what `inventory` reads, and logs/venv. Writes to stdout; `list` reports problems on stderr.
"""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchy.core import paths
from benchy.core.errors import Failure, UsageError, printable
from benchy.core.text import listed
from benchy.display import text_table, units
from benchy.display.messages import colour, print_lines
from benchy.environments import (
    audit,
    checker,
    environment_spec,
    failures,
    health,
    inventory,
    lock_file,
    resolver,
)

COLOURS = {"ready": "32", "stale": "33", "failed": "31", "broken": "31", "orphan": "33"}


def show_list(as_json: bool) -> int:
    needed = inventory.users()
    rows = [inventory.row(env, needed) for env in inventory.names()]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    head = (
        *("environment", "asked", "found", "state", "size", "alone", "python", "age"),
        *("cutoff", "repairs", "users"),
    )
    table = [head, *(tuple(map(printable, _cells(row))) for row in rows)]

    def paint(number: int, column: int, text: str) -> str:
        if not number or head[column] != "state":
            return text
        return colour(text, COLOURS.get(text.rstrip(), "0"), sys.stdout)

    for line in text_table.aligned(table, paint=paint):
        print(line)
    for row in rows:
        if row.why:
            print(printable(f"{row.env}: {row.why}"), file=sys.stderr)
    return 0


def _cells(row: inventory.EnvironmentRow) -> tuple[str, ...]:
    return (
        row.env, row.asked or "-", row.found or "-", row.state, units.human(row.size),
        units.human(row.alone), row.python or "-", _ago(row.age), (row.cutoff or "-")[:10],
        str(len(row.repairs) or "-"), listed(row.users) or "-",
    )  # fmt: skip


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_info(env: str, as_json: bool) -> int:
    """Print everything known about one environment.

    Raises UsageError if there is no such environment.
    """
    row = inventory.row(env, inventory.users())
    if row.state == "ready":
        with contextlib.suppress(Failure):  # if uv cannot compare, show the rest
            if why := audit.against_lock(
                environment_spec.BuildSpec.read(env), resolver.log_path(env)
            ):
                row = replace(row, state="broken", why=why)
    lock = paths.lock(env)
    if row.state == "missing" and not lock.exists() and not paths.env_spec(env).exists():
        raise UsageError(f"no environment is named {env}", "bin/venv list   shows them")
    check, header = checker.check_result(env), lock_file.header(lock)
    facts: dict[str, Any] = {
        **asdict(row),
        "path": str(paths.env_dir(env)),
        "lock": str(lock) if lock.exists() else None,
        "shared_lock": _shared(env),
        "packages": [asdict(package) for package in lock_file.packages(lock)],
        "requirements": header.get("requirements", []),
        "overrides": header.get("overrides", []),
        "exceptions": [f"{name} up to {day}" for name, day in header.get("exceptions", {}).items()],
        "versions": check.get("packages", {}),
        "check": check.get("steps", []),
        "built": health.stamp(env).get("when"),
        "seconds": health.stamp(env).get("seconds"),
        "failure": failures.failure_of(env) or None,
        "log": str(resolver.log_path(env)),
    }
    if as_json:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        for text in _lines(key, value):
            print_lines(f"{key:<13}{text}")
    return 0


def _shared(env: str) -> str | None:
    """Return the path of the shared lock, with a note if it differs; None if there is none."""
    path = paths.shared_lock(env)
    if not path.exists():
        return None
    same = lock_file.digest(path) == lock_file.digest(paths.lock(env))
    return f"{path}{'' if same else ' (differs from the lock here)'}"


def _lines(key: str, value: Any) -> list[str]:
    """Return the lines of one fact; [] if it is empty."""
    if value in (None, "", [], (), {}):
        return []
    if key in ("size", "alone"):
        return [units.human(value)] if value else []
    if key == "age":
        return [_ago(value)]
    if key == "failure":
        return [f"{value['stage']}: {value['what']}", *value.get("lines", [])]
    if key == "packages":  # about 150 packages; only FORMAT=json shows their hashes
        names = " ".join(str(lock_file.Package(p["name"], p["version"])) for p in value)
        return [
            f"{len(value)}",
            *textwrap.wrap(names, 86, break_long_words=False, break_on_hyphens=False),
        ]
    if key == "check":
        return [f"{s['step']}: {s['found'] or 'done'} ({s['seconds']} s)" for s in value]
    if key == "repairs":
        return [f"{item['versions']}: {item['why']} {item['link']}".rstrip() for item in value]
    if isinstance(value, dict):
        return [f"{name} {text}" for name, text in sorted(value.items())]
    return (
        [str(item) for item in value]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else [str(value)]
    )
