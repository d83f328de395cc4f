"""Where things lie. Every path is relative to ROOT, and every command runs with ROOT as its cwd.

Only names live here; who reads and writes each file is said in the header of its module.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = ROOT / "lib" / "benchy"
SCRIPTS = CODE / "scripts"  # run by other environments' Pythons

BUILD = Path("build")
SPECS = Path(os.environ.get("BENCHY_SPECS") or BUILD / "specs")  # another one: beside.py
CONFIGS = Path("configs")
VENVS = Path("venvs")
FAILED = VENVS / ".failed"
RESULTS = Path("results")
RUN = Path("run")
LOGS = Path("logs")
MAIN = "main"  # the name of the main environment; its directory is .venv


def home(path: str | Path) -> Path:
    """A path with ~ and ~user put in; one of a user who is not there stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def watchable(path: Path) -> bool:
    """Can Make look at the age of a file? It reads NAME(…) as a member of an archive, and a line
    break or bytes that are no UTF-8 can't be written into its rules."""
    return str(path).isprintable() and not path.name.endswith(")")


def apart() -> bool:
    """Are specs of our own meant, and not those that all plans share?"""
    return SPECS != BUILD / "specs"


def slug(text: str) -> str:
    """A version as part of a directory's name: 0.8.5.post1 → 0_8_5_post1."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def env_name(engine: str, version: str) -> str:
    """The environment of a release with nothing besides."""
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
    """A result's spec as Make names it; see target()."""
    return "/".join(filter(None, [f"{SPECS}/result", limit_dir(limit), model, f"{task}.json"]))


def result(model: str, task: str, limit: int | None = None) -> Path:
    return Path(target(model, task, limit))


def target(model: str, task: str, limit: int | None = None) -> str:
    """A result as Make names it; a plan asks for thousands, and a Path costs ten times as much."""
    return "/".join(filter(None, [str(RESULTS), limit_dir(limit), model, task, "results.json"]))


def limit_dir(limit: int | None) -> str:
    """The folder that keeps results over n requests apart from whole ones; "" for whole ones."""
    return "" if limit is None else f"limit-{limit}"


def env_dir(env: str) -> Path:
    return Path(".venv") if env == MAIN else VENVS / env


def stamp(env: str) -> Path:
    return env_dir(env) / ".stamp"


def lock(env: str) -> Path:
    return VENVS / f"{env}.lock"


def shared_lock(env: str) -> Path:
    """A lock that is committed, so that a team has one set of packages."""
    return CONFIGS / "locks" / f"{env}.lock"


def failed(env: str) -> Path:
    return FAILED / f"{env}.json"
