"""What goes into an environment: its spec, resolved to a lock with hashes (lockfile.py).

Reads build/specs/env/<env>.json, uv.lock and configs/locks/<env>.lock, a lock that is shared; that
one is taken as it is where it was made from the same inputs. Writes venvs/<env>.lock (only if it
changed), logs/venv/<env>.log and, when a lock is renewed, the shared one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchy import (
    interpreters,
    lockfile,
    names,
    paths,
    pins,
    pipconf,
    release,
    temporary,
    uv,
    uvconf,
)
from benchy.errors import Failure, UsageError, say

FORMAT = 1  # raised when the same inputs are resolved in another way
# Markers are decided while resolving, so a lock fits machines of one kind.
PLATFORM = f"{sys.platform}-{platform.machine()}"
TRIES = 3  # Pythons on which a resolution is tried: each costs seconds, and old ones never help
# What uv takes from the PyTorch index with --torch-backend. That index tells no upload times, so
# these are exempt from the cutoff; the engine pins torch to the digit anyway.
FROM_TORCH_INDEX = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton")


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
    checkout: str = ""  # a hash of the tree or the wheel that a requirement's path names
    index: tuple[str, ...] = ()

    @classmethod
    def read(cls, env: str) -> Spec:
        """Raises UsageError where there is no such spec."""
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
        """Of what envspec.environment_spec gives."""
        known_keys = {field.name for field in fields(cls)}
        data = {key: value for key, value in data.items() if key in known_keys}
        for key in ("requirements", "overrides", "constraints", "index"):
            data[key] = tuple(data.get(key) or ())
        data["variables"] = tuple(sorted((data.get("variables") or {}).items()))
        data["checkout"] = str((data.get("checkout") or {}).get("content", ""))
        return cls(**data)

    @property
    def local_torch(self) -> bool:
        """Whether the machine's own build of torch, if it has one, is the right one."""
        return self.kind == "harness" or self.torch_backend == "cpu"

    @property
    def built(self) -> bool:
        """Whether the package itself is built here, from a git revision or a checkout."""
        first = self.requirements[0]
        return " @ " in first and not first.partition("#")[0].partition("?")[0].endswith(".whl")

    @property
    def inputs(self) -> str:
        """Hash of all that a resolution depends on."""
        keep = ("requirements", "overrides", "constraints", "python", "cutoff", "slack_days")
        data = {key: value for key, value in asdict(self).items() if key in keep}
        data |= {"torch_backend": self.torch_backend, "format": FORMAT, "checkout": self.checkout}
        if self.index:
            data["index"] = self.index
        if self.kind == "main":
            data["uv.lock"] = digest(paths.ROOT / "uv.lock")
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _known(env: str) -> str:
    """What to do about an environment that has no spec."""
    known = sorted(p.stem for p in paths.env_spec(env).parent.glob("*.json"))
    if paths.env_dir(env).is_dir():
        return "bin/plan writes its spec, if a config asks for it; else make prune-venvs removes it"
    if nearest := names.near(env, known):
        return f"did you mean {nearest}?"
    again = "bin/plan reads the configs and writes what they ask for"
    return f"{again}; known are: {', '.join(known)}" if known else again


def digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def log_path(env: str) -> Path:
    return paths.LOGS / "venv" / f"{env}.log"


def lock(spec: Spec, fresh: bool = False) -> bool:
    """Write venvs/<env>.lock; True if it changed.

    The same inputs leave a lock as it is, with no look at an index: that is what a lock is for. A
    shared lock of the same inputs comes first, so that a team has one set of packages.
    fresh: resolve anew all the same, and renew the shared lock if there is one. Raises Failure.
    """
    path, shared = paths.lock(spec.env), paths.shared_lock(spec.env)
    text = None if fresh else shared_text(spec)
    if text is None:
        said, wrong = lockfile.header(path), "" if fresh else lockfile.flaw(path)
        if wrong:
            say("WARNING", f"{path} {wrong}: it is made anew")
        elif not fresh and said.get("inputs") == spec.inputs and _same_machine(said):
            return False
        text = _export(spec) if spec.kind == "main" else _resolve(spec)
    if fresh and lockfile.header(shared).get("platform") == PLATFORM:
        share(spec, text)
    before = path.stat() if path.exists() else None
    installed = lockfile.digest(path)
    replace(path, text)
    if before and lockfile.digest(path) == installed:  # only its header is another
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return False
    return True


def shared_text(spec: Spec) -> str | None:
    """The shared lock's text, if it is what would be resolved here; None if there is none.

    One that was made from something else is told and passed over. Taking it would install what
    nobody asks for any more; stopping would stop every model whenever a repair in an engine's file
    is new. Results name the lock that they were made with, so nothing is hidden by going on.
    """
    house = pipconf.wheelhouse()
    if house:  # it has the files of its own locks
        path = house / "locks" / f"{spec.env}.lock"
        if wrong := lockfile.flaw(path):
            say("WARNING", f"{path} {wrong}: it is passed over")
        elif lockfile.header(path).get("inputs") == spec.inputs:
            return path.read_text(encoding="utf-8")
    path = paths.shared_lock(spec.env)
    said = lockfile.header(path)
    if wrong := lockfile.flaw(path):
        say("WARNING", f"{path} {wrong}: it is passed over")
        return None
    if not said:
        return None
    same = said.get("inputs") == spec.inputs and said.get("platform") == PLATFORM
    late = said.get("machine_cutoff") != machine_cutoff() and holding(said.get("cutoff"))
    if same and not late:
        return path.read_text(encoding="utf-8")
    if same:
        why = f"may hold files that are younger than this machine's cutoff, {late}: passed over"
    elif said.get("platform") != PLATFORM:
        why = f"is for {said.get('platform')}, not {PLATFORM}: passed over"
    else:
        why = f"was made from another configuration; bin/venv lock --fresh {spec.env} renews it"
    say("WARNING", f"{path} {why}")
    return None


def share(spec: Spec, text: str | None = None) -> None:
    """Write configs/locks/<env>.lock, to be committed. text: the lock, None for the one in venvs/.

    Raises UsageError where others could do nothing with it.
    """
    if spec.kind == "main":
        raise UsageError(
            "the main environment's lock is uv.lock, which is shared", "make lock-main"
        )
    text = paths.lock(spec.env).read_text(encoding="utf-8") if text is None else text
    if "file://" in text:
        mend = "name a URL or a release of it instead, or leave the lock unshared"
        raise UsageError(f"the lock of {spec.env} names a file of this machine", mend, "SHARE")
    replace(paths.shared_lock(spec.env), text)


def settle(spec: Spec) -> None:
    """Make the spec older than the lock that it came to.

    Make compares ages. A spec that changed but resolves to the same packages must not make the
    lock new, since results hang on it; so the spec takes the age of what it has not changed.
    """
    path, lock_ = paths.env_spec(spec.env), paths.lock(spec.env)
    if path.exists() and path.stat().st_mtime_ns >= lock_.stat().st_mtime_ns:
        age = lock_.stat().st_mtime_ns - 1_000_000
        os.utime(path, ns=(age, age))


def replace(path: Path, text: str) -> None:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write(path, text)


def _text(spec: Spec, requirements: str, **said: object) -> str:
    asked = {"requirements": list(spec.requirements), "overrides": list(spec.overrides)}
    made = {"constraints": list(spec.constraints), "inputs": spec.inputs, "platform": PLATFORM}
    return lockfile.text({**asked, **made, **said}, requirements)


def _export(spec: Spec) -> str:
    """The main environment's lock, out of uv.lock; no network, under a second."""
    wanted = ["--frozen", "--extra", "vllm", "--no-dev", "--no-emit-project"]
    quiet = ["--no-header", "--no-annotate", "--offline", "--project", str(paths.ROOT)]
    done = uv.run(["export", *wanted, *quiet], log_path(spec.env))
    if done.status:
        mend = f"{uv.word()} lock   in the project's root brings uv.lock up to date"
        raise uv.failure(done, "uv.lock cannot be exported", log_path(spec.env), mend)
    return _text(spec, done.stdout, python=None, options=[], cutoff=None, hashes=True)


def _resolve(spec: Spec) -> str:
    """Try the fitting Pythons in turn; the first on which it resolves is the lock's."""
    log, refusals = log_path(spec.env), list[tuple[str, uv.Done]]()
    if kept := uvconf.kept_from_locks(os.environ):
        what = ", ".join(kept)
        say("NOTE", f"{spec.env}: kept out of the lock: {what}; a configuration can ask for it")
    binary = ["--only-binary", spec.package] if spec.kind == "engine" and not spec.built else []
    tried, looked = 0, False
    young, would = list[pins.Pin](), ""
    for version, python in interpreters.pythons(spec.python, log):
        ask = release.Asking(python, log, binary, spec.index)
        try:
            as_of = _as_of(spec, version, ask)
        except release.NoSuchRelease as error:  # what else is not there is reported with it
            missing = [*error.missing, *release.missing(pins.written(spec)[1:], ask)]
            raise release.NoSuchRelease(missing, log) from None
        if isinstance(as_of, uv.Done):
            refusals.append((version, as_of))
            continue
        cutoff, day = as_of
        done, options = _compile(spec, python, cutoff, binary, log)
        exceptions: pins.Exceptions = {}
        if done.status and not looked:
            looked = True
            if missing := release.missing(pins.written(spec), ask):
                raise release.unmet(missing, log)
        if done.status == uv.UNSOLVED and cutoff and (late := pins.younger(spec, cutoff, ask)):
            found = _beyond(spec, cutoff, late, ask)
            if isinstance(found, str):
                young, would = young or late, would or found
            else:
                done, options, exceptions = found
        if done.status == 0:
            minor = ".".join(version.split(".")[:2])
            hashed = not re.search(r"^[^\s#].*[^\\]$", done.stdout, re.M)
            said: dict[str, Any] = {
                "options": options,
                "cutoff": cutoff,
                "hashes": hashed,
                "python": minor,
            }
            if exceptions:
                said["exceptions"] = dict(exceptions)
            if spec.kind != "main" and (machine := holding(cutoff)):
                said["machine_cutoff"] = machine
            _tell_yanked(spec, done)
            return _text(spec, done.stdout, **said, released=day)
        if done.status != uv.UNSOLVED:
            raise uv.failure(done, f"{spec.env} cannot be resolved", log)
        refusals.append((version, done))
        tried += 1
        if tried == TRIES:
            break
    if not refusals:
        raise Failure(
            f"{spec.env}: no Python here fits {spec.python or 'it'}",
            f"{uv.word()} python install {interpreters.DOWNLOADABLE[0]}   "
            "or widen python: in the engine's file", log, page=29,
        )  # fmt: skip
    on = ", ".join(version for version, _ in refusals)
    what = f"{spec.env} cannot be resolved on Python {on}"
    mend = "a repair in the engine's file under configs/engines can replace or drop what is gone"
    # The first Python was the most fitting one: its reason is the one to tell.
    told, page = refusals[0][1], 30
    if young:
        verb = "are" if len(young) > 1 else "is"
        what += f": {', '.join(map(str, young))} {verb} younger than the cutoff"
        mend, page = would, 37
    elif any(re.search(r"\btorch\b.*\+cpu", line) for line in told.talk):
        mend = "set pip's find-links or index-url to where torch for CPUs is"
        page = 35
    raise uv.failure(told, what, log, mend, page)


def _beyond(
    spec: Spec, cutoff: str, young: Sequence[pins.Pin], ask: release.Asking
) -> tuple[uv.Done, list[str], pins.Exceptions] | str:
    """How it resolves with young pins exempt from the cutoff, and the exceptions; a hint where it
    does not. The exceptions of the lock that is there come first: the same question, the same lock.
    """
    came: dict[str, tuple[uv.Done, list[str]]] = {}

    def attempt(exceptions: pins.Exceptions) -> list[str] | None:
        talk: list[str] = []
        done, options = _compile(spec, ask.python, cutoff, ask.options, ask.log, exceptions, talk)
        came["last"] = done, options
        return talk if done.status else None

    said = lockfile.header(paths.lock(spec.env))
    asked = [list(spec.requirements), list(spec.overrides)]
    known = said.get("exceptions")
    if known and [said.get("requirements"), said.get("overrides")] == asked and not attempt(known):
        return *came["last"], known
    found = pins.search(young, spec.slack_days, ask, attempt)
    if found:
        return *came["last"], found
    after = max(pin.day for pin in young) + timedelta(days=spec.slack_days + 1)
    for day in (f"{after:%Y-%m-%d}", None):
        done, _ = _compile(spec, ask.python, day, ask.options, ask.log)
        if done.status == 0:
            return f'everything as of another day resolves: cutoff: "{day or "none"}"'
    return "no cutoff makes it resolve: name a pin and a release that fit together"


def _tell_yanked(spec: Spec, done: uv.Done) -> None:
    """A yanked release exists: an exact pin installs it (PEP 592), and one line says so."""
    for line in done.talk:
        if found := re.search(r"`(\S+)` is yanked(.*)", line):
            say("WARNING", f"{spec.env}: {found[1]} is yanked{found[2]}")


def _as_of(
    spec: Spec, version: str, ask: release.Asking
) -> tuple[str | None, str | None] | uv.Done:
    """(cutoff, the release's day) for a Python, or how uv refused the release on that Python.

    The day and the fitness are taken from the lock that is there, if it knows them: a second
    resolution asks no index for them, and a file that is added to a release later moves no day.
    """
    if spec.cutoff != "release" or spec.version is None:
        refusal = None if spec.built else release.unfit(spec.requirements[0], version, ask)
        return refusal or (None if spec.cutoff in ("none", "release") else spec.cutoff, None)
    for path in (paths.lock(spec.env), paths.shared_lock(spec.env)):
        said = lockfile.header(path)
        day = release.moment(said.get("released") or "", datetime.now(timezone.utc))
        same = said.get("requirements", [])[:1] == list(spec.requirements[:1])
        if (
            day
            and same
            and not spec.index
            and said.get("python") == ".".join(version.split(".")[:2])
        ):
            known = release.Release(spec.package, spec.version, day)
            return known.cutoff(spec.slack_days), release.stamp(day)
    found = release.find(spec.package, spec.version, version, ask)
    if isinstance(found, uv.Done):
        return found
    return found.cutoff(spec.slack_days), release.stamp(found.uploaded)


def _compile(
    spec: Spec,
    python: str,
    cutoff: str | None,
    binary: Sequence[str],
    log: Path,
    exceptions: pins.Exceptions = MappingProxyType({}),
    talk: list[str] | None = None,
) -> tuple[uv.Done, list[str]]:
    """uv's answer, and the options that installing from it needs again. talk: takes what uv said,
    over all of its tries."""
    fixed = ["--torch-backend", spec.torch_backend] if spec.torch_backend else []
    backends = [[], fixed] if spec.torch_backend == "cpu" else [fixed]
    first: uv.Done | None = None
    for backend in backends:
        options = [*backend, *(_exempt() if backend and cutoff else []), *pins.options(exceptions)]
        with temporary.folder("resolve") as folder:
            files: list[str] = []
            for flag, content in (("overrides", spec.overrides), ("constraints", spec.constraints)):
                if content:
                    file = folder / f"{flag}.txt"
                    file.write_text("\n".join(content) + "\n", encoding="utf-8")
                    files += [f"--{flag}", str(file)]
            plain = ["--no-header", "--no-annotate", "--generate-hashes", "--python", python]
            arguments = ["compile", "-", *plain, *files, *binary, *options, *until(cutoff)]
            asked = "\n".join(spec.requirements)
            label = "resolving"
            done = uv.run(uv.pip(arguments), log, label, asked, spec.local_torch, index=spec.index)
        if talk is not None:
            talk += done.talk
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
    use = release.earlier(cutoff, machine_cutoff(), datetime.now(timezone.utc))
    return ["--exclude-newer", use] if use else []


def machine_cutoff() -> str | None:
    """The cutoff that the machine's settings name: UV_EXCLUDE_NEWER, uv.toml's, pip's."""
    return uv.variables().get("UV_EXCLUDE_NEWER") or None


def holding(cutoff: str | None) -> str | None:
    """The machine's cutoff, as it is written there, if it is earlier than a lock's own."""
    machine = machine_cutoff()
    use = release.earlier(cutoff, machine, datetime.now(timezone.utc))
    return machine if use != cutoff else None


def _same_machine(said: Mapping[str, Any]) -> bool:
    """Whether a lock with this header was made with the machine's cutoff of now. One that was
    "7 days" and holds no longer makes no lock old."""
    then, now = said.get("machine_cutoff"), machine_cutoff()
    return then == now if then else not holding(said.get("cutoff"))
