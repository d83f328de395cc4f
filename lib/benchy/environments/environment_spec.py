"""The spec of an environment. Reads build/specs/env/<env>.json; writes nothing."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchy.core import names, paths
from benchy.core.errors import UsageError

FORMAT = 1  # incremented when benchy resolves the same inputs differently
# Environment markers are evaluated while resolving, so a lock fits only one platform.
PLATFORM = f"{sys.platform}-{platform.machine()}"


@dataclass(frozen=True)
class Spec:
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
    def read(cls, env: str) -> Spec:
        """Read the spec of an environment.

        Without a spec, the main environment gets a default. Raises UsageError for any other.
        """
        path = paths.env_spec(env)
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if env == paths.MAIN:
                return cls(env, "main", "vllm", None, ())
            raise UsageError(f"no environment is named {env}", _known(env)) from None
        return cls.of(data)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Spec:
        """Return the spec for a mapping from `plan.environment_specs.environment_spec`."""
        known_keys = {field.name for field in fields(cls)}
        data = {key: value for key, value in data.items() if key in known_keys}
        for key in ("requirements", "overrides", "constraints", "index"):
            data[key] = tuple(data.get(key) or ())
        data["variables"] = tuple(sorted((data.get("variables") or {}).items()))
        data["checkout"] = str((data.get("checkout") or {}).get("content", ""))
        return cls(**data)

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
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _known(env: str) -> str:
    """Return a hint for an environment that has no spec."""
    known = sorted(p.stem for p in paths.env_spec(env).parent.glob("*.json"))
    if paths.env_dir(env).is_dir():
        return "bin/plan writes its spec if a config needs it; else make prune-venvs removes it"
    if nearest := names.near(env, known):
        return f"did you mean {nearest}?"
    again = "bin/plan writes the environments that the configs request"
    return f"{again}; known: {', '.join(known)}" if known else again


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; "" if it does not exist."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
