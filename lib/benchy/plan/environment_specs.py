"""Makes the spec of an environment: a release, its repairs, and a model's own settings.

Pure: configuration in, a dictionary out, which the plan writes to build/specs/env/<env>.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchy.config import merge, schema
from benchy.config.configuration import ModelConfig
from benchy.core import paths
from benchy.core.errors import UsageError
from benchy.core.hashing import content_of, digest, sha256
from benchy.core.paths import slug

Spec = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """Facts from outside the configuration.

    Attributes:
        root: benchy's root directory.
        main_version: returns the release in uv.lock, or None; called only when needed.
        failures: environment → the marker of its failed build.
        fallback: whether another environment may serve in place of a failed one.
    """

    root: Path
    main_version: Callable[[], str | None]
    failures: dict[str, Spec]
    fallback: bool = True


@dataclass(frozen=True)
class Source:
    """Where a package comes from if it is not a release on an index.

    Attributes:
        url: as a requirement has it after the @.
        tag: its part of the environment's name.
        checkout: a file or folder on this machine, with a hash of its content.
    """

    url: str
    tag: str
    checkout: Spec | None = None


wheel_sha256 = cache(sha256)  # vLLM's wheel takes half a second; many models may share it


def git_source(url: str) -> Source:
    return Source(f"git+{url}", "git_" + digest(url)[:8])


def path_source(path: Path) -> Source:
    """Return a checkout as source. If it changes, it is reinstalled in the same environment."""
    checkout = {"path": str(path), "content": content_of(path)}
    return Source(path.as_uri(), "path_" + digest(str(path))[:8], checkout)


def engine_source(text: str, root: Path) -> Source:
    """Return the source for `engine_source` of a config.

    A local wheel is identified by its content: other content at the same path is another
    environment.
    """
    if text.startswith("git+"):
        return git_source(text.removeprefix("git+"))
    wheel = merge.local_wheel(text, root)
    if wheel is None:
        return Source(text, "url_" + digest(text)[:8])
    path = wheel.resolve()
    content = wheel_sha256(path)
    checkout = {"path": str(path), "content": content}
    return Source(path.as_uri(), "wheel_" + digest([path.name, content])[:8], checkout)


def environment_spec(
    engine_name: str,
    engine: schema.Engine,
    version: str | None,
    serving: schema.Provider | None,
    source: str,
    elsewhere: Source | None = None,
    extra: tuple[str, ...] = (),
) -> Spec:
    """Return the spec of an environment for one release; each variation makes its name longer.

    Args:
        version: None for a package from elsewhere that may be any release.
        serving: the model's provider settings; None for a harness or an unvaried environment.
        source: the file (and line) that requests the environment.
        elsewhere: where the package comes from if it is not a release on an index.
        extra: more requirements.
    """
    repairs = [r for r in engine.repairs if version and merge.repair_holds(r, version)]
    transformers = serving.transformers_version if serving else None
    packages = [*(serving.extra_packages if serving else []), *extra]
    drop = sorted({*engine.drop, *(d for r in repairs for d in r.drop)})
    overrides = sorted(
        {*(o for r in repairs for o in r.overrides)}
        | {f"{name} ; python_version < '3'" for name in drop}
    )
    if transformers:
        # An override, because many releases pin a transformers older than their models need.
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
    index = (serving.index if serving else []) or engine.index
    # The release itself comes first, because errors name the first requirement.
    asked_for = (
        f"{engine.package} @ {elsewhere.url}" if elsewhere else f"{engine.package}=={version}"
    )
    requirements = [asked_for, *engine.requirements, *packages]
    if transformers:
        requirements.append("transformers")
    spec = {
        "env": _name(engine_name, engine, version, serving, elsewhere, packages),
        "kind": engine.kind,
        "name": engine_name,
        "package": engine.package.partition("[")[0],
        "version": version,
        "requirements": requirements,
        "overrides": overrides,
        "constraints": sorted({c for r in repairs for c in r.constraints}),
        "python": ",".join(python) or None,
        # A package from elsewhere that may be any release has no release date.
        "cutoff": "none" if cutoff == "release" and version is None else cutoff,
        "slack_days": engine.slack_days,
        "torch_backend": torch_backend,
        "variables": {k: v for r in repairs for k, v in r.variables.items()},
        "module": engine.module,
        "repairs": [{"why": r.why, "link": r.link, "versions": r.versions} for r in repairs],
        "source": source,
    }
    if index:
        spec["index"] = index
    if elsewhere and elsewhere.checkout:
        spec["checkout"] = elsewhere.checkout
    return spec


def _name(
    engine_name: str,
    engine: schema.Engine,
    version: str | None,
    serving: schema.Provider | None,
    elsewhere: Source | None,
    packages: list[str],
) -> str:
    """Return the name of an environment's directory.

    It contains the engine, the release, and a hash of everything unusual in the config, so that
    different sets of packages never share a directory.
    """
    transformers = serving.transformers_version if serving else None
    name = f"{engine_name}_{elsewhere.tag if elsewhere else slug(version or '')}"
    if transformers:
        name += f"_transformers_{slug(transformers)}"

    def varied(key: str) -> Any:
        asked = getattr(serving, key) if serving else None
        return None if asked == getattr(engine, key) else asked

    unusual: list[Any] = [
        packages,
        serving.python if serving else None,
        varied("torch_backend"),
        varied("cutoff"),
    ]
    # 0.8.5+1 and 0.8.5.1 have the same slug, and a source's tag does not contain the release.
    unclear = [v for v in (version, transformers) if v and re.search(r"[+!]", v)]
    unclear += [version] if elsewhere and version else []
    more = [serving.index if serving else [], unclear]
    if any(more):
        unusual += more
    return name + ("_x" + digest(unusual)[:8] if any(unusual) else "")


def stored(spec: Spec, root: Path) -> Spec:
    """Return the spec as kept in build/specs/env, by which Make detects that a lock is old.

    It lacks `source`, because another line number is no reason to resolve again. It includes the
    content of the shared lock, because other content is one; the lock's age would not do, since a
    git checkout changes it.
    """
    kept = {key: value for key, value in spec.items() if key != "source"}
    shared = root / paths.shared_lock(spec["env"])
    return {**kept, "shared_lock": sha256(shared)} if shared.is_file() else kept


def environment_of(model: ModelConfig, around: Surroundings) -> Spec:
    """Return the environment that a model requests. Raise UsageError if there is no release."""
    serving = model.serving
    varied = bool(
        serving.transformers_version
        or serving.extra_packages
        or serving.python
        or serving.torch_backend
        or serving.cutoff
        or serving.index
    )
    source = model.origin.get("vllm_version", model.file)
    if serving.engine_source:
        elsewhere = engine_source(serving.engine_source, around.root)
        source = model.origin.get("engine_source", model.file)
        asked = serving.vllm_version
        return environment_spec(model.engine_name, model.engine, asked, serving, source, elsewhere)
    if serving.vllm_version is None and not varied:
        return main_environment(model, around)
    version = serving.vllm_version or model.engine.default_version or around.main_version()
    if version is None:
        raise UsageError(
            "uv.lock contains no vllm for this Python", "name a vllm_version in the config"
        )
    return environment_spec(model.engine_name, model.engine, version, serving, source)


def main_environment(model: ModelConfig, around: Surroundings) -> Spec:
    """Return the environment for a model that names no release.

    This is .venv for the engine in uv.lock, and the default release's environment for any other.
    """
    engine = model.engine
    if not engine.main:
        assert engine.default_version is not None  # reader.check_references
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
