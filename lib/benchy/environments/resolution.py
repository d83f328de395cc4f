"""Find a Python and, for pins newer than the cutoff, exceptions with which a spec resolves.

Queries the index through uv. Reads the existing lock and the shared one; writes only the log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import interpreters, lock_file, pins, release_date, uv, uv_settings
from benchy.environments.compilation import Compilation, compile_spec
from benchy.environments.environment_spec import BuildSpec
from benchy.environments.release_date import IndexQuery
from benchy.process.logged_program import Done

TRIES = 3  # maximum number of Pythons to try; each takes seconds, and old ones never help


@dataclass(frozen=True)
class Resolution:
    """The packages of an environment.

    Attributes:
        requirements: uv's requirements, with hashes.
        python: The minor release that they were resolved for ("3.12").
        options: uv's options to repeat when installing them.
        cutoff: The cutoff in effect; None for none.
        released: Upload time of the release; None if the cutoff does not depend on it.
        exceptions: Package → its own cutoff.
    """

    requirements: str
    python: str
    options: list[str]
    cutoff: str | None
    released: str | None
    exceptions: pins.Exceptions


@dataclass(frozen=True)
class Refusal:
    """Why a spec does not resolve on one Python.

    Attributes:
        python: The version of that Python.
        done: uv's answer.
        compiled: Whether uv got all requirements; False if the release excludes this Python.
        newer: Pins that are newer than the cutoff.
        hint: What to do about those pins.
    """

    python: str
    done: Done
    compiled: bool = False
    newer: Sequence[pins.Pin] = field(default_factory=tuple)
    hint: str = ""


def resolve(spec: BuildSpec, log: Path) -> Resolution:
    """Resolve a spec for the first Python on which it does. Raises Failure.

    Tries up to TRIES Pythons that fit the spec.
    """
    if ignored := uv_settings.excluded_from_locks(os.environ):
        what = ", ".join(ignored)
        say("NOTE", f"{spec.env}: ignored for the lock: {what}; a configuration can set them")
    options = ["--only-binary", spec.package] if spec.kind == "engine" and not spec.built else []
    refusals: list[Refusal] = []
    for version, python in interpreters.pythons(spec.python, log):
        query = IndexQuery(python, log, options, spec.index)
        first = not any(refusal.compiled for refusal in refusals)
        outcome = _on_python(spec, version, query, check_missing=first)
        if isinstance(outcome, Resolution):
            return outcome
        refusals.append(outcome)
        if sum(refusal.compiled for refusal in refusals) == TRIES:
            break
    raise _unresolved(spec, refusals, log)


def _on_python(
    spec: BuildSpec, version: str, query: IndexQuery, check_missing: bool
) -> Resolution | Refusal:
    """Resolve a spec on one Python. Raises Failure if no other Python would help.

    check_missing: whether to check that all requirements exist if it does not resolve.
    """
    try:
        dated = _cutoff(spec, version, query)
    except release_date.NoSuchRelease as error:  # report all missing requirements
        missing = [*error.missing, *release_date.missing(pins.written(spec)[1:], query)]
        raise release_date.NoSuchRelease(missing, query.log) from None
    if isinstance(dated, Done):
        return Refusal(version, dated)
    cutoff, released = dated
    compiled = compile_spec(spec, query, cutoff)
    exceptions: pins.Exceptions = {}
    failed = compiled.done
    if failed.status:
        if check_missing and (missing := release_date.missing(pins.written(spec), query)):
            raise release_date.unmet(missing, query.log)
        if failed.status != uv.UNSOLVED:
            raise uv.failure(failed, f"{spec.env} cannot be resolved", query.log)
        newer = pins.newer(spec, cutoff, query) if cutoff else []
        if not cutoff or not newer:
            return Refusal(version, failed, compiled=True)
        solution = _with_exceptions(spec, cutoff, newer, query)
        if isinstance(solution, str):
            return Refusal(version, failed, True, newer, solution)
        compiled, exceptions = solution
    _warn_of_yanked(spec, compiled.done)
    minor = ".".join(version.split(".")[:2])
    requirements = compiled.done.stdout
    return Resolution(requirements, minor, compiled.options, cutoff, released, exceptions)


def _with_exceptions(
    spec: BuildSpec, cutoff: str, newer: Sequence[pins.Pin], query: IndexQuery
) -> tuple[Compilation, pins.Exceptions] | str:
    """Resolve with pins that are newer than the cutoff exempt from it.

    The exceptions of the existing lock are tried first, so that the same requirements give the
    same lock.

    Returns:
        (uv's answer, exceptions), or a hint if it does not resolve.
    """
    solved: list[Compilation] = []

    def attempt(exceptions: pins.Exceptions) -> list[str] | None:
        compiled = compile_spec(spec, query, cutoff, exceptions)
        if compiled.done.status:
            return compiled.stderr
        solved.append(compiled)
        return None

    header = lock_file.header(paths.lock(spec.env))
    requested = [list(spec.requirements), list(spec.overrides)]
    known = header.get("exceptions")
    if known and [header.get("requirements"), header.get("overrides")] == requested:
        attempt(known)
        if solved:
            return solved[0], known
    needed = pins.search(newer, spec.slack_days, query, attempt)
    if needed:
        return solved[0], needed
    after = max(pin.day for pin in newer) + timedelta(days=spec.slack_days + 1)
    for day in (f"{after:%Y-%m-%d}", None):
        if compile_spec(spec, query, day).done.status == 0:
            return f'a later cutoff for all packages resolves: cutoff: "{day or "none"}"'
    return "no cutoff makes it resolve: pin another version, or use another release"


def _cutoff(
    spec: BuildSpec, version: str, query: IndexQuery
) -> tuple[str | None, str | None] | Done:
    """Return (cutoff, upload time of the release) for a Python, or uv's refusal on that Python.

    If the existing lock or the shared one records the upload time for this Python, the index is
    not queried, so files added to a release later do not move its cutoff. Raises Failure.
    """
    if spec.cutoff != "release" or spec.version is None:
        refusal = None if spec.built else release_date.unfit(spec.requirements[0], version, query)
        return refusal or (None if spec.cutoff in ("none", "release") else spec.cutoff, None)
    release = _recorded(spec, spec.version, version) or release_date.find(
        spec.package, spec.version, version, query
    )
    if isinstance(release, Done):
        return release
    return release.cutoff(spec.slack_days), release_date.stamp(release.uploaded)


def _recorded(spec: BuildSpec, release: str, version: str) -> release_date.PublishedRelease | None:
    """Return the release as the existing lock or the shared one records it for a Python."""
    if spec.index:
        return None
    minor = ".".join(version.split(".")[:2])
    for path in (paths.lock(spec.env), paths.shared_lock(spec.env)):
        header = lock_file.header(path)
        day = release_date.moment(header.get("released") or "", datetime.now(timezone.utc))
        same = header.get("requirements", [])[:1] == list(spec.requirements[:1])
        if day and same and header.get("python") == minor:
            return release_date.PublishedRelease(spec.package, release, day)
    return None


def _unresolved(spec: BuildSpec, refusals: Sequence[Refusal], log: Path) -> Failure:
    """Return the error for a spec that resolves on no Python."""
    if not refusals:
        return Failure(
            f"{spec.env}: no Python here fits {spec.python or 'it'}",
            f"{uv.word()} python install {interpreters.DOWNLOADABLE[0]}   "
            "or widen python: in the engine's file", log, page=29,
        )  # fmt: skip
    what = f"{spec.env} cannot be resolved on Python {', '.join(r.python for r in refusals)}"
    hint = "a repair in the engine's file under configs/engines can replace or drop what is gone"
    # The first Python fits best, so its error is the one to report.
    first, page = refusals[0].done, 30
    by_cutoff = next((refusal for refusal in refusals if refusal.newer), None)
    if by_cutoff:
        verb = "are" if len(by_cutoff.newer) > 1 else "is"
        what += f": {', '.join(map(str, by_cutoff.newer))} {verb} younger than the cutoff"
        hint, page = by_cutoff.hint, 37
    elif any(re.search(r"\btorch\b.*\+cpu", line) for line in first.stderr):
        hint, page = "set pip's find-links or index-url to an index with torch for CPUs", 35
    return uv.failure(first, what, log, hint, page)


def _warn_of_yanked(spec: BuildSpec, done: Done) -> None:
    """Print a warning for each yanked release; an exact pin installs it (PEP 592)."""
    for line in done.stderr:
        if match := re.search(r"`(\S+)` is yanked(.*)", line):
            say("WARNING", f"{spec.env}: {match[1]} is yanked{match[2]}")
