"""Runs uv: found once, told the machine's pip settings, its talk kept in a log.

Reads the variables UV (a path to uv) and OFFLINE (1: no network). Writes only the log it is given.
On a terminal the newest line of uv's progress is shown in place; elsewhere a line a minute.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure, UsageError
from benchy.core.paths import ROOT
from benchy.environments import link_mode, pip_settings, private_indexes, uv_settings
from benchy.process import logged_program
from benchy.process.logged_program import Done

UNSOLVED = 1  # uv's status where requirements cannot be met; 2 is for all that goes wrong besides


def find(environ: Mapping[str, str] = os.environ) -> Path:
    """uv: the variable UV, the project's own, or the PATH's. UsageError where there is none."""
    named = environ.get("UV")
    if named:
        found = shutil.which(named, path=environ.get("PATH"))
        if not found:
            raise UsageError(f"no program at {named}", "unset UV, or let it name uv", key="UV")
        return Path(found).absolute()
    own = ROOT / ".uv" / "bin" / "uv"
    if own.is_file() and os.access(own, os.X_OK):
        return own
    on_path = shutil.which("uv", path=environ.get("PATH"))
    if on_path:
        return Path(on_path).absolute()
    raise UsageError("there is no uv here", "make bootstrap   (it puts uv into .uv)")


def word() -> str:
    """uv as a person types it in the checkout: its name, if the PATH has it."""
    own = ROOT / ".uv" / "bin" / "uv"
    return ".uv/bin/uv" if not shutil.which("uv") and own.exists() else "uv"


offline = pip_settings.offline


def variables(environ: Mapping[str, str] = os.environ, local_torch: bool = True) -> dict[str, str]:
    """The whole environment for uv: of this one what may reach it (inherited.py), with the
    machine's pip settings where its uv settings say nothing; ownindex.project hands it their files.

    local_torch: False passes over folders of wheels with a torch such as 2.13.0+cpu. It satisfies
    torch==2.13.0 and is preferred to it, so a CUDA build of vLLM would get a torch without CUDA.
    """
    out = uv_settings.variables(environ) | link_mode.forced(environ)
    if not local_torch and out.get("UV_FIND_LINKS"):
        links = out["UV_FIND_LINKS"].split(",")
        links = [link for link in links if not any(Path(link).glob("torch-*+*.whl"))]
        out["UV_FIND_LINKS"] = ",".join(links)
    # uv finds interpreters on the PATH only, and pyenv's shims stand for one release at a time.
    pyenv = Path(out.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [out.get("PATH", ""), *(str(path) for path in sorted(pyenv.glob("*/bin")))]
    out["PATH"] = os.pathsep.join(folder for folder in folders if folder)
    return out


def pip(arguments: Sequence[str]) -> list[str]:
    """A `uv pip` command line, for `run`."""
    return ["pip", *arguments, *pip_settings.uv_arguments(os.environ)]


def run(
    arguments: Sequence[str],
    log: Path,
    label: str = "",
    stdin: str | None = None,
    local_torch: bool = True,
    index: Sequence[str] = (),
) -> Done:
    """Run uv to its end; never raises for a failing uv. label: of the stage that its progress is
    shown as ("": none).

    index: package indexes that come before the machine's, for `uv pip`.
    """
    command = [str(find()), *(["--offline"] if offline() else []), *arguments]
    environ = variables(local_torch=local_torch)
    with private_indexes.project(index, environ) as (folder, settled):
        if arguments[0] == "pip":  # no pyproject.toml of ours may colour a resolution
            command += ["--project", str(folder)]
        return logged_program.run_program(command, log, label, stdin, settled)


def room() -> str:
    """What is free where environments lie, in words. uv's cache and the place of temporary files
    may be other disks: uv names the file."""
    free = shutil.disk_usage(paths.VENVS if paths.VENVS.exists() else ROOT).free / 2**30
    return f"{free:.1f} GiB free in {paths.VENVS}"


def failure(done: Done, what: str, log: Path, hint: str = "", page: int = 0) -> Failure:
    """The Failure that a program's end means: full disk, no network, a signal, or `what`, of which
    page tells more."""
    told = done.telling()
    if done.disk_full:
        return Failure(
            f"{what}: the disk is full ({room()})",
            f"free some space (bin/venv prune, {word()} cache prune), then run it again",
            log, told, 1,
        )  # fmt: skip
    if done.offline:
        how = "unset OFFLINE" if offline() else "check the network and pip's index settings"
        return Failure(f"{what}: the package index cannot be reached", how, log, told, 33)
    if done.status < 0:
        name = signal.Signals(-done.status).name
        return Failure(f"{what}: ended by {name}", hint, log, told)
    return Failure(what, hint, log, told, page)
