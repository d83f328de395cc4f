"""Makes the spec of an environment: a release, its repairs, and a model's own settings.

Pure: configuration in, a dictionary out, which the plan writes to build/specs/env/<env>.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchy.config import engine_schema, option_files, provider_schema
from benchy.config.configuration import ModelConfig
from benchy.core import paths
from benchy.core.errors import UsageError
from benchy.core.hashing import content_of, digest, sha256
from benchy.core.paths import slug
from benchy.core.specs import Checkout, EnvironmentRequest, EnvironmentSpec, FailureMarker

# Keys of a provider that make a model's environment different from the main environment.
VARIATIONS = (
    "transformers_version", "extra_packages", "python", "torch_backend", "cutoff", "index",
)  # fmt: skip


@dataclass(frozen=True)
class PlanContext:
    """Facts from outside the configuration.

    Attributes:
        root: benchy's root directory.
        main_version: returns the release in uv.lock, or None; called only when needed.
        failures: environment → the marker of its failed build.
        fallback: whether another environment may serve in place of a failed one.
    """

    root: Path
    main_version: Callable[[], str | None]
    failures: dict[str, FailureMarker]
    fallback: bool = True


@dataclass(frozen=True)
class PackageSource:
    """Where a package comes from if it is not a release on an index.

    Attributes:
        url: as a requirement has it after the @.
        tag: its part of the environment's name.
        checkout: a file or folder on this machine, with a hash of its content.
    """

    url: str
    tag: str
    checkout: Checkout | None = None


wheel_sha256 = cache(sha256)  # vLLM's wheel takes half a second; many models may share it


def git_source(url: str) -> PackageSource:
    return PackageSource(f"git+{url}", "git_" + digest(url)[:8])


def path_source(path: Path) -> PackageSource:
    """Return a checkout as source. If it changes, it is reinstalled in the same environment."""
    checkout: Checkout = {"path": str(path), "content": content_of(path)}
    return PackageSource(path.as_uri(), "path_" + digest(str(path))[:8], checkout)


def engine_source(text: str, root: Path) -> PackageSource:
    """Return the source for `engine_source` of a config.

    A local wheel is identified by its content: other content at the same path is another
    environment.
    """
    if text.startswith("git+"):
        return git_source(text.removeprefix("git+"))
    wheel = option_files.local_wheel(text, root)
    if wheel is None:
        return PackageSource(text, "url_" + digest(text)[:8])
    path = wheel.resolve()
    content = wheel_sha256(path)
    checkout: Checkout = {"path": str(path), "content": content}
    return PackageSource(path.as_uri(), "wheel_" + digest([path.name, content])[:8], checkout)


@dataclass(frozen=True)
class ReleaseRequest:
    """A request for the environment of one release of an engine or a harness.

    Attributes:
        engine_name: NAME of configs/engines/NAME.yaml.
        engine: the content of that file.
        version: the release; None for a package from elsewhere that may be any release.
        source: the file (and line) that requests the environment.
        serving: the model's provider settings; the default is an environment without variations.
        elsewhere: where the package comes from if it is not a release on an index.
        extra: requirements in addition to those of the engine and the provider.
    """

    engine_name: str
    engine: engine_schema.Engine
    version: str | None
    source: str
    serving: provider_schema.Provider = field(default_factory=provider_schema.Provider)
    elsewhere: PackageSource | None = None
    extra: tuple[str, ...] = ()

    @property
    def packages(self) -> list[str]:
        """Additional requirements of the provider and the task."""
        return [*self.serving.extra_packages, *self.extra]

    def setting(self, key: str) -> Any:
        """Return a setting of the provider, which overrides the engine's."""
        return getattr(self.serving, key) or getattr(self.engine, key)


def environment_spec(request: ReleaseRequest) -> EnvironmentRequest:
    """Return the spec of an environment for one release."""
    engine, version = request.engine, request.version
    repairs = [r for r in engine.repairs if version and r.holds(version)]
    cutoff, index = request.setting("cutoff"), request.setting("index")
    spec: EnvironmentRequest = {
        "env": _name(request),
        "kind": engine.kind,
        "name": request.engine_name,
        "package": engine.package.partition("[")[0],
        "version": version,
        "requirements": _requirements(request),
        "overrides": _overrides(request, repairs),
        "constraints": sorted({c for r in repairs for c in r.constraints}),
        "python": _python(request, repairs),
        # A package from elsewhere that may be any release has no release date.
        "cutoff": "none" if cutoff == "release" and version is None else cutoff,
        "slack_days": engine.slack_days,
        "torch_backend": request.setting("torch_backend"),
        "variables": {k: v for r in repairs for k, v in r.variables.items()},
        "module": engine.module,
        "repairs": [{"why": r.why, "link": r.link, "versions": r.versions} for r in repairs],
        "source": request.source,
    }
    if index:
        spec["index"] = index
    if request.elsewhere and request.elsewhere.checkout:
        spec["checkout"] = request.elsewhere.checkout
    return spec


def _requirements(request: ReleaseRequest) -> list[str]:
    """Return the requirements; the release itself comes first, because errors name the first."""
    engine, elsewhere = request.engine, request.elsewhere
    release = f" @ {elsewhere.url}" if elsewhere else f"=={request.version}"
    transformers = ["transformers"] if request.serving.transformers_version else []
    return [engine.package + release, *engine.requirements, *request.packages, *transformers]


def _overrides(request: ReleaseRequest, repairs: Sequence[engine_schema.Repair]) -> list[str]:
    """Return the requirements that replace those of any package."""
    dropped = {*request.engine.drop, *(name for r in repairs for name in r.drop)}
    replaced = {requirement for r in repairs for requirement in r.overrides}
    overrides = sorted(replaced | {f"{name} ; python_version < '3'" for name in dropped})
    if request.serving.transformers_version:
        # An override, because many releases pin a transformers older than their models need.
        overrides.append(f"transformers=={request.serving.transformers_version}")
    return overrides


def _python(request: ReleaseRequest, repairs: Sequence[engine_schema.Repair]) -> str | None:
    """Return the specifier of all Pythons that the environment may have; None for any."""
    required = [request.engine.python, *(r.python for r in repairs)]
    specifiers = [*required, _python_specifier(request.serving.python)]
    return ",".join(filter(None, specifiers)) or None


def _python_specifier(text: str | None) -> str | None:
    """Return `python` of a provider as a specifier: 3.11 is any 3.11, 3.11.4 that patch release."""
    if text and re.fullmatch(r"3\.\d+", text):
        return f"=={text}.*"
    if text and re.fullmatch(r"[\d.]+", text):
        return f"=={text}"
    return text


def _name(request: ReleaseRequest) -> str:
    """Return the name of an environment's directory.

    It contains the engine, the release, and a hash of everything unusual in the config, so that
    different sets of packages never share a directory.
    """
    serving, elsewhere, version = request.serving, request.elsewhere, request.version
    transformers = serving.transformers_version
    name = f"{request.engine_name}_{elsewhere.tag if elsewhere else slug(version or '')}"
    if transformers:
        name += f"_transformers_{slug(transformers)}"
    unusual: list[Any] = [
        request.packages,
        serving.python,
        *(_deviation(request, key) for key in ("torch_backend", "cutoff")),
    ]
    # 0.8.5+1 and 0.8.5.1 have the same slug, and a source's tag does not contain the release.
    ambiguous = [v for v in (version, transformers) if v and re.search(r"[+!]", v)]
    ambiguous += [version] if elsewhere and version else []
    # Appended only if present, so that older names stay the same.
    if serving.index or ambiguous:
        unusual += [serving.index, ambiguous]
    return name + ("_x" + digest(unusual)[:8] if any(unusual) else "")


def _deviation(request: ReleaseRequest, key: str) -> Any:
    """Return the provider's setting if it differs from the engine's; else None."""
    value = getattr(request.serving, key)
    return None if value == getattr(request.engine, key) else value


def stored(spec: EnvironmentRequest, root: Path) -> EnvironmentSpec:
    """Return the spec as kept in build/specs/env, by which Make detects that a lock is old.

    It lacks `source`, because another line number is no reason to resolve again. It includes the
    content of the shared lock, because other content is one; the lock's age would not do, since a
    git checkout changes it.
    """
    fields: Any = {key: value for key, value in spec.items() if key != "source"}
    stored_spec: EnvironmentSpec = fields
    if (shared := root / paths.shared_lock(spec["env"])).is_file():
        stored_spec["shared_lock"] = sha256(shared)
    return stored_spec


def environment_of(model: ModelConfig, context: PlanContext) -> EnvironmentRequest:
    """Return the environment that a model requests. Raise UsageError if there is no release."""
    serving, version = model.serving, model.serving.vllm_version
    key, elsewhere = "vllm_version", None
    if serving.engine_source:
        key, elsewhere = "engine_source", engine_source(serving.engine_source, context.root)
    elif not version:
        if not any(getattr(serving, name) for name in VARIATIONS):
            return main_environment(model, context)
        version = model.engine.default_version or context.main_version()
        if version is None:
            raise UsageError(
                "uv.lock contains no vllm for this Python", "set vllm_version in the config"
            )
    source = model.origin.get(key, model.file)
    return environment_spec(
        ReleaseRequest(model.engine_name, model.engine, version, source, serving, elsewhere)
    )


def main_environment(model: ModelConfig, context: PlanContext) -> EnvironmentRequest:
    """Return the environment for a model that names no release.

    This is .venv for the engine in uv.lock, and the default release's environment for any other.
    """
    engine = model.engine
    if not engine.main:
        assert engine.default_version is not None  # reader.check_references
        source = f"configs/engines/{model.engine_name}.yaml"
        return environment_spec(
            ReleaseRequest(model.engine_name, engine, engine.default_version, source)
        )
    return {
        "env": paths.MAIN,
        "kind": "main",
        "name": model.engine_name,
        "package": engine.package,
        "version": context.main_version(),
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
        "uv_lock": sha256(context.root / "uv.lock"),
    }
