"""Build environments in a temporary folder, check them, rename them, and write the stamp last.

An environment with a stamp is therefore complete. If a build is killed at any point, the next run
starts over and removes the leftovers.

Reads build/specs/env/<env>.json and venvs/<env>.lock (written by `resolver`). Writes, in this
order:

1. venvs/.building/<env>-<pid>/: uv venv, uv pip sync, byte code, check.json and flags.json by
   scripts/probe_environment.py, a copy of the lock
2. venvs/<env>/, by one rename
3. venvs/<env>/.stamp

logs/venv/<env>.log has the output of every step. venvs/.failed/<env>.json records why a build
failed, until one succeeds.
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
from benchy.environments.environment_spec import BuildSpec
from benchy.process import logged_program

BUILDING = paths.VENVS / ".building"
JOBS = 2  # concurrent builders if VENV_JOBS is not set


def whole(env: str) -> bool:
    """Return whether an environment was built from its current lock and not changed since."""
    locked = lock_file.digest(paths.lock(env))
    return health.well(env) and health.stamp(env).get("lock") == locked


def ensure_lock(spec: BuildSpec, fresh: bool = False) -> bool:
    """Resolve an environment if its spec changed, or if `fresh`; return whether the lock changed.

    Raises Failure.
    """
    with usage_locks.held(spec.env), failures.recorded(spec, "lock"):
        changed = resolver.lock(spec, fresh)
        resolver.settle(spec)
        if failures.failure_of(spec.env).get("stage") == "lock":
            paths.failed(spec.env).unlink(missing_ok=True)
        return changed


def create(spec: BuildSpec, anew: bool = False) -> bool:
    """Build an environment if it is not whole, or if `anew`; return whether it was built.

    Waits until no process runs from the old environment, and for a builder slot. Raises Failure.
    """
    ensure_lock(spec)
    while True:
        with usage_locks.held(spec.env), failures.recorded(spec, "install") as stage:
            if whole(spec.env) and not anew:
                paths.stamp(spec.env).touch()  # the lock may be newer with the same content
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
    """Hold one of this machine's builder slots; waits for one.

    VENV_JOBS limits the number of slots, because builders share a disk and a network. Raises
    UsageError if it is not a positive number.
    """
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


def _build(spec: BuildSpec, stage: Callable[[str], None], edited: bool) -> None:
    """Build a new environment in a temporary folder, then replace the old one.

    stage: called with the name of the next stage. edited: whether files of the old environment
    were changed by hand; uv's cache may share these files. Raises Failure.
    """
    start = time.monotonic()
    log, env, lock = resolver.log_path(spec.env), spec.env, paths.lock(spec.env)
    said = lock_file.header(lock)
    sweep(env)
    aside = BUILDING / f"{env}-{os.getpid()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = _python(said.get("python"), log)
        # Relocatable: the scripts in bin/ must find their Python after the folder is renamed.
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


def _check_files(spec: BuildSpec, folder: Path) -> None:
    """Raise Failure if files of a fresh environment differ from those of its wheels."""
    from benchy.environments import audit  # noqa: PLC0415 - builds on this module

    if files := audit.against_records(folder):
        names = " ".join(sorted({name.partition("-")[0] for name in files}))
        raise Failure(
            f"{spec.env}: uv's cache holds changed files: {audit.named(files)}",
            f"{uv.word()} cache clean {names}   has them fetched anew",
            resolver.log_path(spec.env),
        )


def _fill(spec: BuildSpec, stage: Callable[[str], None], edited: bool) -> None:
    """Install the main environment in place, because .venv already holds benchy's own packages.

    stage, edited: as in `_build`. Raises Failure.
    """
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
    spec: BuildSpec, verb: Sequence[str], python: Path, options: Sequence[str]
) -> logged_program.Done:
    """Install a lock with uv and compile its byte code, after checking the free disk space.

    Raises Failure if the disk is too small.
    """
    log, lock = resolver.log_path(spec.env), paths.lock(spec.env)
    words = [*verb, "--python", str(python), *options]
    run = functools.partial(uv.run, local_torch=spec.local_torch, index=spec.index)
    if link_mode.forced(os.environ):
        say("NOTE", link_mode.SAID)
    disk_space.check(spec.env, disk_space.ask(run, lock, words, python, options), log)
    done = run(uv.pip([*words, "--compile-bytecode"]), log, "installing")
    disk_space.tell_copied(done.talk)
    return done


def _write_stamp(spec: BuildSpec, version: str, start: float, checked: float) -> None:
    """Write the stamp of a new environment.

    start: time.monotonic() at the start of the build; checked: seconds that the check took.
    """
    # .venv also holds benchy's own packages, which change with its dependency groups.
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
    """Return the path of an interpreter of the minor release that a lock was resolved for.

    Raises Failure if there is none.
    """
    for _, path in interpreters.pythons(minor, log):
        return path
    raise Failure(
        f"there is no Python {minor} here any more", f"{uv.word()} python install {minor}", log
    )


def unfinished() -> Iterator[tuple[str, Path, bool]]:
    """Yield (environment, folder, whether its builder is alive) for each temporary build folder."""
    for path in BUILDING.glob("*"):
        if match := re.fullmatch(r"(.+)-(\d+)(\.old)?", path.name):
            yield match[1], path, process_info.alive(int(match[2]))


def sweep(env: str | None = None) -> None:
    """Remove leftover build folders.

    With `env`, remove all of that environment: the caller holds its lock, so no other builder of
    it is alive. Without, remove those whose builder is dead.
    """
    for whose, path, works in unfinished():
        if env == whose or (env is None and not works):
            shutil.rmtree(path, ignore_errors=True)


def remove(env: str) -> bool:
    """Remove a built environment and its failure marker, but not its lock.

    Waits until no process runs from it. Returns False if there was no environment.
    """
    while True:
        with usage_locks.held(env), usage_locks.unused(env) as free:
            if free:
                return take_away(env)
        usage_locks.wait_unused(env)


def take_away(env: str) -> bool:
    """Do the work of `remove`; the caller holds both usage locks of the environment."""
    paths.failed(env).unlink(missing_ok=True)
    node_copies.forget(env)
    folder = paths.env_dir(env)
    if env == paths.MAIN:
        # benchy itself runs from .venv, so only its stamp is removed. The next bootstrap removes
        # the packages that are not benchy's own.
        there = paths.stamp(env).exists()
        paths.stamp(env).unlink(missing_ok=True)
        return there
    if not folder.is_dir():
        return False
    BUILDING.mkdir(parents=True, exist_ok=True)
    folder.rename(BUILDING / f"{env}-{os.getpid()}.old")
    sweep(env)
    return True


def say_built(spec: BuildSpec) -> None:
    said = health.stamp(spec.env)
    text = f"{spec.env}: {spec.package} {said['version']}, Python {said['python']}"
    say("READY", f"{text}, {said['seconds']:.0f} s")
    sys.stderr.flush()
