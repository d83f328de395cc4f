"""bin/doctor: what this machine lacks, with the mend for each.

One line a finding: OK, warning or error. Exit status 1 if there is an error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchy import config, gpu, lease, paths, plan, uv
from benchy.errors import ConfigError, Failure, colour

OK, WARNING, ERROR = "OK", "warning", "error"
Finding = tuple[str, str, str]  # (OK, warning or error; what; mend)
NEEDED_GB = 10  # one environment of vLLM with CUDA takes 7 to 9


def programs() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield OK, f"Python {version}", ""
    try:
        found = uv.find()
        said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.strip()
        yield OK, said, ""
    except Failure as error:
        yield ERROR, error.what, error.mend
    make = shutil.which("make")
    said = (
        subprocess.run(["make", "--version"], capture_output=True, text=True).stdout if make else ""
    )
    if said.startswith("GNU Make"):
        yield OK, said.splitlines()[0], ""
    else:
        yield ERROR, "make is not GNU Make", "install GNU Make 4.3 or newer"


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 1e9
    mend = "" if free > NEEDED_GB else "make prune-venvs, or uv cache prune"
    yield OK if free > NEEDED_GB else WARNING, f"{free:.0f} GB free here", mend
    try:
        done = subprocess.run([uv.find(), "cache", "dir"], capture_output=True, text=True)
    except Failure:
        return
    cache = Path(done.stdout.strip())
    while not cache.exists() and cache != cache.parent:
        cache = cache.parent
    if cache.stat().st_dev == Path().stat().st_dev:
        yield OK, "uv's cache lies on this file system: environments share files with it", ""
    else:
        yield (
            WARNING,
            "uv's cache lies on another file system: each environment is a whole copy",
            "set UV_CACHE_DIR to a directory on this one",
        )


def cards() -> Iterator[Finding]:
    found = gpu.gpus()
    if not found:
        yield OK, "no GPU: models of an engine for CPUs can run (provider vllm_cpu)", ""
    strangers = gpu.strangers(found)
    for card in found:
        if card.uuid in strangers:
            yield (
                WARNING,
                f"GPU {card.index} {card.name}: {strangers[card.uuid]}",
                "benchy waits for it; GPU_BUSY=skip leaves it out",
            )
        else:
            yield OK, f"GPU {card.index} {card.name}: free", ""
    for device, holder in lease.Desk(lease.directory()).known().items():
        yield OK, f"lease on {device}: {holder}", ""


def configuration() -> Iterator[Finding]:
    try:
        house = config.load(paths.ROOT)
    except ConfigError as error:
        for mistake in error.mistakes:
            what, _, mend = str(mistake).partition("\n  ")
            yield ERROR, what, mend
        return
    yield OK, f"{len(house.models)} models, {len(house.tasks)} tasks: no mistakes", ""
    for env, failure in plan.failures().items():
        yield (
            WARNING,
            f"{env} could not be built: {failure.get('what', '')}",
            f"see {failure.get('log', '')}; make tries it again",
        )
    gated = [m.name for m in house.models if m.engine.device == "gpu" and gpu.gpus()]
    if gated and not os.environ.get("HF_TOKEN") and not any(m.token_from for m in house.models):
        yield WARNING, "no HF_TOKEN: gated models can't be loaded", "export HF_TOKEN=…"


def main(argv: list[str]) -> int:
    argparse.ArgumentParser(
        prog="bin/doctor", description="what this machine lacks, with the mend for each"
    ).parse_args(argv)
    worst = 0
    for part in (programs, disk, cards, configuration):
        for state, what, mend in part():
            shade = {OK: "32", WARNING: "33", ERROR: "31"}[state]
            print(f"{colour(f'{state:<8}', shade)} {what}")
            if mend:
                print(f"         {mend}")
            worst |= state == ERROR
    return int(worst)
