"""The spec of an environment. Reads build/specs/env/<env>.json; writes nothing."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchy.core import hashing, names, paths
from benchy.core.errors import UsageError
from benchy.core.specs import EnvironmentSpec, read_environment

FORMAT = 1  # incremented when benchy resolves the same inputs differently
# Environment markers are evaluated while resolving, so a lock fits only one platform.
PLATFORM = f"{sys.platform}-{platform.machine()}"


@dataclass(frozen=True)
class BuildSpec:
    """The content of build/specs/env/<env>.json, written by bin/plan."""

    env: str
    kind: str
    package: str
    version: str | None
    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    python: str | None = None
    cutoff: str = "release"
    slack_days: int = 7
    torch_backend: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    module: str = "vllm"
    checkout: str = ""  # hash of the source tree or wheel that a requirement names by path
    index: tuple[str, ...] = ()

    @classmethod
    def read(cls, env: str) -> BuildSpec:
        """Read the spec of an environment.

        Without a spec, the main environment gets a default. Raises UsageError for any other.
        """
        try:
            return cls.of(read_environment(env))
        except FileNotFoundError:
            if env == paths.MAIN:
                return cls(env, "main", "vllm", None, ())
            raise UsageError(f"no environment is named {env}", _known(env)) from None

    @classmethod
    def of(cls, spec: EnvironmentSpec) -> BuildSpec:
        """Return what a spec from `plan.environment_specs` says about the build."""
        return cls(
            env=spec["env"],
            kind=spec["kind"],
            package=spec["package"],
            version=spec["version"],
            requirements=tuple(spec["requirements"]),
            overrides=tuple(spec["overrides"]),
            constraints=tuple(spec["constraints"]),
            python=spec["python"],
            cutoff=spec["cutoff"],
            slack_days=spec["slack_days"],
            torch_backend=spec["torch_backend"],
            variables=tuple(sorted(spec["variables"].items())),
            module=spec["module"],
            checkout=spec["checkout"]["content"] if "checkout" in spec else "",
            index=tuple(spec.get("index", ())),
        )

    @property
    def local_torch(self) -> bool:
        """Whether the environment may use the machine's own build of torch."""
        return self.kind == "harness" or self.torch_backend == "cpu"

    @property
    def built(self) -> bool:
        """Whether the package is built from source, from a git revision or a checkout."""
        first = self.requirements[0]
        return " @ " in first and not first.partition("#")[0].partition("?")[0].endswith(".whl")

    @property
    def inputs(self) -> str:
        """The SHA-256 of everything that a resolution depends on."""
        keep = ("requirements", "overrides", "constraints", "python", "cutoff", "slack_days")
        data = {key: value for key, value in asdict(self).items() if key in keep}
        data |= {"torch_backend": self.torch_backend, "format": FORMAT, "checkout": self.checkout}
        if self.index:
            data["index"] = self.index
        if self.kind == "main":
            data["uv.lock"] = digest(paths.ROOT / "uv.lock")
        return hashing.of_text(json.dumps(data, sort_keys=True))


def _known(env: str) -> str:
    """Return a hint for an environment that has no spec."""
    known = sorted(p.stem for p in paths.env_spec(env).parent.glob("*.json"))
    if paths.env_dir(env).is_dir():
        return "bin/plan writes its spec if a config needs it; else make prune-venvs removes it"
    if nearest := names.near(env, known):
        return f"did you mean {nearest}?"
    hint = "bin/plan writes the environments that the configs request"
    return f"{hint}; known: {', '.join(known)}" if known else hint


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; "" if it does not exist."""
    try:
        return hashing.sha256(path)
    except FileNotFoundError:
        return ""
