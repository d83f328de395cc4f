"""bin/survey: check whether each release of an engine still resolves, installs and works.

Writes docs/releases.json and docs/releases.md (survey_report.py). During the survey it writes
build/survey/<engine>/<release>.json, so that an interrupted survey resumes, and
build/survey/flags/<engine>/<release>.json, the options of each release that was built. Builds one
environment at a time in venvs/survey_… and removes it again. Downloads go to build/survey/cache, as
every release of torch would fill the user's own cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from benchy.config import engine_schema
from benchy.core import files, hashing, paths
from benchy.core.errors import Failure
from benchy.environments import (
    builder,
    checker,
    environment_spec,
    health,
    interpreters,
    inventory,
    lock_file,
    release_date,
    removal,
    resolver,
    uv,
)
from benchy.plan import environment_specs

FOLDER = paths.BUILD / "survey"
CACHE = FOLDER / "cache"
FLAGS = FOLDER / "flags"
PREFIX, WITHOUT = "survey_", "_without"  # around the name of the surveyed environment
NOTED = ("torch", "transformers", "numpy")
LARGEST_GB = 12.0  # a vLLM environment with CUDA and byte code (measured: 7 to 11)
FORMAT = 1  # increment it when the method of the survey changes

Row = dict[str, Any]


def releases(package: str, since: Version, until: Version | None, log: Path) -> list[str]:
    """Return the releases on the index, oldest first, without pre-releases. Queries uv repeatedly
    for the newest release below the previous one."""
    _, python = next(interpreters.pythons(None, log))
    out: list[str] = []
    bound = f"<={until}" if until else ""
    while True:
        version = release_date.newest(f"{package}{bound}", release_date.IndexQuery(python, log))
        if version is None or Version(version) < since:
            return out[::-1]
        out.append(version)
        bound = f"<{version}"


def chosen(releases: Sequence[str], engine: engine_schema.Engine) -> set[str]:
    """Return the releases that a survey with DEEP=some builds: the last of each minor release, both
    ends of each repair's range, and the first of all."""
    minors = {Version(v).release[:2]: v for v in releases}
    ends = set[str]()
    for repair in engine.repairs:
        inside = list(SpecifierSet(repair.versions, prereleases=True).filter(releases))
        ends |= {*inside[:1], *inside[-1:]}
    return {*minors.values(), *ends, *releases[:1]}


def pinned(lock: str) -> dict[str, str]:
    """Return the version of each package in the lines `name==version` of a lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.M))


def noted(lock: str) -> dict[str, str]:
    versions = pinned(lock)
    return {name: versions[name] for name in NOTED if name in versions}


def plain(spec: environment_spec.BuildSpec, log: Path) -> Row:
    """Return what `uv pip install package==release` would get today, on the Python that benchy
    chose or, if it chose none, the first one available."""
    _, python = next(interpreters.pythons(spec.python, log))
    arguments = ["compile", "-", "--no-header", "--no-annotate", "--python", python]
    pin = f"{spec.package}=={spec.version}"
    done = uv.run(uv.pip(arguments), log, stdin=pin, local_torch=spec.local_torch)
    if done.status == 0:
        return {"resolves": True, "packages": noted(done.stdout)}
    return {"resolves": False, "why": reason(done.error_lines(30))}


def reason(lines: Sequence[str]) -> str:
    """Return uv's reason for a failed resolution in one line: the last "Because …", else the
    first line."""
    text = " ".join(re.sub(r"^[^A-Za-z]+", "", line) for line in lines)
    because = re.search(r"(Because .+?)(?: hint:|$)", text)
    return (because[1] if because else text)[:300].strip()


def without(
    spec: environment_spec.BuildSpec, repair: engine_schema.Repair
) -> environment_spec.BuildSpec:
    """Return the spec without a repair of the engine's file."""
    drops = {f"{name} ; python_version < '3'" for name in repair.drop}
    return replace(
        spec,
        env=spec.env + WITHOUT,
        overrides=tuple(o for o in spec.overrides if o not in {*drops, *repair.overrides}),
        constraints=tuple(c for c in spec.constraints if c not in repair.constraints),
    )


def resolved(spec: environment_spec.BuildSpec) -> Row:
    """Resolve the spec with benchy's rules. The lock stays for a build."""
    try:
        resolver.lock(spec, fresh=True)
    except Failure as error:
        return {"resolves": False, "why": reason(error.lines) or error.what}
    facts = lock_file.header(paths.lock(spec.env))
    packages = noted(paths.lock(spec.env).read_text(encoding="utf-8"))
    return {
        "resolves": True,
        "packages": packages,
        "python": facts["python"],
        "cutoff": facts["cutoff"],
    }


@contextlib.contextmanager
def own_cache(disk: float) -> Iterator[None]:
    """Make uv use the survey's cache; empty it first if another environment might not fit.

    disk: GB that the environment and the cache may take.
    """
    used = inventory.measure(CACHE).all / 1e9 if CACHE.is_dir() else 0.0
    if used + LARGEST_GB > disk:
        shutil.rmtree(CACHE)
    before = os.environ.get("UV_CACHE_DIR")
    os.environ["UV_CACHE_DIR"] = str(CACHE.absolute())
    try:
        yield
    finally:
        os.environ.pop("UV_CACHE_DIR")
        if before is not None:
            os.environ["UV_CACHE_DIR"] = before


def built(engine_name: str, spec: environment_spec.BuildSpec, disk: float) -> Row:
    """Build an environment from its lock, check it, measure it and remove it."""
    folder = paths.env_dir(spec.env)
    try:
        with own_cache(disk):
            builder.create(spec)
        if not spec.env.endswith(WITHOUT):
            flags = FLAGS / engine_name / f"{spec.version}.json"
            flags.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "flags.json", flags)
        facts, check = health.stamp(spec.env), checker.check_result(spec.env)
        return {
            "works": True,
            "found": facts["version"],
            "seconds": facts["seconds"],
            "check_seconds": round(sum(step["seconds"] for step in check["steps"]), 1),
            "checked": [step["step"] for step in check["steps"]],
            "bytes": inventory.measure(folder).all,
        }
    except Failure as error:
        return {"works": False, "why": ": ".join([error.what, *error.lines[:1]])[:300]}
    finally:
        removal.remove(spec.env)


def unneeded(
    engine_name: str,
    engine: engine_schema.Engine,
    spec: environment_spec.BuildSpec,
    disk: float | None,
) -> list[str]:
    """Return the reasons of those repairs that a release does not need, as far as is known.

    A repair fixes a release that does not resolve, or one that does not work. If the release
    resolves to other packages without the repair, only a build can decide. Bounds on Python are not
    checked, as that would need a Python outside of them. disk: GB that builds may take, None to
    build nothing.
    """
    out = []
    for repair in engine.repairs:
        packages = bool(repair.overrides or repair.drop or repair.constraints)
        if not packages or not repair.holds(str(spec.version)):
            continue
        bare = without(spec, repair)
        try:
            alone = resolved(bare)
            same = alone["resolves"] and _same(spec, bare)
            if same or (alone["resolves"] and disk and built(engine_name, bare, disk)["works"]):
                out.append(repair.why)
        finally:
            _forget(bare)
    return out


def _same(spec: environment_spec.BuildSpec, other: environment_spec.BuildSpec) -> bool:
    return lock_file.digest(paths.lock(spec.env)) == lock_file.digest(paths.lock(other.env))


def _forget(spec: environment_spec.BuildSpec) -> None:
    """Delete the lock and markers of a surveyed environment."""
    paths.lock(spec.env).unlink(missing_ok=True)
    paths.failed(spec.env).unlink(missing_ok=True)
    (paths.VENVS / ".locks" / spec.env).unlink(missing_ok=True)


def survey(engine_name: str, engine: engine_schema.Engine, version: str, disk: float | None) -> Row:
    """Survey one release and return its row. disk: GB for builds, None to only resolve."""
    request = environment_specs.ReleaseRequest(engine_name, engine, version, "the survey")
    data = environment_specs.environment_spec(request)
    spec = replace(environment_spec.BuildSpec.of(data), env=PREFIX + data["env"])
    log = resolver.log_path(spec.env)
    key = hashing.digest([spec.inputs, FORMAT])
    file = FOLDER / engine_name / f"{version}.json"
    known = files.read_json(file)
    if known.get("key") == key and (disk is None or "deep" in known):
        return known
    row: Row = {"release": version, "key": key, "date": f"{datetime.now(timezone.utc):%Y-%m-%d}"}
    try:
        row["plain"] = plain(spec, log)
        row["benchy"] = {**resolved(spec), "repairs": [r["why"] for r in data["repairs"]]}
        if row["benchy"]["resolves"]:
            if disk is not None:
                row["deep"] = built(engine_name, spec, disk)
            row["unneeded"] = unneeded(engine_name, engine, spec, disk)
    finally:
        _forget(spec)
    files.write(file, hashing.canonical(row))
    return row


def renewed(old: Row, new: Row) -> Row:
    """Return the new row. If it has no build and resolves like the old row, copy the old build."""
    same = old.get("benchy") == new["benchy"]
    return {**new, "deep": old["deep"]} if same and "deep" in old and "deep" not in new else new


def summary(row: Row) -> str:
    """Describe a row in one line, for progress messages."""
    deep = row.get("deep")
    if not row["benchy"]["resolves"]:
        return f"does not resolve: {row['benchy']['why']}"
    if deep is None:
        return "resolves"
    if not deep["works"]:
        return f"FAILS: {deep['why']}"
    return f"works ({deep['seconds']:.0f} s, {deep['bytes'] / 1e9:.1f} GB)"
