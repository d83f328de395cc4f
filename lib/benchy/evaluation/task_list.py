"""Lists the available tasks: those of configs/tasks, and those in the index of each harness.

harness_index.py lists the latter in the harness's environment (10 s). Its answers are cached in
build/tasks/KEY.json, where KEY is a hash of everything that they depend on.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchy.config import configuration
from benchy.core import files, hashing, paths
from benchy.core.errors import Failure
from benchy.core.specs import EnvironmentRequest, PlannedTask
from benchy.display.messages import say
from benchy.environments import health
from benchy.evaluation import provenance
from benchy.plan import environment_specs, planner
from benchy.process import environment_variables

Row = Mapping[str, Any]  # see harness_index.py

FOLDER = paths.BUILD / "tasks"
SCRIPT = paths.SCRIPTS / "harness_index.py"
SHARED = paths.SCRIPTS / "harness_facts.py"  # the script imports it
SECONDS = 600
# The keys of a row that a search covers.
SEARCHED = ("name", "tags", "dataset", "family", "language", "description", "output", "needs")


@dataclass(frozen=True)
class HarnessTasks:
    """A release of a harness and its tasks. `environment` is where its index was read."""

    name: str
    environment: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Own:
    """A task of configs/tasks.

    Attributes:
        name: Name of the task.
        names: Tasks and groups of the harness that it requests.
        description: Its description.
        shots: Numbers of examples in the prompt, from its own file or else from the harness.
        output: Output types of its harness tasks.
        dataset: Datasets of its harness tasks.
        needs: What its harness tasks need besides text.
        count: Number of its harness tasks.
        unknown: Requested names that the harness does not know.
    """

    name: str
    names: list[str]
    description: str
    shots: list[int]
    output: list[str]
    dataset: list[str]
    needs: list[str]
    count: int
    unknown: list[str] = field(default_factory=list)


def environments(
    config: configuration.Configuration,
) -> tuple[dict[str, PlannedTask], dict[str, EnvironmentRequest], dict[str, str]]:
    """Return the task specs, the specs of the harness environments, and which environment to ask.

    The last maps each environment to the environment of the same release whose index is used for
    it: one that is built, if possible.
    """
    made = planner.empty(config, None)
    surroundings = planner.surroundings()
    for name, engine in sorted(config.engines.items()):
        if engine.kind == "harness" and engine.default_version:
            source = f"configs/engines/{name}.yaml"
            made.add(
                environment_specs.environment_spec(
                    environment_specs.ReleaseRequest(name, engine, engine.default_version, source)
                )
            )
    for name in sorted(config.tasks):
        planner.add_task(made, name, config, surroundings)
    first: dict[str, str] = {}
    # Prefer built environments, then those without extra packages.
    for env in sorted(made.environments, key=lambda e: (not health.intact(e), len(e), e)):
        spec = made.environments[env]
        first.setdefault(hashing.digest([spec["name"], spec["requirements"][0]]), env)
    representatives = {
        env: first[hashing.digest([spec["name"], spec["requirements"][0]])]
        for env, spec in made.environments.items()
    }
    return made.tasks, made.environments, representatives


def ready(env: str, spec: EnvironmentRequest) -> None:
    """Build an environment if it is missing. Raises Failure."""
    if health.intact(env):
        return
    files.write(paths.env_spec(env), hashing.canonical(environment_specs.stored(spec, paths.ROOT)))
    done = subprocess.run(["bin/venv", "create", env])
    if done.returncode or not health.intact(env):
        raise Failure(
            f"the environment {env} could not be built",
            "fix the cause and start again",
            paths.LOGS / "venv" / f"{env}.log",
        )


def listed(env: str, spec: EnvironmentRequest, folder: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of the harness's own tasks, or of those in a directory. Raises Failure."""
    contents = hashing.content_of(paths.ROOT / folder) if folder else None
    path = FOLDER / (hashing.digest([_made_by(env), contents, folder])[:32] + ".json")
    with contextlib.suppress(OSError):
        cached = _rows(path.read_text(encoding="utf-8", errors="replace"))
        if cached is not None:
            return cached
    ready(env, spec)
    if not folder:
        say("TASKS", f"{env}: reading its index (10 s, once)")
    path = FOLDER / (hashing.digest([_made_by(env), contents, folder])[:32] + ".json")
    python = str((paths.env_dir(env) / "bin" / "python").absolute())
    command = [python, str(SCRIPT), *([folder] if folder else [])]
    base = environment_variables.for_harness(os.environ)
    try:
        done = subprocess.run(
            command, env=base, capture_output=True, text=True, timeout=SECONDS, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise Failure(
            f"{env} can't list its tasks: no answer within {SECONDS} s",
            f"see what slows the machine or its disk down, then try again: {shlex.join(command)}",
        ) from None
    rows = _rows(done.stdout) if not done.returncode else None
    if rows is None:
        raise Failure(
            f"{env} can't list its tasks",
            "the list needs lm_eval 0.4.12 or newer (harness_version of the task)",
            lines=[line for line in done.stderr.splitlines() if line.strip()][-3:],
        )
    files.write(path, json.dumps(rows, sort_keys=True))
    return rows


def _rows(text: str) -> list[dict[str, Any]] | None:
    """Return the rows in the last line of a text, None if it has none."""
    try:
        rows = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return rows if isinstance(rows, list) else None


def _made_by(env: str) -> list[str]:
    """Return what an environment's index depends on."""
    return [hashing.sha256(SCRIPT), hashing.sha256(SHARED), env, *provenance.made_by(env)]


def leaves(names: Iterable[str], by_name: Mapping[str, Row]) -> tuple[list[Row], list[str]]:
    """Return the tasks below these names and the unknown names, each once."""
    tasks: dict[str, Row] = {}
    seen: set[str] = set()
    unknown = []

    def walk(name: str, top: bool) -> None:
        if name in seen:
            return
        seen.add(name)
        row = by_name.get(name)
        if row is None and "*" in name:
            for match in fnmatch.filter(by_name, name):
                walk(match, False)
        elif row is None:
            if top:
                unknown.append(name)
        elif row["kind"] in ("group", "tag"):
            for member in row.get("members", ()):
                walk(member, False)
        else:
            tasks[name] = row

    for name in names:
        walk(name, True)
    return list(tasks.values()), unknown


def own(name: str, spec: PlannedTask, by_name: Mapping[str, Row]) -> Own:
    """Return a task of configs/tasks. `spec` is its spec."""
    meaning = spec["meaning"]
    names = meaning["task_name"]
    below, unknown = leaves(names, by_name)
    requested = meaning["num_fewshot"]
    shots = {requested} if requested is not None else {row.get("shots") or 0 for row in below}
    every = [word for row in below for word in row.get("needs", ())]
    return Own(
        name=name,
        names=list(names),
        description=spec["description"],
        shots=sorted(shots),
        output=sorted({row["output"] for row in below if "output" in row}),
        dataset=sorted({row["dataset"] for row in below if "dataset" in row}),
        needs=sorted(set(every)),
        count=len(below),
        unknown=unknown,
    )


def all_of(config: configuration.Configuration) -> tuple[list[Own], list[HarnessTasks]]:
    """Return the tasks of configs/tasks, and the harnesses of these tasks and of the defaults.

    Raises Failure.
    """
    tasks, specs, representatives = environments(config)
    harnesses: dict[str, HarnessTasks] = {}
    for env in sorted(set(representatives.values())):
        spec = specs[env]
        name = spec["requirements"][0].replace("[api]", "").replace("==", " ")
        harnesses[env] = HarnessTasks(name, env, listed(env, spec))
    indexed = {
        env: {row["name"]: row for row in harness.rows} for env, harness in harnesses.items()
    }
    ours = []
    for name, task in sorted(tasks.items()):
        env = representatives[task["environment"]]
        by_name: Mapping[str, Row] = indexed[env]
        if folder := task["include_path"]:
            more = listed(env, specs[env], folder)
            by_name = {**by_name, **{row["name"]: row for row in more}}
        ours.append(own(name, task, by_name))
    return ours, list(harnesses.values())


def _texts(row: Row) -> Iterator[str]:
    for key in SEARCHED:
        value = row.get(key)
        for text in value if isinstance(value, list) else [value]:
            if text:
                yield str(text).lower()


def matches(row: Row, words: Sequence[str]) -> bool:
    """Return whether each word is in some text of a row.

    A word with *, ? or [ is a pattern for a whole text.
    """
    texts = list(_texts(row))

    def occurs(word: str) -> bool:
        if set("*?[") & set(word):
            return any(fnmatch.fnmatchcase(text, word) for text in texts)
        return any(word in text for text in texts)

    return all(occurs(word.lower()) for word in words)
