"""What goes into an environment: its spec, resolved to a lock with hashes.

Reads build/specs/env/<env>.json and uv.lock, writes venvs/<env>.lock (only if it changed) and
logs/venv/<env>.log. The lock begins with a line of JSON that says what it was resolved from and
how; nothing in it names a machine, an index or a day of locking.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from benchy import paths, release, uv
from benchy.errors import Failure, UsageError, say

HEADER = "# benchy: "
FORMAT = 1  # raised when the same inputs are resolved in another way
TRIES = 3  # Pythons on which a resolution is tried: each costs seconds, and old ones never help
# What uv takes from the PyTorch index with --torch-backend. That index tells no upload times, so
# these are exempt from the cutoff; the engine pins torch to the digit anyway.
FROM_TORCH_INDEX = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton")
DOWNLOADABLE = ("3.12", "3.11", "3.13", "3.10", "3.14", "3.9")  # most likely to fit first


@dataclass(frozen=True)
class Spec:
    """build/specs/env/<env>.json, as bin/plan writes it."""

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
    checkout: str = ""  # a hash of the source tree that a requirement's path names

    @classmethod
    def read(cls, env: str) -> Spec:
        """Raises UsageError where there is no such spec."""
        path = paths.env_spec(env)
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if env == paths.MAIN:
                return cls(env, "main", "vllm", None, ())
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
            raise UsageError(
                f"no environment is named {env}", f"run make plan; known are: {known}"
            ) from None
        return cls.of(data)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Spec:
        """Of what envspec.environment_spec gives."""
        known_keys = {field.name for field in fields(cls)}
        data = {key: value for key, value in data.items() if key in known_keys}
        for key in ("requirements", "overrides", "constraints"):
            data[key] = tuple(data.get(key) or ())
        data["variables"] = tuple(sorted((data.get("variables") or {}).items()))
        data["checkout"] = str((data.get("checkout") or {}).get("content", ""))
        return cls(**data)

    @property
    def local_torch(self) -> bool:
        """Whether the machine's own build of torch, if it has one, is the right one."""
        return self.kind == "harness" or self.torch_backend == "cpu"

    @property
    def inputs(self) -> str:
        """Hash of all that a resolution depends on."""
        keep = ("requirements", "overrides", "constraints", "python", "cutoff", "slack_days")
        data = {key: value for key, value in asdict(self).items() if key in keep}
        data |= {"torch_backend": self.torch_backend, "format": FORMAT, "checkout": self.checkout}
        if self.kind == "main":
            data["uv.lock"] = digest(paths.ROOT / "uv.lock")
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def lock_digest(path: Path) -> str:
    """SHA-256 of what a lock installs, "" where there is none. Its header says how it came about:
    a repair that changes no package changes no digest."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    installed = "".join(line for line in lines if not line.startswith(HEADER))
    return hashlib.sha256(installed.encode()).hexdigest()


def header(path: Path) -> dict[str, Any]:
    """What a lock says of itself; {} where there is no lock of ours."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines()[:5]:
            if line.startswith(HEADER):
                found = json.loads(line.removeprefix(HEADER))
                return found if isinstance(found, dict) else {}
    return {}


def log_path(env: str) -> Path:
    return paths.LOGS / "venv" / f"{env}.log"


@contextlib.contextmanager
def held(env: str) -> Iterator[None]:
    """One builder per environment at a time; the second waits. A dead one holds nothing."""
    path = paths.VENVS / ".locks" / env
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("WAIT", f"{env}: another make is at it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock(spec: Spec, fresh: bool = False) -> bool:
    """Write venvs/<env>.lock; True if it changed.

    The same inputs leave a lock as it is, with no look at an index: that is what a lock is for.
    fresh: resolve anew all the same. Raises Failure.
    """
    path = paths.lock(spec.env)
    if not fresh and header(path).get("inputs") == spec.inputs:
        return False
    text = _export(spec) if spec.kind == "main" else _resolve(spec)
    before = path.stat() if path.exists() else None
    installed = lock_digest(path)
    write(path, text)
    if before and lock_digest(path) == installed:  # only its header is another
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return False
    return True


def settle(spec: Spec) -> None:
    """Make the spec older than the lock that it came to.

    Make compares ages. A spec that changed but resolves to the same packages must not make the
    lock new, since results hang on it; so the spec takes the age of what it has not changed.
    """
    path, lock_ = paths.env_spec(spec.env), paths.lock(spec.env)
    if path.exists() and path.stat().st_mtime_ns >= lock_.stat().st_mtime_ns:
        age = lock_.stat().st_mtime_ns - 1_000_000
        os.utime(path, ns=(age, age))


def write(path: Path, text: str) -> None:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _text(spec: Spec, requirements: str, **said: object) -> str:
    asked = {"requirements": list(spec.requirements), "overrides": list(spec.overrides)}
    data = {**asked, "constraints": list(spec.constraints), "inputs": spec.inputs, **said}
    return f"{HEADER}{json.dumps(data, sort_keys=True)}\n{requirements.strip()}\n"


def _export(spec: Spec) -> str:
    """The main environment's lock, out of uv.lock; no network, under a second."""
    wanted = ["--frozen", "--extra", "vllm", "--no-dev", "--no-emit-project"]
    quiet = ["--no-header", "--no-annotate", "--offline", "--project", str(paths.ROOT)]
    done = uv.run(["export", *wanted, *quiet], log_path(spec.env))
    if done.status:
        mend = "uv lock   in the project's root brings uv.lock up to date"
        raise uv.failure(done, "uv.lock cannot be exported", log_path(spec.env), mend)
    return _text(spec, done.stdout, python=None, options=[], cutoff=None, hashes=True)


def _resolve(spec: Spec) -> str:
    """Try the fitting Pythons in turn; the first on which it resolves is the lock's."""
    log, refusals = log_path(spec.env), list[tuple[str, uv.Done]]()
    binary = ["--only-binary", spec.package] if spec.kind == "engine" else []
    tried = 0
    for version, python in pythons(spec.python, log):
        cutoff: str | None = spec.cutoff
        if spec.cutoff == "none" or (spec.cutoff == "release" and spec.version is None):
            cutoff = None
        elif spec.cutoff == "release" and spec.version is not None:
            found = release.find(spec.package, spec.version, python, version, log, binary)
            if isinstance(found, uv.Done):
                refusals.append((version, found))
                continue
            cutoff = found.cutoff(spec.slack_days)
        done, options = _compile(spec, python, cutoff, binary, log)
        if done.status == 0:
            minor = ".".join(version.split(".")[:2])
            hashed = not re.search(r"^[^\s#].*[^\\]$", done.stdout, re.M)
            said = {"options": options, "cutoff": cutoff, "hashes": hashed, "python": minor}
            return _text(spec, done.stdout, **said)
        if done.status != uv.UNSOLVED:
            raise uv.failure(done, f"{spec.env} cannot be resolved", log)
        refusals.append((version, done))
        tried += 1
        if tried == TRIES:
            break
    if not refusals:
        raise Failure(
            f"{spec.env}: no Python here fits {spec.python or 'it'}",
            f"uv python install {DOWNLOADABLE[0]}   or widen python: in the engine's file", log,
        )  # fmt: skip
    on = ", ".join(version for version, _ in refusals)
    mend = "a repair in the engine's file under configs/engines can replace or drop what is gone"
    # The first Python was the most fitting one: its reason is the one to tell.
    raise uv.failure(refusals[0][1], f"{spec.env} cannot be resolved on Python {on}", log, mend)


def _compile(
    spec: Spec, python: str, cutoff: str | None, binary: Sequence[str], log: Path
) -> tuple[uv.Done, list[str]]:
    """uv's answer, and the options that installing from it needs again."""
    fixed = ["--torch-backend", spec.torch_backend] if spec.torch_backend else []
    backends = [[], fixed] if spec.torch_backend == "cpu" else [fixed]
    first: uv.Done | None = None
    for backend in backends:
        options = [*backend, *(_exempt() if backend and cutoff else [])]
        with tempfile.TemporaryDirectory(prefix="benchy-") as folder:
            files: list[str] = []
            for flag, content in (("overrides", spec.overrides), ("constraints", spec.constraints)):
                if content:
                    file = Path(folder) / f"{flag}.txt"
                    file.write_text("\n".join(content) + "\n", encoding="utf-8")
                    files += [f"--{flag}", str(file)]
            plain = ["--no-header", "--no-annotate", "--generate-hashes", "--python", python]
            arguments = ["compile", "-", *plain, *files, *binary, *options, *until(cutoff)]
            asked = "\n".join(spec.requirements)
            label = f"{spec.env} resolving"
            done = uv.run(uv.pip(arguments), log, label, asked, spec.local_torch)
        if first is None:
            first = done
        # A torch from the ordinary index is the CUDA build, 3 GB of it: keep looking.
        torch = re.search(r"^torch==(\S+)", done.stdout, re.M)
        if done.status == 0 and (backend or len(backends) == 1 or not torch or "+cpu" in torch[1]):
            return done, options
    assert first is not None
    return first, []


def _exempt() -> list[str]:
    return [w for name in FROM_TORCH_INDEX for w in ("--exclude-newer-package", f"{name}=false")]


def until(cutoff: str | None) -> list[str]:
    """The cutoff as uv's option, the machine's own being obeyed."""
    machine = uv.variables().get("UV_EXCLUDE_NEWER")
    use = release.earlier(cutoff, machine, datetime.now(timezone.utc))
    return ["--exclude-newer", use] if use else []


def pythons(wanted: str | None, log: Path) -> Iterator[tuple[str, str]]:
    """(version, path of the interpreter), best first, one per minor release.

    wanted: a specifier (">=3.9,<3.13"), a release ("3.11") or None. First the Python that runs this
    (its machine's wheels fit it), then the newest installed; last those that uv can download.
    """
    try:
        plain_release = wanted and wanted[0] not in "<>=!~"
        fits = SpecifierSet(f"=={wanted}.*" if plain_release else wanted or "")
    except InvalidSpecifier:
        raise UsageError(f"{wanted!r} is no Python release", "write 3.11 or >=3.9,<3.13") from None
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix) / "bin" / f"python{own}"
    running = ".".join(map(str, sys.version_info[:3]))
    if base.exists() and fits.contains(running, prereleases=True):
        yield running, str(base)  # before others are asked for: that takes half a second
    installed: dict[str, tuple[str, str]] = {}
    done = uv.run(["python", "list", "--only-installed", "--output-format", "json"], log)
    for item in json.loads(done.stdout or "[]"):
        with contextlib.suppress(InvalidVersion):
            version = Version(item["version"])
            plain = item["implementation"] == "cpython" and item["variant"] == "default"
            if plain and version >= Version("3.8") and not version.is_prerelease:
                minor = f"{version.major}.{version.minor}"
                installed.setdefault(minor, (item["version"], item["path"]))
    for minor in sorted(installed, key=Version, reverse=True):
        if fits.contains(installed[minor][0], prereleases=True) and not (
            minor == own and base.exists()
        ):
            yield installed[minor]
    for minor in DOWNLOADABLE:
        if minor in installed or uv.offline() or not fits.contains(f"{minor}.99"):
            continue
        installing = uv.run(["python", "install", minor], log, f"Python {minor}")
        if installing.offline:
            return
        if installing.status == 0:
            found = uv.run(["python", "find", minor], log).stdout.strip()
            if found:
                yield minor, found
