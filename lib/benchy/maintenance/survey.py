"""bin/survey: does each release of an engine still resolve, install and work?

Writes docs/releases.json and docs/releases.md (releasetable.py), and as it goes
build/survey/<engine>/<release>.json, so that a survey that was stopped goes on where it was, and
build/survey/flags/<engine>/<release>.json, the options of each release that was built. What is
built lies in venvs/survey_… and is removed again, one at a time; what is downloaded lies in
build/survey/cache, apart from the person's own cache, which every torch there was would fill.
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

from benchy.config import merge, schema
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
    resolver,
    uv,
)
from benchy.plan import environment_specs

FOLDER = paths.BUILD / "survey"
CACHE = FOLDER / "cache"
FLAGS = FOLDER / "flags"
PREFIX, WITHOUT = "survey_", "_without"  # around the name of the environment surveyed
NOTED = ("torch", "transformers", "numpy")
LARGEST_GB = 12.0  # an environment of vLLM with CUDA, byte code included (measured: 7 to 11)
FORMAT = 1  # raised when the same release would be surveyed in another way

Row = dict[str, Any]


def releases(package: str, since: Version, until: Version | None, log: Path) -> list[str]:
    """The releases on the index, oldest first; no pre-releases. uv is asked for ever lower ones."""
    _, python = next(interpreters.pythons(None, log))
    out: list[str] = []
    bound = f"<={until}" if until else ""
    while True:
        version = release_date.newest(f"{package}{bound}", release_date.Asking(python, log))
        if version is None or Version(version) < since:
            return out[::-1]
        out.append(version)
        bound = f"<{version}"


def chosen(found: Sequence[str], engine: schema.Engine) -> set[str]:
    """The releases that a survey with DEEP=some builds: the last of each minor release, and both
    ends of each repair's range."""
    minors = {Version(v).release[:2]: v for v in found}
    ends = set[str]()
    for repair in engine.repairs:
        inside = list(SpecifierSet(repair.versions, prereleases=True).filter(found))
        ends |= {*inside[:1], *inside[-1:]}
    return {*minors.values(), *ends, *found[:1]}


def pinned(lock: str) -> dict[str, str]:
    """Name → version of each line `name==version` in a lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.M))


def noted(lock: str) -> dict[str, str]:
    found = pinned(lock)
    return {name: found[name] for name in NOTED if name in found}


def plain(spec: environment_spec.Spec, log: Path) -> Row:
    """What `uv pip install package==release` would get today, on the Python that benchy chose or,
    if it chose none, the first at hand."""
    _, python = next(interpreters.pythons(spec.python, log))
    arguments = ["compile", "-", "--no-header", "--no-annotate", "--python", python]
    pin = f"{spec.package}=={spec.version}"
    done = uv.run(uv.pip(arguments), log, stdin=pin, local_torch=spec.local_torch)
    if done.status == 0:
        return {"resolves": True, "packages": noted(done.stdout)}
    return {"resolves": False, "why": reason(done.telling(30))}


def reason(lines: Sequence[str]) -> str:
    """uv's account of a failed resolution in one line: its last "Because …"; else the first."""
    text = " ".join(re.sub(r"^[^A-Za-z]+", "", line) for line in lines)
    because = re.search(r"(Because .+?)(?: hint:|$)", text)
    return (because[1] if because else text)[:300].strip()


def without(spec: environment_spec.Spec, repair: schema.Repair) -> environment_spec.Spec:
    """The spec as it would be had the engine's file no such repair."""
    drops = {f"{name} ; python_version < '3'" for name in repair.drop}
    return replace(
        spec,
        env=spec.env + WITHOUT,
        overrides=tuple(o for o in spec.overrides if o not in {*drops, *repair.overrides}),
        constraints=tuple(c for c in spec.constraints if c not in repair.constraints),
    )


def resolved(spec: environment_spec.Spec) -> Row:
    """benchy's way. The lock stays for who builds from it."""
    try:
        resolver.lock(spec, fresh=True)
    except Failure as error:
        return {"resolves": False, "why": reason(error.lines) or error.what}
    said = lock_file.header(paths.lock(spec.env))
    packages = noted(paths.lock(spec.env).read_text(encoding="utf-8"))
    return {
        "resolves": True, "packages": packages, "python": said["python"], "cutoff": said["cutoff"],
    }  # fmt: skip


@contextlib.contextmanager
def own_cache(disk: float) -> Iterator[None]:
    """uv with the survey's cache, emptied first where another environment might not fit beside."""
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


def built(engine_name: str, spec: environment_spec.Spec, disk: float) -> Row:
    """Build it from its lock, check it, measure it, remove it."""
    folder = paths.env_dir(spec.env)
    try:
        with own_cache(disk):
            builder.create(spec)
        if not spec.env.endswith(WITHOUT):
            flags = FLAGS / engine_name / f"{spec.version}.json"
            flags.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "flags.json", flags)
        said, check = health.stamp(spec.env), checker.check_result(spec.env)
        return {
            "works": True,
            "found": said["version"],
            "seconds": said["seconds"],
            "check_seconds": round(sum(step["seconds"] for step in check["steps"]), 1),
            "checked": [step["step"] for step in check["steps"]],
            "bytes": inventory.measure(folder).all,
        }
    except Failure as error:
        return {"works": False, "why": ": ".join([error.what, *error.lines[:1]])[:300]}
    finally:
        builder.remove(spec.env)


def unneeded(
    engine_name: str, engine: schema.Engine, spec: environment_spec.Spec, disk: float | None
) -> list[str]:
    """The reasons of those repairs without which the release works as well, as far as is known.

    A repair is for what resolves no longer, or for what does not work; so where it resolves without
    it, only a build can tell (disk: GB, None where nothing may be built). Bounds on Python are not
    asked about: it takes a Python outside of them.
    """
    out = []
    for repair in engine.repairs:
        packages = bool(repair.overrides or repair.drop or repair.constraints)
        if not packages or not merge.repair_holds(repair, str(spec.version)):
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


def _same(one: environment_spec.Spec, other: environment_spec.Spec) -> bool:
    return lock_file.digest(paths.lock(one.env)) == lock_file.digest(paths.lock(other.env))


def _forget(spec: environment_spec.Spec) -> None:
    """Leave nothing of a surveyed environment."""
    paths.lock(spec.env).unlink(missing_ok=True)
    paths.failed(spec.env).unlink(missing_ok=True)
    (paths.VENVS / ".locks" / spec.env).unlink(missing_ok=True)


def survey(engine_name: str, engine: schema.Engine, version: str, disk: float | None) -> Row:
    """One release. disk: GB that building may take, None for resolving alone."""
    data = environment_specs.environment_spec(engine_name, engine, version, None, "the survey")
    spec = replace(environment_spec.Spec.of(data), env=PREFIX + data["env"])
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
    """A row in place of another. What was built from the same resolution need not be again."""
    same = old.get("benchy") == new["benchy"]
    return {**new, "deep": old["deep"]} if same and "deep" in old and "deep" not in new else new


def told(row: Row) -> str:
    """A row in one line, for who waits."""
    deep = row.get("deep")
    if not row["benchy"]["resolves"]:
        return f"does not resolve: {row['benchy']['why']}"
    if deep is None:
        return "resolves"
    if not deep["works"]:
        return f"FAILS: {deep['why']}"
    return f"works ({deep['seconds']:.0f} s, {deep['bytes'] / 1e9:.1f} GB)"
