"""The paths that benchy uses. All are relative to ROOT, the working directory of every command.

This module only names files. The module that reads or writes a file documents it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = ROOT / "lib" / "benchy"
SCRIPTS = CODE / "scripts"  # run by the Python of other environments

BUILD = Path("build")
SPECS = Path(os.environ.get("BENCHY_SPECS") or BUILD / "specs")  # plan/snapshot.py sets another one
CONFIGS = Path("configs")
VENVS = Path("venvs")
FAILED = VENVS / ".failed"
RESULTS = Path("results")
RUN = Path("run")
LOGS = Path("logs")
MAIN = "main"  # the name of the main environment; its directory is .venv


def home(path: str | Path) -> Path:
    """Expand ~ and ~user in a path. A path with an unknown user is returned unchanged."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def watchable(path: Path) -> bool:
    """Return whether Make can check the age of a file.

    Make reads NAME(…) as a member of an archive, and its rules cannot contain line breaks or bytes
    that are not UTF-8.
    """
    return str(path).isprintable() and not path.name.endswith(")")


def apart() -> bool:
    """Return whether this process uses specs of its own instead of the shared build/specs."""
    return SPECS != BUILD / "specs"


def slug(text: str) -> str:
    """Convert a version to a part of a directory name: 0.8.5.post1 → 0_8_5_post1."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def env_name(engine: str, version: str) -> str:
    """Return the name of the environment of a release without other settings."""
    return f"{engine}_{slug(version)}"


def env_spec(env: str) -> Path:
    return SPECS / "env" / f"{env}.json"


def server_spec(model: str) -> Path:
    return SPECS / "server" / f"{model}.json"


def task_spec(task: str) -> Path:
    return SPECS / "task" / f"{task}.json"


def result_spec(model: str, task: str, limit: int | None = None) -> Path:
    return Path(spec_named(model, task, limit))


def spec_named(model: str, task: str, limit: int | None = None) -> str:
    """Return the path of a result's spec as text, as Make names it. See target()."""
    return "/".join(filter(None, [f"{SPECS}/result", limit_dir(limit), model, f"{task}.json"]))


def result(model: str, task: str, limit: int | None = None) -> Path:
    return Path(target(model, task, limit))


def target(model: str, task: str, limit: int | None = None) -> str:
    """Return the path of a result as text, as Make names it.

    A plan needs thousands of these, and a Path costs ten times as much as a str.
    """
    return "/".join(filter(None, [str(RESULTS), limit_dir(limit), model, task, "results.json"]))


def limit_dir(limit: int | None) -> str:
    """Return the directory for results limited to n requests, or "" for complete results."""
    return "" if limit is None else f"limit-{limit}"


def env_dir(env: str) -> Path:
    return Path(".venv") if env == MAIN else VENVS / env


def stamp(env: str) -> Path:
    return env_dir(env) / ".stamp"


def fetched(model: str) -> Path:
    return RUN / "fetched" / f"{model}.json"


def lock(env: str) -> Path:
    return VENVS / f"{env}.lock"


def shared_lock(env: str) -> Path:
    """Return the path of a committed lock, which gives a team one set of packages."""
    return CONFIGS / "locks" / f"{env}.lock"


def failed(env: str) -> Path:
    return FAILED / f"{env}.json"
