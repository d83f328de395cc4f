"""Expands only the configs that changed since the last plan."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchy.config import file_reader, loader, option_files
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.file_reader import Source
from benchy.config.yaml_file import Document
from benchy.core import files, paths
from benchy.core.specs import ServerSpec, read_server
from benchy.display import activity
from benchy.plan import plan_cache, planner
from benchy.plan.environment_specs import Surroundings
from benchy.plan.plan import Plan


def expand_kept(
    base: loader.ConfigLoader, around: Surroundings, limit: int | None, directory: Path
) -> tuple[Plan, Callable[[], None]]:
    """Return the plan of all configs, and a function that keeps it for the next plan.

    Configs that have not changed since the last plan in this directory are taken from there. Call
    the function once the plan is saved. Raise ConfigError with all mistakes in all files.
    """
    listing = base.files()
    if base.mistakes or listing.mistakes:
        planner.checked(base, listing, around)
    documents = dict(base.documents)
    config = replace(base.configuration(listing), documents=documents)
    knobs = [str(around.root), limit, around.fallback, around.failures, base.knobs]
    code = paths.CODE.glob("*/*.py")
    same = plan_cache.base([*base.inputs, *code, around.root / "uv.lock"], knobs)
    memory = plan_cache.Kept(directory / "kept.json", same)
    plan, fresh = planner.empty(config, limit), {}
    read: list[loader.ModelFile] = []
    for path in listing.files:
        name = file_reader.shown(path, base.root)
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            entry = memory.get(name, text)
            if entry and _recall(plan, entry, {}, memory, config, around):
                read.append(loader.ModelFile(Source(path)))
                continue
            fresh[name] = text
        source = file_reader.read(path, base.root)
        with contextlib.suppress(OSError):
            if fresh.get(name) != path.read_bytes():
                fresh.pop(name, None)  # edited meanwhile: the document may be of either text
        if document := source.document:
            documents[name] = document
            if found := memory.alike(document):
                entry, moved = found
                digests = {document.file: document.sha256}
                if _recall(plan, entry, moved, memory, config, around, digests):
                    read.append(loader.ModelFile(source))
                    continue
        file = base.merged(source)
        read.append(file)
        for model in file.models:
            for task in model.tasks:
                planner.add_task(plan, task, config, around)
            planner.add_model(plan, model, config, around)
        if any(_asks_the_machine(model) for model in file.models):
            fresh.pop(name, None)
    with planner.all_mistakes(base, read, around, _servers(plan)):
        config = base.configuration(listing, read)

    def keep() -> None:
        models: dict[str, list[str]] = {name: [] for name in fresh}
        for model, facts in plan.models.items():
            if facts["source"] in models:
                models[facts["source"]].append(model)
        for name, text in fresh.items():
            _remember(plan, text, documents[name], models[name], memory)
        memory.save({facts["source"] for facts in plan.models.values()}, plan.environments)

    return planner.finished(plan, config.inputs, around.root), keep


def _servers(plan: Plan) -> Iterator[ServerSpec]:
    """Yield the plan's server specs; for models taken from the last plan, the specs on disk."""
    yield from plan.servers.values()
    for model in sorted(plan.models.keys() - plan.servers.keys()):
        with contextlib.suppress(OSError, ValueError):
            yield read_server(model)


def _asks_the_machine(model: ModelConfig) -> bool:
    """Return whether a model's plan depends on files outside the configuration."""
    if model.facts.make or model.facts.name[0] in "/.~" or model.serving.engine_source:
        return True
    return option_files.paths_in({**model.defaults, **model.options}, model.variables)


def _recall(
    plan: Plan,
    entry: plan_cache.Entry,
    moved: Mapping[str, str],
    memory: plan_cache.Kept,
    config: Configuration,
    around: Surroundings,
    digests: Mapping[str, str] | None = None,
) -> bool:
    """Add the kept entry of a config to the plan; return False if one of its tasks has changed.

    moved: "file:line" in the kept entry → where that line is now. digests: digest of the config's
    file, if its text has changed.
    """
    for task, meant in entry["tasks"].items():
        planner.add_task(plan, task, config, around)
        if plan.meant(task) != meant:
            return False

    def now(places: Mapping[str, str]) -> dict[str, str]:
        return {
            what: ", ".join(moved.get(place, place) for place in there.split(", "))
            for what, there in places.items()
        }

    for model, facts in entry["models"].items():
        sources = now(entry["sources"][model])
        for env in (facts["asked"], facts["environment"]):
            plan.add({**memory.environments[env], "source": sources[env]})
        plan.sources[model] = sources
        if digests:
            spec = read_server(model)
            spec["origin"], spec["where"] = now(spec["origin"]), now(spec["where"])
            spec["inputs"] = {**spec["inputs"], **digests}
            plan.servers[model] = spec
    plan.models.update(entry["models"])
    plan.rules.update(entry["rules"])
    return True


def _remember(
    plan: Plan, text: bytes, document: Document, models: Sequence[str], memory: plan_cache.Kept
) -> None:
    facts = {model: plan.models[model] for model in models}
    tasks = sorted({task for each in facts.values() for task in each["tasks"]})
    written = [str(paths.server_spec(model)) for model in models]
    written += [
        paths.spec_named(m, t, plan.limit) for m, each in facts.items() for t in each["tasks"]
    ]
    made: plan_cache.Expansion = {
        "models": facts,
        "tasks": {task: plan.meant(task) for task in tasks},
        "sources": {model: plan.sources[model] for model in models},
        "rules": {model: plan.rules[model] for model in models},
    }
    memory.put(text, document, written, made)


@contextlib.contextmanager
def alone(writes: bool) -> Iterator[bool]:
    """Let only one process at a time make a plan. Yield whether it may change existing specs.

    It may not while a run is under way, which uses the specs that all plans share, unless it is
    part of that run.
    """
    if not writes or paths.apart():
        yield True
        return
    with files.locked(paths.RUN / "planning"):
        yield bool(activity.run_of()) or not any(activity.runs())


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector.

    A plan is a hundred thousand small objects, all of them in use until it ends.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def renew(directory: Path) -> None:
    """Write the plan of all configs into a directory, for a caller that holds no lock yet."""
    with uncollected(), alone(True) as mine:
        refresh(
            directory, loader.ConfigLoader(paths.ROOT, {"SET": os.environ.get("SET", "")}), mine
        )


def refresh(directory: Path, base: loader.ConfigLoader, mine: bool) -> None:
    """Write the plan of all configs. mine: the value that alone() yields."""
    plan, keep = expand_kept(
        base, planner.surroundings(), planner.limit_knob(base.settings), directory
    )
    if planner.saved(plan, directory, mine):
        keep()
