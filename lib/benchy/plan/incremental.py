"""Expands only the configs that changed since the last plan."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchy.config import file_reader, loader, option_files
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.file_reader import YamlFile
from benchy.config.loader import ModelFile
from benchy.config.yaml_file import Document
from benchy.core import files, paths
from benchy.core.specs import ServerSpec, read_server
from benchy.display import activity
from benchy.plan import plan_cache, planner
from benchy.plan.environment_specs import PlanContext
from benchy.plan.plan import Plan


def expand_incrementally(
    base: loader.ConfigLoader, context: PlanContext, limit: int | None, directory: Path
) -> tuple[Plan, Callable[[], None]]:
    """Return the plan of all configs, and a function that caches it for the next plan.

    Configs that have not changed since the last plan in this directory are taken from there. Call
    the function once the plan is saved. Raise ConfigError with all mistakes in all files.
    """
    listing = base.files()
    if base.mistakes or listing.mistakes:
        planner.checked(base, listing, context)
    documents = dict(base.documents)
    config = replace(base.configuration(listing), documents=documents)
    cache = plan_cache.PlanCache(directory / "kept.json", _base(base, context, limit))
    expansion = _Expansion(base, context, config, documents, cache, planner.empty(config, limit))
    for path in listing.files:
        expansion.add(path)
    with planner.all_mistakes(base, expansion.read, context, _servers(expansion.plan)):
        config = base.configuration(listing, expansion.read)
    return planner.finished(expansion.plan, config.inputs, context.root), expansion.keep


def _base(base: loader.ConfigLoader, context: PlanContext, limit: int | None) -> str:
    """Return a hash of everything that a model's plan depends on besides its own file."""
    knobs = [str(context.root), limit, context.fallback, context.failures, base.knobs]
    code = paths.CODE.glob("*/*.py")
    return plan_cache.base([*base.inputs, *code, context.root / "uv.lock"], knobs)


@dataclass
class _Expansion:
    """A plan that is being made, config by config.

    Attributes:
        base: Reads the configs.
        context: What a plan depends on besides them.
        config: The settings that all models share. It shares `documents`.
        documents: File → its document. The configs' are added as they are read.
        cache: What the last plan made of each config.
        plan: The plan so far.
        read: The configs so far.
        texts: Config → the text that the plan was made from, for configs to cache.
    """

    base: loader.ConfigLoader
    context: PlanContext
    config: Configuration
    documents: dict[str, Document]
    cache: plan_cache.PlanCache
    plan: Plan
    read: list[ModelFile] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Add the models of one config, from the last plan if its meaning is unchanged."""
        name, text = file_reader.shown(path, self.base.root), _content(path)
        if text is not None and self._same_text(name, text):
            self.read.append(ModelFile(YamlFile(path)))
            return
        source = file_reader.read(path, self.base.root)
        if text is not None and text == _content(path):  # else the document may be of either text
            self.texts[name] = text
        if document := source.document:
            self.documents[name] = document
            if self._same_meaning(document):
                self.read.append(ModelFile(source))
                return
        self._expand(name, source)

    def _same_text(self, name: str, text: bytes) -> bool:
        with contextlib.suppress(OSError):
            entry = self.cache.get(name, text)
            return bool(entry and self._recall(entry, {}))
        return False

    def _same_meaning(self, document: Document) -> bool:
        if not (alike := self.cache.alike(document)):
            return False
        entry, moved = alike
        return self._recall(entry, moved, {document.file: document.sha256})

    def _expand(self, name: str, source: YamlFile) -> None:
        file = self.base.merged(source)
        self.read.append(file)
        for model in file.models:
            for task in model.tasks:
                planner.add_task(self.plan, task, self.config, self.context)
            planner.add_model(self.plan, model, self.config, self.context)
        if any(_depends_on_machine(model) for model in file.models):
            self.texts.pop(name, None)

    def _recall(
        self,
        entry: plan_cache.CacheEntry,
        moved: Mapping[str, str],
        digests: Mapping[str, str] | None = None,
    ) -> bool:
        """Add the cached entry of a config to the plan; return False if a task of it has changed.

        moved: "file:line" in the cached entry → where that line is now. digests: digest of the
        config's file, if its text has changed.
        """
        for task, meant in entry["tasks"].items():
            planner.add_task(self.plan, task, self.config, self.context)
            if self.plan.meant(task) != meant:
                return False
        for model, facts in entry["models"].items():
            sources = _moved(entry["sources"][model], moved)
            for env in (facts["asked"], facts["environment"]):
                self.plan.add({**self.cache.environments[env], "source": sources[env]})
            self.plan.sources[model] = sources
            if digests:
                spec = read_server(model)
                spec["origin"] = _moved(spec["origin"], moved)
                spec["where"] = _moved(spec["where"], moved)
                spec["inputs"] = {**spec["inputs"], **digests}
                self.plan.servers[model] = spec
        self.plan.models.update(entry["models"])
        self.plan.rules.update(entry["rules"])
        return True

    def keep(self) -> None:
        """Write what the plan made of each config, for the next plan."""
        models: dict[str, list[str]] = {name: [] for name in self.texts}
        for model, facts in self.plan.models.items():
            if facts["source"] in models:
                models[facts["source"]].append(model)
        for name in self.texts:
            self._remember(name, models[name])
        files = {facts["source"] for facts in self.plan.models.values()}
        self.cache.save(files, self.plan.environments)

    def _remember(self, name: str, models: Sequence[str]) -> None:
        plan = self.plan
        facts = {model: plan.models[model] for model in models}
        tasks = sorted({task for model_entry in facts.values() for task in model_entry["tasks"]})
        written = [str(paths.server_spec(model)) for model in models]
        written += [
            paths.spec_named(model, task, plan.limit)
            for model, model_entry in facts.items()
            for task in model_entry["tasks"]
        ]
        entry: plan_cache.Expansion = {
            "models": facts,
            "tasks": {task: plan.meant(task) for task in tasks},
            "sources": {model: plan.sources[model] for model in models},
            "rules": {model: plan.rules[model] for model in models},
        }
        self.cache.put(self.texts[name], self.documents[name], written, entry)


def _content(path: Path) -> bytes | None:
    """Return the content of a file, None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _moved(places: Mapping[str, str], moved: Mapping[str, str]) -> dict[str, str]:
    """Return places with their lines as they are now. A value lists places, with commas."""
    return {
        key: ", ".join(moved.get(place, place) for place in listed.split(", "))
        for key, listed in places.items()
    }


def _servers(plan: Plan) -> Iterator[ServerSpec]:
    """Yield the plan's server specs; for models taken from the last plan, the specs on disk."""
    yield from plan.servers.values()
    for model in sorted(plan.models.keys() - plan.servers.keys()):
        with contextlib.suppress(OSError, ValueError):
            yield read_server(model)


def _depends_on_machine(model: ModelConfig) -> bool:
    """Return whether a model's plan depends on files outside the configuration."""
    if model.facts.make or model.facts.name[0] in "/.~" or model.serving.engine_source:
        return True
    return option_files.paths_in({**model.defaults, **model.options}, model.variables)


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
    plan, keep = expand_incrementally(
        base, planner.surroundings(), planner.limit_knob(base.settings), directory
    )
    if planner.saved(plan, directory, mine):
        keep()
