"""bin/fetch: all that a model's server needs and that takes no device: environment, weights; and
whether its tasks can run on it (preflight.py).

Weights on the hub are fetched by the hub's own client, in the environment of the model (hub.py),
into the hub's cache; what is there is not fetched again, and what broke off goes on. A directory is
used in place. Writes logs/fetch/MODEL.log, and run/fetched/MODEL.json with the commit that the
revision stood for: the server is started with that one, whatever happens on the hub meanwhile.
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
from benchy.display.messages import colour, say
from benchy.display.progress import Step
from benchy.environments import pip_settings
from benchy.evaluation import preflight
from benchy.hub import tokens
from benchy.process import environment_variables, runner
from benchy.serving import preparation

TAG = "FETCH"
HUB = paths.SCRIPTS / "download_snapshot.py"
NO_CLIENT = 3  # hub.py's status where the environment has no client of the hub


def check(spec: Mapping[str, Any], tasks: Sequence[str], limit: int | None) -> None:
    """Report what is wrong with these tasks on the model. Raises ConfigError where none of them is
    left; the others are evaluated all the same."""
    commit = preparation.commit(dict(spec))
    try:
        wrong = preflight.of_tasks(spec, tasks, limit, commit, tokens.of(spec))
    except (OSError, ValueError) as error:
        raise Failure(f"a spec can't be read: {error}", "make plan reports what is wrong") from None
    found = {mistake for each in wrong.values() for mistake in each}
    if len(wrong) == len(tasks):
        raise ConfigError(found)
    for mistake in sorted(found):
        print(f"{colour('error:', '31')} {mistake}", file=sys.stderr)


def weights(plan: preparation.Plan, step: Step) -> None:
    """Fetch the model's files, if they are not there. Raises Failure."""
    spec, model = plan.spec, plan.spec["model"]
    log = paths.LOGS / "fetch" / f"{model}.log"
    asked = {"name": spec["name"], "revision": spec.get("revision")}
    command = [plan.place.python, "-I", str(HUB), json.dumps(asked)]
    try:
        runner.run(
            command,
            environment(spec),
            log,
            step=step,
            progress=progress,
            check=lambda: None,
            timeout=None,
        )
    except runner.Ended as ended:
        if ended.status == NO_CLIENT:
            return  # an engine that fetches by other means
        lines = log.read_text(errors="replace").splitlines()
        told = [line[8:] for line in lines if line.startswith("benchy: ")]
        what = told[0] if told else f"the hub's client {ended.words()}"
        hint = told[1] if len(told) > 1 else "make fetch goes on where it broke off"
        shown = [] if told else [line for line in lines if line.strip()][-6:]
        raise Failure(f"{model}: {what}", hint, log, shown) from None
    found = [line[8:] for line in log.read_text().splitlines() if line.startswith("fetched ")]
    note = json.loads(found[-1])
    if note["new"]:
        say(TAG, f"{model}: {spec['name']} at {note['commit'][:12]}, {note['bytes'] / 1e9:.2f} GB")
    path = note_path(model)  # prepare.commit reads it
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({**asked, "cache": cache(spec), **note}, sort_keys=True)
    temporary_files.write(path, text, mode=0o600)


def there(spec: Mapping[str, Any]) -> bool:
    """Is there nothing to fetch? So where a directory is used in place, and where the very commit
    that the config names was fetched into this cache and is still whole."""
    if spec.get("path"):
        return True
    if not re.fullmatch(r"[0-9a-f]{40}", spec.get("revision") or ""):
        return False  # the hub has to say what a branch stands for today
    try:
        note = json.loads(note_path(spec["model"]).read_text())
        asked = (spec["name"], spec["revision"], cache(spec))
        if (note["name"], note["revision"], note["cache"]) != asked:
            return False
        sizes = [path.stat().st_size for path in Path(note["folder"]).rglob("*") if path.is_file()]
    except (OSError, ValueError, KeyError):
        return False
    return (len(sizes), sum(sizes)) == (note["files"], note["bytes"])


def cache(spec: Mapping[str, Any]) -> list[str | None]:
    """What decides where the hub's client keeps its files."""
    names = ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")
    return [spec.get("hf_cache"), *(os.environ.get(name) for name in names)]


def note_path(model: str) -> Path:
    return paths.RUN / "fetched" / f"{model}.json"


def environment(spec: preparation.Spec) -> dict[str, str]:
    """Of the hub's client: the caller's, with the model's cache and token."""
    env = environment_variables.for_engine(os.environ)
    if spec.get("hf_cache"):
        env["HF_HUB_CACHE"] = str(paths.home(spec["hf_cache"]).absolute())
    if token := tokens.of(spec):
        env["HF_TOKEN"] = token
    if pip_settings.offline():
        env["HF_HUB_OFFLINE"] = "1"
    env["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return env


def progress(line: str) -> tuple[str, int, int] | None:
    """(stage, done, all) of a line of the client, None for other lines."""
    match = re.match(r"(Fetching) \d+ files.*\| *(\d+)/(\d+) ", line)
    return (match[1], int(match[2]), int(match[3])) if match else None
