"""Makes a model's directory from a package of the index, for machines that cannot reach the hub.

The package contains the model as a GGUF file. uv installs it, with its hash checked, into a
temporary folder; convert_gguf.py converts it with the transformers of the engine's environment. The
result, benchy/NAME-VERSION-SHA below the hub's cache, takes its name in one rename, so a killed
process leaves no half of it. All models and checkouts that use the cache share it. Writes
logs/fetch/MODEL.package.log.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchy.core import paths, temporary_files
from benchy.core.errors import Failure
from benchy.core.specs import PackagedWeights
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import uv
from benchy.hub import local_cache
from benchy.process import environment_variables, runner

CONVERT = paths.SCRIPTS / "convert_gguf.py"
CONVERT_PACKAGES = paths.SCRIPTS / "convert_gguf.txt"


def folder(package: PackagedWeights, hf_cache: str | None) -> Path:
    """Return the directory of the converted model. hf_cache: as in the server spec."""
    cache = local_cache.hub_cache(hf_cache, os.environ).absolute()
    return cache / "benchy" / f"{package['name']}-{package['version']}-{package['sha256'][:8]}"


def make(
    package: PackagedWeights, hf_cache: str | None, python: str, step: Step, log: Path
) -> tuple[Path, bool]:
    """Return the model's directory, and whether this call made it.

    Args:
        package: The package.
        hf_cache: As in the server spec.
        python: Path of the Python of the engine's environment.
        step: Shows the progress.
        log: Log of uv; the conversion's is beside it.

    Raises:
        Failure: The package cannot be installed, or contains no model that can be converted.
    """
    made = folder(package, hf_cache)
    if complete(made):
        return made, False
    made.parent.mkdir(parents=True, exist_ok=True)
    with _alone(made, step.title):
        if complete(made):
            return made, False
        aside = temporary_files.aside(made)
        try:
            step.at(f"download {package['name']}")
            source = _install(package, aside / "packages", python, log)
            step.at("convert")
            _convert(source, aside / "packages", aside / "model", python, step, log)
            (aside / "model").rename(made)
        finally:
            temporary_files.remove(aside)
    return made, True


def complete(path: Path) -> bool:
    """Return whether a directory has a model: it takes its name only once it is whole."""
    return (path / "config.json").is_file()


@contextmanager
def _alone(made: Path, title: str) -> Iterator[None]:
    """Let only one process at a time make a directory."""
    with made.with_name(f".{made.name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("WAIT", f"{title}: another process prepares {made}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(package: PackagedWeights, target: Path, python: str, log: Path) -> Path:
    """Install the package and what the conversion needs into a folder. Return the GGUF file."""
    pin = f"{package['name']}=={package['version']}"
    requirements = f"{pin} --hash=sha256:{package['sha256']}\n{CONVERT_PACKAGES.read_text()}"
    arguments = ["install", "--no-deps", "--require-hashes", "--no-build", "--link-mode", "copy"]
    words = uv.pip([*arguments, "--python", python, "--target", str(target), "-r", "-"])
    done = uv.run(words, log, "download", requirements)
    if done.status:
        raise uv.failure(
            done, f"{pin} cannot be installed", log, "check model.package in its config"
        )
    files = sorted(path for path in target.rglob("*.gguf") if path.is_file())
    if len(files) != 1:
        what = f"{pin} contains {len(files)} GGUF files, not one"
        raise Failure(what, "name another package, or a model's directory", log)
    return files[0]


def _convert(
    source: Path, packages: Path, target: Path, python: str, step: Step, log: Path
) -> None:
    """Convert a GGUF file to a directory that every release of an engine can load."""
    request = {"source": str(source), "packages": str(packages), "target": str(target)}
    environ = environment_variables.for_engine(os.environ)
    environ |= {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}  # all that is needed is in the folder
    own_log = log.with_suffix(".convert.log")
    try:
        runner.run(
            [python, "-I", str(CONVERT), json.dumps(request)],
            environ,
            own_log,
            step=step,
            progress=progress,
        )
    except runner.Ended as ended:
        lines = own_log.read_text(errors="replace").splitlines()
        shown = [line for line in lines if line.strip()][-6:]
        raise Failure(
            f"{source.name} cannot be converted: the conversion {ended.words()}",
            "choose another release of the engine, whose transformers can read the file",
            own_log, shown,
        ) from None  # fmt: skip
    if not complete(target):
        raise Failure(f"{source.name} cannot be converted: there is no config.json", "", own_log)


def progress(line: str) -> tuple[str, int, int] | None:
    """Return (stage, done, total) from a progress line of transformers, None for other lines."""
    match = re.match(r"Converting and de-quantizing GGUF.*\| *(\d+)/(\d+) ", line)
    return ("convert", int(match[1]), int(match[2])) if match else None
