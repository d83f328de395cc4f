"""Find and run uv, with the machine's pip settings and its output in a log.

Reads the variables UV (a path to uv) and OFFLINE (1: no network). Writes only the given log. On a
terminal, the latest line of uv's progress is shown in place; elsewhere one line per minute.
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

UNSOLVED = 1  # uv's status if requirements cannot be met; 2 is for all other errors


def find(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of uv: from the variable UV, .uv/bin/uv, or the PATH.

    Raises UsageError if there is none.
    """
    named = environ.get("UV")
    if named:
        program = shutil.which(named, path=environ.get("PATH"))
        if not program:
            raise UsageError(
                f"there is no program {named}", "unset UV, or set it to the path of uv", key="UV"
            )
        return Path(program).absolute()
    own = ROOT / ".uv" / "bin" / "uv"
    if own.is_file() and os.access(own, os.X_OK):
        return own
    on_path = shutil.which("uv", path=environ.get("PATH"))
    if on_path:
        return Path(on_path).absolute()
    raise UsageError("uv is not installed", "make bootstrap   (installs uv into .uv)")


def word() -> str:
    """Return how a user calls uv from the checkout: "uv" or ".uv/bin/uv"."""
    own = ROOT / ".uv" / "bin" / "uv"
    return ".uv/bin/uv" if not shutil.which("uv") and own.exists() else "uv"


offline = pip_settings.offline


def variables(environ: Mapping[str, str] = os.environ, local_torch: bool = True) -> dict[str, str]:
    """Return the complete environment for uv.

    It contains the variables that may reach uv (process/environment_variables.py), and the
    machine's pip settings where its uv settings have no value. `private_indexes.project` passes the
    settings of uv.toml files.

    local_torch: False skips folders of wheels with a local build of torch, such as 2.13.0+cpu. That
    satisfies torch==2.13.0 and is preferred, so vLLM for CUDA would get a torch without CUDA.
    """
    out = uv_settings.variables(environ) | link_mode.forced(environ)
    if not local_torch and out.get("UV_FIND_LINKS"):
        links = out["UV_FIND_LINKS"].split(",")
        links = [link for link in links if not any(Path(link).glob("torch-*+*.whl"))]
        out["UV_FIND_LINKS"] = ",".join(links)
    # uv finds interpreters only on the PATH, and pyenv's shims expose only one release at a time.
    pyenv = Path(out.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [out.get("PATH", ""), *(str(path) for path in sorted(pyenv.glob("*/bin")))]
    out["PATH"] = os.pathsep.join(folder for folder in folders if folder)
    return out


def pip(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a `uv pip` command, for `run`."""
    return ["pip", *arguments, *pip_settings.uv_arguments(os.environ)]


def run(
    arguments: Sequence[str],
    log: Path,
    label: str = "",
    stdin: str | None = None,
    local_torch: bool = True,
    index: Sequence[str] = (),
) -> Done:
    """Run uv and wait for it. A failing uv raises nothing; its status is in the result.

    Args:
        arguments: uv's arguments.
        log: Where uv's output goes.
        label: Name of the stage in the progress display; "" shows no progress.
        stdin: Text for uv's stdin.
        local_torch: As in `variables`.
        index: Package indexes that come before the machine's, for `uv pip`.
    """
    command = [str(find()), *(["--offline"] if offline() else []), *arguments]
    environ = variables(local_torch=local_torch)
    with private_indexes.project(index, environ) as (folder, uv_environ):
        if arguments[0] == "pip":  # benchy's pyproject.toml must not affect it
            command += ["--project", str(folder)]
        return logged_program.run_program(command, log, label, stdin, uv_environ)


def room() -> str:
    """Return a text with the free disk space of venvs/.

    uv's cache and temporary files may be on other disks; uv's own error names the file.
    """
    free = shutil.disk_usage(paths.VENVS if paths.VENVS.exists() else ROOT).free / 2**30
    return f"{free:.1f} GiB free in {paths.VENVS}"


def failure(done: Done, what: str, log: Path, hint: str = "", page: int = 0) -> Failure:
    """Return the Failure for a program that failed: full disk, no network, a signal, or `what`.

    what: the error message. hint: what to do. page: the entry in docs/problems.md for `what`.
    """
    lines = done.error_lines()
    if done.disk_full:
        return Failure(
            f"{what}: the disk is full ({room()})",
            f"free some space (bin/venv prune, {word()} cache prune), then run it again",
            log, lines, 1,
        )  # fmt: skip
    if done.offline:
        how = "unset OFFLINE" if offline() else "check the network and pip's index settings"
        return Failure(f"{what}: the package index cannot be reached", how, log, lines, 33)
    if done.status < 0:
        name = signal.Signals(-done.status).name
        return Failure(f"{what}: ended by {name}", hint, log, lines)
    return Failure(what, hint, log, lines, page)
