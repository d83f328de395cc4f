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

import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchy.core import files, paths
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import (
    builder_slots,
    checker,
    disk_space,
    failures,
    health,
    interpreters,
    link_mode,
    lock_file,
    removal,
    resolver,
    usage_locks,
    uv,
    uv_options,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.process import logged_program


def up_to_date(env: str) -> bool:
    """Return whether an environment was built from its current lock and not changed since."""
    locked = lock_file.digest(paths.lock(env))
    return health.intact(env) and health.stamp(env).get("lock") == locked


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
    """Build an environment if it is not up to date, or if `anew`; return whether it was built.

    Waits until no process runs from the old environment, and for a builder slot. Raises Failure.
    """
    ensure_lock(spec)
    while True:
        with usage_locks.held(spec.env), failures.recorded(spec, "install") as stage:
            if up_to_date(spec.env) and not anew:
                paths.stamp(spec.env).touch()  # the lock may be newer with the same content
                paths.failed(spec.env).unlink(missing_ok=True)
                return False
            with usage_locks.unused(spec.env) as free:
                if free:
                    why = health.flaw(spec.env) or health.edited(spec.env)
                    if why and health.stamp(spec.env):
                        health.mark(spec.env, why)  # kept if this build fails
                    with builder_slots.slot(spec.env):
                        build = _fill if spec.kind == "main" else _build
                        edited = bool(why) and isinstance(why, health.EditedFiles)
                        build(spec, stage, edited)
                    paths.failed(spec.env).unlink(missing_ok=True)
                    return True
        usage_locks.wait_unused(spec.env)


def _build(spec: BuildSpec, stage: Callable[[str], None], edited: bool) -> None:
    """Build a new environment in a temporary folder, then replace the old one.

    stage: called with the name of the next stage. edited: whether files of the old environment
    were changed by hand; uv's cache may share these files. Raises Failure.
    """
    start = time.monotonic()
    log, env, lock = resolver.log_path(spec.env), spec.env, paths.lock(spec.env)
    header = lock_file.header(lock)
    removal.sweep(env)
    aside = removal.BUILDING / f"{env}-{os.getpid()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = _python(header.get("python"), log)
        # Relocatable: the scripts in bin/ must find their Python after the folder is renamed.
        making = ["venv", str(aside), "--relocatable", "--python", python, "--prompt", env]
        done = uv.run([*making, "--no-project"], log)
        if done.status:
            raise uv.failure(done, f"{env}: cannot create an environment from {python}", log)
        done = _install(
            spec, ["sync", str(lock)], aside / "bin" / "python", uv_options.install_options(header)
        )
        if done.status:
            hint = f"a locked file may be gone: bin/venv lock --fresh {env} resolves again"
            if any("Hash mismatch" in line for line in done.stderr):
                hint = (
                    "the index or folder of wheels has a different file of that name: find out why"
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
            target.rename(removal.BUILDING / f"{env}-{os.getpid()}.old")
        aside.rename(target)
    finally:
        removal.sweep(env)
    _write_stamp(spec, version, start, checked)


def _check_files(spec: BuildSpec, folder: Path) -> None:
    """Raise Failure if files of a fresh environment differ from those of its wheels."""
    from benchy.environments import audit  # noqa: PLC0415 - builds on this module

    if files := audit.against_records(folder, _seal(spec, folder)["distributions"]):
        names = " ".join(sorted({name.partition("-")[0] for name in files}))
        raise Failure(
            f"{spec.env}: uv's cache contains changed files: {audit.named(files)}",
            f"{uv.word()} cache clean {names}   (uv downloads them again)",
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
    # Not earlier: if this build fails, the next one must know that files were edited.
    (folder / ".broken").unlink(missing_ok=True)
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
        say("NOTE", link_mode.NOTE)
    disk_space.check(spec.env, disk_space.ask(run, lock, words, python, options), log)
    done = run(uv.pip([*words, "--compile-bytecode"]), log, "installing")
    disk_space.report_copies(done.stderr)
    return done


def _write_stamp(spec: BuildSpec, version: str, start: float, checked: float) -> None:
    """Write the stamp of a new environment.

    start: time.monotonic() at the start of the build; checked: seconds that the check took.
    """
    stamp = {
        **_seal(spec, paths.env_dir(spec.env)),
        "lock": lock_file.digest(paths.lock(spec.env)),
        "python": checker.check_result(spec.env).get("python"),
        "seconds": round(time.monotonic() - start, 1),
        "check_seconds": round(checked, 1),
        "version": version,
        "when": failures.timestamp(),
    }
    files.replace(paths.stamp(spec.env), json.dumps(stamp, indent=1, sort_keys=True) + "\n")


def _seal(spec: BuildSpec, folder: Path) -> dict[str, Any]:
    """Return the facts about a new environment in `folder` for its stamp."""
    # .venv also holds benchy's own packages, which change with its dependency groups.
    names = lock_file.packages(paths.lock(spec.env)) if spec.kind == "main" else ()
    return health.seal(folder, {health.normal(package.name) for package in names})


def _python(minor: str | None, log: Path) -> str:
    """Return the path of an interpreter of the minor release that a lock was resolved for.

    Raises Failure if there is none.
    """
    for _, path in interpreters.pythons(minor, log):
        return path
    raise Failure(
        f"Python {minor} is no longer installed", f"{uv.word()} python install {minor}", log
    )


def say_built(spec: BuildSpec) -> None:
    stamp = health.stamp(spec.env)
    text = f"{spec.env}: {spec.package} {stamp['version']}, Python {stamp['python']}"
    say("READY", f"{text}, {stamp['seconds']:.0f} s")
    sys.stderr.flush()
