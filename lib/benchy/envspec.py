"""The spec of an environment: what a release of an engine, its repairs and a model's own wishes
come to. Pure: configuration in, a dictionary out (build/specs/env/<env>.json).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy import config, paths, schema
from benchy.config import Model
from benchy.content import digest, sha256
from benchy.errors import UsageError

Spec = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """What the plan takes from outside the configuration, each a question asked at most once."""

    root: Path
    main_version: Callable[[], str | None]
    failures: dict[str, Spec]  # environment → its marker
    fallback: bool = True


def slug(text: str) -> str:
    """A version as part of a directory's name: 0.8.5.post1 → 0_8_5_post1."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def environment_spec(
    engine_name: str,
    engine: schema.Engine,
    version: str,
    serving: schema.Provider | None,
    source: str,
    requirement: str | None = None,
    extra: tuple[str, ...] = (),
    tag: str = "",
) -> Spec:
    """The spec of an environment that holds one release; what varies it makes its name longer."""
    repairs = [r for r in engine.repairs if config.repair_holds(r, version)]
    transformers = serving.transformers_version if serving else None
    packages = [*(serving.extra_packages if serving else []), *extra]
    drop = sorted({*engine.drop, *(d for r in repairs for d in r.drop)})
    overrides = sorted(
        {*(o for r in repairs for o in r.overrides)}
        | {f"{name} ; python_version < '3'" for name in drop}
    )
    if transformers:
        # An override, because many releases pin transformers below what their models need.
        overrides.append(f"transformers=={transformers}")
    python = [p for p in (engine.python, *(r.python for r in repairs)) if p]
    if serving and serving.python:
        asked = serving.python
        python.append(
            f"=={asked}.*"
            if re.fullmatch(r"3\.\d+", asked)
            else f"=={asked}"
            if re.fullmatch(r"[\d.]+", asked)
            else asked
        )
    cutoff = (serving.cutoff if serving else None) or engine.cutoff
    torch_backend = (serving.torch_backend if serving else None) or engine.torch_backend
    name = f"{engine_name}_{tag or slug(version)}"
    if transformers:
        name += f"_transformers_{slug(transformers)}"
    unusual = [
        packages,
        serving.python if serving else None,
        serving.torch_backend if serving else None,
        serving.cutoff if serving else None,
    ]
    if any(unusual):
        name += "_x" + digest(unusual)[:8]
    # Every requirement that isn't the release itself comes after it: errors name the first.
    requirements = [requirement or f"{engine.package}=={version}", *engine.requirements, *packages]
    if transformers:
        requirements.append("transformers")
    return {
        "env": name,
        "kind": engine.kind,
        "name": engine_name,
        "package": engine.package.partition("[")[0],
        "version": version,
        "requirements": requirements,
        "overrides": overrides,
        "constraints": sorted({c for r in repairs for c in r.constraints}),
        "python": ",".join(python) or None,
        "cutoff": cutoff,
        "slack_days": engine.slack_days,
        "torch_backend": torch_backend,
        "variables": {k: v for r in repairs for k, v in r.variables.items()},
        "module": engine.module,
        "repairs": [{"why": r.why, "link": r.link, "versions": r.versions} for r in repairs],
        "source": source,
    }


def stored(spec: Spec, root: Path) -> Spec:
    """The spec as it is kept in build/specs/env: what Make compares to know that a lock is old.

    Without its source, because another line number is no reason to resolve again; with the content
    of the shared lock, because another one is. (Its age would say less: a checkout changes it.)
    """
    kept = {key: value for key, value in spec.items() if key != "source"}
    shared = root / paths.shared_lock(spec["env"])
    return {**kept, "shared_lock": sha256(shared)} if shared.is_file() else kept


def environment_of(model: Model, around: Surroundings) -> Spec:
    """The environment that a model asks for."""
    serving = model.serving
    varied = bool(
        serving.transformers_version
        or serving.extra_packages
        or serving.python
        or serving.torch_backend
        or serving.cutoff
    )
    if serving.vllm_version is None and not varied:
        return main_environment(model, around)
    version = serving.vllm_version or model.engine.default_version or around.main_version()
    if version is None:
        raise UsageError(
            "uv.lock holds no vllm for this Python", "name a vllm_version in the config"
        )
    source = model.origin.get("vllm_version", model.file)
    return environment_spec(model.engine_name, model.engine, version, serving, source)


def main_environment(model: Model, around: Surroundings) -> Spec:
    """What serves a model that names no release: .venv for the engine that uv.lock holds, the
    default release's environment for any other."""
    engine = model.engine
    if not engine.main:
        assert engine.default_version is not None  # config.check_references
        source = f"configs/engines/{model.engine_name}.yaml"
        return environment_spec(model.engine_name, engine, engine.default_version, None, source)
    return {
        "env": paths.MAIN,
        "kind": "main",
        "name": model.engine_name,
        "package": engine.package,
        "version": around.main_version(),
        "requirements": [],
        "overrides": [],
        "constraints": [],
        "python": None,
        "cutoff": "none",
        "slack_days": 0,
        "torch_backend": None,
        "variables": {},
        "module": engine.module,
        "repairs": [],
        "source": "uv.lock",
        "uv_lock": sha256(around.root / "uv.lock"),
    }
