"""An empty root for tests of environments, without the machine's settings, and specs in it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import specs
from benchy.core import files, hashing, paths
from benchy.environments.environment_spec import BuildSpec
from benchy.plan import environment_specs

ROOT = Path(__file__).resolve().parents[2]


def module(path: Path) -> ModuleType:
    """Load a script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    return made


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter an empty root with its own cache, without index or settings of pip and uv."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("OFFLINE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "cache"))
    (folder / "root").mkdir()
    monkeypatch.chdir(folder / "root")


def spec(env: str, package: str, version: str | None, **changes: Any) -> BuildSpec:
    """Write the spec of an environment as bin/plan does, and read it back."""
    given = {
        "env": env, "package": package, "version": version, "module": package.replace("-", "_"),
        "requirements": [f"{package}=={version}"],
    }  # fmt: skip
    data = specs.environment(**given | changes)
    files.write(paths.env_spec(env), hashing.canonical(environment_specs.stored(data, Path())))
    return BuildSpec.read(env)
