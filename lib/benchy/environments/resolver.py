"""Resolve the spec of an environment to a lock with hashes (lock_file.py).

Reads build/specs/env/<env>.json, uv.lock and the shared lock configs/locks/<env>.lock, which is
used unchanged if it was made from the same inputs. Writes venvs/<env>.lock (only if it changed),
logs/venv/<env>.log and, when a lock is renewed, the shared lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchy.core import files, paths, temporary_files
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import (
    environment_spec,
    interpreters,
    lock_file,
    pins,
    release_date,
    shared_locks,
    uv,
    uv_options,
    uv_settings,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.process import logged_program

TRIES = 3  # maximum number of Pythons to try; each takes seconds, and old ones never help
# The packages that uv takes from the PyTorch index with --torch-backend. That index reports no
# upload times, so they are exempt from the cutoff; the engine pins an exact torch anyway.
FROM_TORCH_INDEX = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton")


def log_path(env: str) -> Path:
    return paths.LOGS / "venv" / f"{env}.log"


def lock(spec: BuildSpec, fresh: bool = False) -> bool:
    """Write venvs/<env>.lock and return whether its packages changed.

    If the inputs are the same, the lock stays and no index is asked. A shared lock of the same
    inputs takes precedence, so that a team has one set of packages. fresh: resolve again in any
    case, and renew the shared lock if there is one for this platform. Raises Failure.
    """
    path, shared = paths.lock(spec.env), paths.shared_lock(spec.env)
    text = None if fresh else shared_locks.shared_text(spec)
    if text is None:
        said, wrong = lock_file.header(path), "" if fresh else lock_file.flaw(path)
        if wrong:
            say("WARNING", f"{path} {wrong}: it is made anew")
        elif not fresh and said.get("inputs") == spec.inputs and _same_machine(said):
            return False
        text = _export(spec) if spec.kind == "main" else _resolve(spec)
    if fresh and lock_file.header(shared).get("platform") == environment_spec.PLATFORM:
        shared_locks.share(spec, text)
    before = path.stat() if path.exists() else None
    installed = lock_file.digest(path)
    files.replace(path, text)
    if before and lock_file.digest(path) == installed:  # only the header changed
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return False
    return True


def settle(spec: BuildSpec) -> None:
    """Set the modification time of a spec to just before that of its lock.

    Make compares modification times. If a changed spec resolves to the same packages, the lock
    keeps its time, because results depend on it; so the spec must become older than the lock.
    """
    path, lock_ = paths.env_spec(spec.env), paths.lock(spec.env)
    if path.exists() and path.stat().st_mtime_ns >= lock_.stat().st_mtime_ns:
        age = lock_.stat().st_mtime_ns - 1_000_000
        os.utime(path, ns=(age, age))


def _text(spec: BuildSpec, requirements: str, **said: object) -> str:
    asked = {"requirements": list(spec.requirements), "overrides": list(spec.overrides)}
    made = {
        "constraints": list(spec.constraints),
        "inputs": spec.inputs,
        "platform": environment_spec.PLATFORM,
    }
    return lock_file.text({**asked, **made, **said}, requirements)


def _export(spec: BuildSpec) -> str:
    """Return the main environment's lock, exported from uv.lock without network access.

    Takes less than a second. Raises Failure.
    """
    wanted = ["--frozen", "--extra", "vllm", "--no-dev", "--no-emit-project"]
    quiet = ["--no-header", "--no-annotate", "--offline", "--project", str(paths.ROOT)]
    done = uv.run(["export", *wanted, *quiet], log_path(spec.env))
    if done.status:
        hint = f"{uv.word()} lock   in the project's root brings uv.lock up to date"
        raise uv.failure(done, "uv.lock cannot be exported", log_path(spec.env), hint)
    return _text(spec, done.stdout, python=None, options=[], cutoff=None, hashes=True)


def _resolve(spec: BuildSpec) -> str:
    """Return the lock for the first Python on which a spec resolves.

    Tries up to TRIES Pythons that fit the spec. Raises Failure.
    """
    log, refusals = log_path(spec.env), list[tuple[str, logged_program.Done]]()
    if kept := uv_settings.kept_from_locks(os.environ):
        what = ", ".join(kept)
        say("NOTE", f"{spec.env}: kept out of the lock: {what}; a configuration can ask for it")
    binary = ["--only-binary", spec.package] if spec.kind == "engine" and not spec.built else []
    tried, looked = 0, False
    young, would = list[pins.Pin](), ""
    for version, python in interpreters.pythons(spec.python, log):
        ask = release_date.Asking(python, log, binary, spec.index)
        try:
            as_of = _as_of(spec, version, ask)
        except release_date.NoSuchRelease as error:  # report all missing requirements
            missing = [*error.missing, *release_date.missing(pins.written(spec)[1:], ask)]
            raise release_date.NoSuchRelease(missing, log) from None
        if isinstance(as_of, logged_program.Done):
            refusals.append((version, as_of))
            continue
        cutoff, day = as_of
        done, options = _compile(spec, python, cutoff, binary, log)
        exceptions: pins.Exceptions = {}
        if done.status and not looked:
            looked = True
            if missing := release_date.missing(pins.written(spec), ask):
                raise release_date.unmet(missing, log)
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
            if spec.kind != "main" and (machine := uv_options.holding(cutoff)):
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
    hint = "a repair in the engine's file under configs/engines can replace or drop what is gone"
    # The first Python fits best, so its error is the one to report.
    told, page = refusals[0][1], 30
    if young:
        verb = "are" if len(young) > 1 else "is"
        what += f": {', '.join(map(str, young))} {verb} younger than the cutoff"
        hint, page = would, 37
    elif any(re.search(r"\btorch\b.*\+cpu", line) for line in told.talk):
        hint = "set pip's find-links or index-url to where torch for CPUs is"
        page = 35
    raise uv.failure(told, what, log, hint, page)


def _beyond(
    spec: BuildSpec, cutoff: str, young: Sequence[pins.Pin], ask: release_date.Asking
) -> tuple[logged_program.Done, list[str], pins.Exceptions] | str:
    """Resolve with pins that are newer than the cutoff exempt from it.

    The exceptions of the existing lock are tried first, so that the same requirements give the
    same lock.

    Returns:
        (uv's answer, options, exceptions), or a hint if it does not resolve.
    """
    came: dict[str, tuple[logged_program.Done, list[str]]] = {}

    def attempt(exceptions: pins.Exceptions) -> list[str] | None:
        talk: list[str] = []
        done, options = _compile(spec, ask.python, cutoff, ask.options, ask.log, exceptions, talk)
        came["last"] = done, options
        return talk if done.status else None

    said = lock_file.header(paths.lock(spec.env))
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


def _tell_yanked(spec: BuildSpec, done: logged_program.Done) -> None:
    """Print a warning for each yanked release; an exact pin installs it (PEP 592)."""
    for line in done.talk:
        if found := re.search(r"`(\S+)` is yanked(.*)", line):
            say("WARNING", f"{spec.env}: {found[1]} is yanked{found[2]}")


def _as_of(
    spec: BuildSpec, version: str, ask: release_date.Asking
) -> tuple[str | None, str | None] | logged_program.Done:
    """Return (cutoff, upload time of the release) for a Python, or uv's refusal on that Python.

    If the existing lock or the shared one records the upload time for this Python, the index is
    not asked, so files added to a release later do not move its cutoff. Raises Failure.
    """
    if spec.cutoff != "release" or spec.version is None:
        refusal = None if spec.built else release_date.unfit(spec.requirements[0], version, ask)
        return refusal or (None if spec.cutoff in ("none", "release") else spec.cutoff, None)
    for path in (paths.lock(spec.env), paths.shared_lock(spec.env)):
        said = lock_file.header(path)
        day = release_date.moment(said.get("released") or "", datetime.now(timezone.utc))
        same = said.get("requirements", [])[:1] == list(spec.requirements[:1])
        if (
            day
            and same
            and not spec.index
            and said.get("python") == ".".join(version.split(".")[:2])
        ):
            known = release_date.Release(spec.package, spec.version, day)
            return known.cutoff(spec.slack_days), release_date.stamp(day)
    found = release_date.find(spec.package, spec.version, version, ask)
    if isinstance(found, logged_program.Done):
        return found
    return found.cutoff(spec.slack_days), release_date.stamp(found.uploaded)


def _compile(
    spec: BuildSpec,
    python: str,
    cutoff: str | None,
    binary: Sequence[str],
    log: Path,
    exceptions: pins.Exceptions = MappingProxyType({}),
    talk: list[str] | None = None,
) -> tuple[logged_program.Done, list[str]]:
    """Resolve a spec with uv.

    Returns (uv's answer, the options to repeat when installing from it). talk: if given, collects
    uv's output of all attempts.
    """
    fixed = ["--torch-backend", spec.torch_backend] if spec.torch_backend else []
    backends = [[], fixed] if spec.torch_backend == "cpu" else [fixed]
    first: logged_program.Done | None = None
    for backend in backends:
        options = [*backend, *(_exempt() if backend and cutoff else []), *pins.options(exceptions)]
        with temporary_files.folder("resolve") as folder:
            files: list[str] = []
            for flag, content in (("overrides", spec.overrides), ("constraints", spec.constraints)):
                if content:
                    file = folder / f"{flag}.txt"
                    file.write_text("\n".join(content) + "\n", encoding="utf-8")
                    files += [f"--{flag}", str(file)]
            plain = ["--no-header", "--no-annotate", "--generate-hashes", "--python", python]
            arguments = [
                "compile",
                "-",
                *plain,
                *files,
                *binary,
                *options,
                *uv_options.until(cutoff),
            ]
            asked = "\n".join(spec.requirements)
            label = "resolving"
            done = uv.run(uv.pip(arguments), log, label, asked, spec.local_torch, index=spec.index)
        if talk is not None:
            talk += done.talk
        if first is None:
            first = done
        # The torch of the default index is the CUDA build (3 GB), so try the next backend.
        torch = re.search(r"^torch==(\S+)", done.stdout, re.M)
        if done.status == 0 and (backend or len(backends) == 1 or not torch or "+cpu" in torch[1]):
            return done, options
    assert first is not None
    return first, []


def _exempt() -> list[str]:
    return [w for name in FROM_TORCH_INDEX for w in ("--exclude-newer-package", f"{name}=false")]


def _same_machine(said: Mapping[str, Any]) -> bool:
    """Return whether a lock with this header fits the machine's current cutoff.

    Cutoffs are compared as written, so a relative one ("7 days") does not outdate a lock.
    """
    then, now = said.get("machine_cutoff"), uv_options.machine_cutoff()
    return then == now if then else not uv_options.holding(said.get("cutoff"))
