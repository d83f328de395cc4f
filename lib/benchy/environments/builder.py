"""Builds environments: aside, checked, renamed, stamped last; so that what is there is whole.

Reads build/specs/env/<env>.json and venvs/<env>.lock (resolve makes it). Writes, in this order:
venvs/.building/<env>-<pid>/ (uv venv, uv pip sync, byte code, check.json and flags.json by
probe.py, the lock's copy), one rename to venvs/<env>/, and .stamp in it. logs/venv/<env>.log tells
all; venvs/.failed/<env>.json says that and why it could not be built, until it can. Killed at any
moment, the next run begins anew and sweeps what is left.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchy.core import files, paths, process_info
from benchy.core.errors import Failure, UsageError
from benchy.devices import leases, waiting_line
from benchy.display.messages import say
from benchy.environments import (
    checker,
    disk_space,
    failures,
    health,
    interpreters,
    link_mode,
    lock_file,
    node_copies,
    resolver,
    usage_locks,
    uv,
    uv_options,
)
from benchy.environments.environment_spec import Spec
from benchy.process import logged_program

BUILDING = paths.VENVS / ".building"
JOBS = 2  # builders at once where VENV_JOBS says nothing


def whole(env: str) -> bool:
    """Built from the lock that is there now, and nobody has laid hands on it since."""
    locked = lock_file.digest(paths.lock(env))
    return health.well(env) and health.stamp(env).get("lock") == locked


def ensure_lock(spec: Spec, fresh: bool = False) -> bool:
    """Resolve if what is asked for has changed; True if the lock changed. Raises Failure."""
    with usage_locks.held(spec.env), failures.recorded(spec, "lock"):
        changed = resolver.lock(spec, fresh)
        resolver.settle(spec)
        if failures.failure_of(spec.env).get("stage") == "lock":
            paths.failed(spec.env).unlink(missing_ok=True)
        return changed


def create(spec: Spec, anew: bool = False) -> bool:
    """Build the environment if it is not whole, or in any case; True if it was built.

    Waits for who runs from the old one, and for a builder's slot. Raises Failure.
    """
    ensure_lock(spec)
    while True:
        with usage_locks.held(spec.env), failures.recorded(spec, "install") as stage:
            if whole(spec.env) and not anew:
                paths.stamp(spec.env).touch()  # the lock may be younger with the same words in it
                paths.failed(spec.env).unlink(missing_ok=True)
                return False
            with usage_locks.unused(spec.env) as free:
                if free:
                    why = health.flaw(spec.env)
                    if health.stamp(spec.env) and why:
                        say("BROKEN", f"{spec.env}: {why}")
                    with slot(spec.env):
                        build = _fill if spec.kind == "main" else _build
                        build(spec, stage, why.startswith(health.EDITED))
                    paths.failed(spec.env).unlink(missing_ok=True)
                    return True
        usage_locks.wait_unused(spec.env)


@contextlib.contextmanager
def slot(env: str) -> Iterator[None]:
    """One of the places for builders on this machine (VENV_JOBS): a disk and a network bear few."""
    text = os.environ.get("VENV_JOBS") or str(JOBS)
    if not text.isdecimal() or not int(text):
        raise UsageError(f"VENV_JOBS={text} is no number of builders", "write 1 or more")
    places = tuple(f"venv-{number}" for number in range(int(text)))
    owner = {"model": env, "pid": os.getpid(), "root": str(paths.ROOT)}

    def waiting(words: str) -> None:
        say("WAIT", f"{env}: VENV_JOBS={text}, and {words}")

    held = waiting_line.acquire(
        leases.LeaseDirectory(leases.directory()),
        leases.LeaseRequest(1, places, owner),
        waiting,
        lambda: None,
    )
    try:
        yield
    finally:
        held.release()


def _build(spec: Spec, stage: Callable[[str], None], edited: bool) -> None:
    """A new environment, beside the old one until it is whole. edited: files of the old one were
    changed, perhaps those of uv's cache with them."""
    start = time.monotonic()
    log, env, lock = resolver.log_path(spec.env), spec.env, paths.lock(spec.env)
    said = lock_file.header(lock)
    sweep(env)
    aside = BUILDING / f"{env}-{os.getpid()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = _python(said.get("python"), log)
        # Relocatable: the scripts in bin find their Python beside them, whatever the folder's name.
        making = ["venv", str(aside), "--relocatable", "--python", python, "--prompt", env]
        done = uv.run([*making, "--no-project"], log)
        if done.status:
            raise uv.failure(done, f"{env}: no environment can be made from {python}", log)
        done = _install(
            spec, ["sync", str(lock)], aside / "bin" / "python", uv_options.install_options(said)
        )
        if done.status:
            hint = f"what is locked may be gone: bin/venv lock --fresh {env} resolves anew"
            if any("Hash mismatch" in line for line in done.talk):
                hint = (
                    "the index, or the folder of wheels, has another file under that name: ask why"
                )
            raise uv.failure(done, f"{env} cannot be installed", log, hint)
        installed = time.monotonic() - start
        stage("check")
        if edited:
            _check_files(spec, aside)
        version = checker.check(spec, aside)
        checked = time.monotonic() - start - installed
        shutil.copyfile(lock, aside / "lock")
        target = paths.env_dir(env)
        if target.exists():
            target.rename(BUILDING / f"{env}-{os.getpid()}.old")
        aside.rename(target)
    finally:
        sweep(env)
    _write_stamp(spec, version, start, checked)


def _check_files(spec: Spec, folder: Path) -> None:
    """Raises Failure if a fresh environment has files that its wheels did not bring."""
    from benchy.environments import audit  # noqa: PLC0415 - builds on this module

    if files := audit.against_records(folder):
        names = " ".join(sorted({name.partition("-")[0] for name in files}))
        raise Failure(
            f"{spec.env}: uv's cache holds changed files: {audit.named(files)}",
            f"{uv.word()} cache clean {names}   has them fetched anew",
            resolver.log_path(spec.env),
        )


def _fill(spec: Spec, stage: Callable[[str], None], edited: bool) -> None:
    """The main environment: .venv holds benchy's own packages already, so it is filled in place.
    edited: see _build."""
    start = time.monotonic()
    log, lock, folder = resolver.log_path(spec.env), paths.lock(spec.env), paths.env_dir(spec.env)
    python = folder / "bin" / "python"
    if not python.exists():
        raise Failure(f"there is no {folder}", "make bootstrap", log)
    paths.stamp(spec.env).unlink(missing_ok=True)
    (folder / ".broken").unlink(missing_ok=True)
    verb = ["install", "-r", str(lock), *(["--reinstall"] if edited else [])]
    done = _install(spec, verb, python, ["--require-hashes"])
    if done.status:
        raise uv.failure(done, "the main environment cannot be installed", log)
    installed = time.monotonic()
    stage("check")
    if edited:
        _check_files(spec, folder)
    version = checker.check(spec, folder)
    checked = time.monotonic() - installed
    shutil.copyfile(lock, folder / "lock")
    _write_stamp(spec, version, start, checked)


def _install(
    spec: Spec, verb: Sequence[str], python: Path, options: Sequence[str]
) -> logged_program.Done:
    """Have uv install a lock, byte code and all, where the disk has room for it."""
    log, lock = resolver.log_path(spec.env), paths.lock(spec.env)
    words = [*verb, "--python", str(python), *options]
    run = functools.partial(uv.run, local_torch=spec.local_torch, index=spec.index)
    if link_mode.forced(os.environ):
        say("NOTE", link_mode.SAID)
    disk_space.check(spec.env, disk_space.ask(run, lock, words, python, options), log)
    done = run(uv.pip([*words, "--compile-bytecode"]), log, "installing")
    disk_space.tell_copied(done.talk)
    return done


def _write_stamp(spec: Spec, version: str, start: float, checked: float) -> None:
    """start: time.monotonic() of the beginning; checked: seconds of it that the check took."""
    # benchy's own packages lie in .venv too, and come and go with its dependency groups.
    names = lock_file.packages(paths.lock(spec.env)) if spec.kind == "main" else ()
    locked = {health.normal(package.name) for package in names}
    said = {
        **health.seal(paths.env_dir(spec.env), locked),
        "lock": lock_file.digest(paths.lock(spec.env)),
        "python": checker.check_result(spec.env).get("python"),
        "seconds": round(time.monotonic() - start, 1),
        "check_seconds": round(checked, 1),
        "version": version,
        "when": failures.timestamp(),
    }
    files.replace(paths.stamp(spec.env), json.dumps(said, indent=1, sort_keys=True) + "\n")


def _python(minor: str | None, log: Path) -> str:
    """The interpreter of the minor release that a lock was resolved for."""
    for _, path in interpreters.pythons(minor, log):
        return path
    raise Failure(
        f"there is no Python {minor} here any more", f"{uv.word()} python install {minor}", log
    )


def unfinished() -> Iterator[tuple[str, Path, bool]]:
    """(environment, folder, whether its builder still works) of what builders have in the works, or
    left."""
    for path in BUILDING.glob("*"):
        if match := re.fullmatch(r"(.+)-(\d+)(\.old)?", path.name):
            yield match[1], path, process_info.alive(int(match[2]))


def sweep(env: str | None = None) -> None:
    """Remove what builders left. Of one environment: whose lock the caller holds, so whoever began
    is dead. Of all: those whose process is gone."""
    for whose, path, works in unfinished():
        if env == whose or (env is None and not works):
            shutil.rmtree(path, ignore_errors=True)


def remove(env: str) -> bool:
    """Remove a built environment and its marker, not its lock; False if there was none. Waits for
    who runs from it."""
    while True:
        with usage_locks.held(env), usage_locks.unused(env) as free:
            if free:
                return take_away(env)
        usage_locks.wait_unused(env)


def take_away(env: str) -> bool:
    """As remove(), for who holds both locks of the environment."""
    paths.failed(env).unlink(missing_ok=True)
    node_copies.forget(env)
    folder = paths.env_dir(env)
    if env == paths.MAIN:
        # benchy itself runs from it: only what uv.lock has besides goes, at the next bootstrap.
        there = paths.stamp(env).exists()
        paths.stamp(env).unlink(missing_ok=True)
        return there
    if not folder.is_dir():
        return False
    BUILDING.mkdir(parents=True, exist_ok=True)
    folder.rename(BUILDING / f"{env}-{os.getpid()}.old")
    sweep(env)
    return True


def say_built(spec: Spec) -> None:
    said = health.stamp(spec.env)
    text = f"{spec.env}: {spec.package} {said['version']}, Python {said['python']}"
    say("READY", f"{text}, {said['seconds']:.0f} s")
    sys.stderr.flush()
