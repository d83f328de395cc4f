"""What produced a result, from files on this machine: hashes, revisions, commits."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.core import hashing, names, paths
from benchy.core.specs import ServerSpec, TaskMeaning, TaskSpec
from benchy.evaluation.result import Git
from benchy.hub import local_cache

_MIB = 1 << 20
_AT_ONCE = 500  # paths for one git command
# Weights are tens of GB. Reading all of them would take minutes for each result.
_WHOLE = 64 * _MIB


def sha256(path: Path) -> str | None:
    """Return the sha256 of a file, or None if it cannot be read."""
    try:
        return hashing.sha256(path)
    except OSError:
        return None


def made_by(env: str) -> list[str]:
    """Return the hashes of an environment's locks, headers included.

    A header names the content of a directory that the environment was built from, such as a
    checkout of the harness, which changes no package's release.
    """
    return [sha256(path) or "" for path in (paths.env_dir(env) / "lock", paths.lock(env))]


def digest(directory: Path) -> str:
    """Return the sha256 over the names, sizes and bytes of a model's files.

    Skips hidden files. Of a file over 64 MiB, it reads the first and the last MiB. Raises OSError.
    """
    hasher = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = path.relative_to(directory)
        if any(part.startswith(".") for part in name.parts):
            continue
        size = path.stat().st_size
        hasher.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                hasher.update(file.read())
            else:
                hasher.update(file.read(_MIB))
                file.seek(-_MIB, os.SEEK_END)
                hasher.update(file.read(_MIB))
    return f"sha256:{hasher.hexdigest()}"


def revision_used(
    name: str, revision: str | None, hf_cache: str | None, env: Mapping[str, str]
) -> str | None:
    """Return the commit of `revision` (default "main") in the hub cache, or None if it has none.

    The file models--ORG--NAME/refs/REVISION in the cache holds the commit. `hf_cache` is the
    server's directory for the hub's files (HF_HUB_CACHE); None is the default.
    """
    repo = local_cache.hub_cache(hf_cache, env) / local_cache.folder_name(name)
    revision = revision or "main"
    try:
        return (repo / "refs" / revision).read_text().strip() or None
    except OSError:
        commit = re.fullmatch(r"[0-9a-f]{40}", revision)
        return revision if commit and (repo / "snapshots" / revision).is_dir() else None


def git(files: Iterable[str] = ()) -> Git:
    """Return the state of benchy's checkout: `Git(None, None)` outside a checkout.

    `files` are those that decided a result, as paths relative to the root. The result is clean only
    if the commit contains each of them.
    """

    def ask(*args: str) -> list[str] | None:
        try:
            done = subprocess.run(
                ["git", "--literal-pathspecs", "--no-optional-locks", *args],
                cwd=paths.ROOT, capture_output=True, timeout=60, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return [os.fsdecode(part) for part in done.stdout.split(b"\0") if part]

    status = ask("status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
    oids = [line.split()[-1] for line in status or () if line.startswith("# branch.oid ")]
    if not status or not oids or oids[0] == "(initial)":
        return Git(None, None)
    relative = {file: os.path.relpath(paths.ROOT / paths.home(file), paths.ROOT) for file in files}
    inside = sorted({path for path in relative.values() if path.split("/")[0] != ".."})
    committed: set[str] = set()
    for at in range(0, len(inside), _AT_ONCE):
        part = ask("ls-tree", "-z", "--name-only", "HEAD", *inside[at : at + _AT_ONCE])
        if part is None:
            return Git(oids[0], None)
        committed.update(part)
    untracked = sorted(file for file, path in relative.items() if path not in committed)
    changed = any(not line.startswith("# ") for line in status)
    return Git(oids[0], changed or bool(untracked), untracked)


def inputs(server: ServerSpec, task: TaskSpec) -> dict[str, str]:
    """Return the sha256 of each file that decided a result, as read by the plan.

    `server` and `task` are the specs.
    """
    return dict(sorted({**server["inputs"], **task["inputs"]}.items()))


def deciding(server: ServerSpec, task: TaskSpec, meaning: TaskMeaning) -> Iterator[str]:
    """Yield the paths of all files that decided a result: those of `inputs`, and those of the task.

    `meaning` is the task's part of the result spec. Directories (a tokenizer, a draft model) are
    left out: like the model, they are not configuration.
    """
    yield from (path for path in inputs(server, task) if not (paths.ROOT / path).is_dir())
    yield from (f"{task['include_path']}/{name}" for name in meaning["files"])
    yield from meaning.get("files_elsewhere", ())


def without_secrets(arguments: Sequence[str], secrets: Sequence[str]) -> list[str]:
    """Return the arguments with each secret, and the value of --api-key, replaced by ***."""
    out: list[str] = []
    hidden = False
    for argument in arguments:
        text = "***" if hidden and not argument.startswith("--") else argument
        hidden = argument == "--api-key" or (hidden and text == "***")
        if argument.startswith("--api-key="):
            text = "--api-key=***"
        for secret in secrets:
            text = text.replace(secret, "***") if secret else text
        out.append(text)
    return out


def public(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return variables as text, with *** for the value of each name that looks like a secret."""
    return {k: "***" if names.secret(k) else str(v) for k, v in variables.items()}
