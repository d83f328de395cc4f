"""Reads configs/, validates it and merges each model (merge.py).

All mistakes in all files are collected before an error is raised, so that a user can fix them in
one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchy.config import merge, schema
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.file_reader import Known, Reader
from benchy.config.yaml_file import Document
from benchy.core.errors import ConfigError, Mistake


def load(
    root: Path, only: Path | None = None, knobs: Mapping[str, str] | None = None
) -> Configuration:
    """Read configs/ below root. Raise ConfigError with every mistake.

    only: the file of one model, anywhere on the disk; no other model is read then, so mistakes in
    other models do not matter. knobs: SET and TASKS as the user gave them.
    """
    base = ConfigLoader(root, knobs)
    return base.configuration([model for path in base.files(only) for model in base.models(path)])


class ConfigLoader:
    """Everything in configs/ except the models, and the methods that read those.

    Mistakes are collected until `configuration` raises them.
    """

    def __init__(self, root: Path, knobs: Mapping[str, str] | None = None) -> None:
        self.reader = reader = Reader(root, dict(knobs or {}))
        self.configs = root / "configs"
        self.settings = reader.settings(self.configs / "config.yaml")
        engines = reader.engines(self.configs / "engines")
        providers = {
            f.stem: reader.file(f, schema.Provider)
            for f in reader.yamls(self.configs / "providers")
        }
        tasks = {f.stem: reader.file(f, schema.Task) for f in reader.yamls(self.configs / "tasks")}
        self.known = Known(
            {n: m for n, (m, _) in engines.items() if m},
            {n: (m, d) for n, (m, d) in providers.items() if m},
            {n: m for n, (m, _) in tasks.items() if m},
            {n for n, (m, _) in (engines | providers | tasks).items() if m is None},
        )
        reader.check_references(self.known, engines, providers, tasks)
        reader.check_groups(self.configs / "config.yaml", self.settings, tasks)
        folder = self.configs / "launchers"  # older copies of configs/ lack it
        launchers = {
            f.stem: reader.file(f, schema.Launcher)[0]
            for f in (reader.yamls(folder) if folder.is_dir() else ())
        }
        if self.settings and self.settings.launcher not in ("local", *launchers):
            reader.mistakes.append(
                Mistake(
                    "configs/config.yaml", 0, "launcher",
                    f"there is no launcher {self.settings.launcher!r}",
                    f"known: {', '.join(['local', *sorted(launchers)])}",
                )
            )  # fmt: skip
        self.inputs = tuple(reader.inputs)  # what every model depends on
        self.flawed: list[ModelConfig] = []  # models with mistakes, merged as far as possible

    def files(self, only: Path | None = None) -> list[Path]:
        """Return the models' files. Two files of one name are a mistake; the first one counts."""
        reader = self.reader
        first: dict[str, Path] = {}
        for path in [only] if only else reader.model_files(self.configs):
            if path.stem in first:
                what = f"has the name of {reader.shown(first[path.stem])}"
                hint = "rename one of them: results are kept by this name"
                reader.mistakes.append(Mistake(reader.shown(path), 0, "", what, hint))
                reader.file(path, schema.Model)  # reports its own mistakes too
            first.setdefault(path.stem, path)
        return list(first.values())

    def models(self, path: Path) -> list[ModelConfig]:
        """Return the models of a file: one, or the cells of a matrix; [] if it has mistakes."""
        document = self.reader.read(path)
        return self.models_of(path, document) if document else []

    def models_of(self, path: Path, document: Document) -> list[ModelConfig]:
        """Return the models of a document that was read, as `models` does."""
        before = len(self.reader.mistakes)
        model = self.reader.validated(schema.Model, document.data, document)
        some = {"tasks": list(self.known.tasks)[:1]}
        model = model or self.reader.rest(schema.Model, document.data, some)
        if model is None:
            return []
        cells = merge.cells(self.reader, path.stem, model, document)
        merged = [
            merge.merge(self.reader, name, model, document, cell, self.known)
            for name, cell in cells
        ]
        found = [each for each in merged if each]
        if len(self.reader.mistakes) == before:
            return found
        self.flawed += found
        return []

    def configuration(self, models: Iterable[ModelConfig]) -> Configuration:
        """Return everything that was read. Raise ConfigError with all mistakes so far."""
        if self.reader.mistakes:
            raise ConfigError(self.reader.mistakes)
        return self.partial(models)

    def partial(self, models: Iterable[ModelConfig]) -> Configuration:
        """Return everything that was read, even if it has mistakes."""
        known, settings = self.known, self.settings or schema.Settings()
        return Configuration(
            settings, known.engines, known.providers, known.tasks, tuple(models),
            tuple(self.reader.inputs), self.reader.documents,
        )  # fmt: skip


def load_engines(root: Path) -> dict[str, schema.Engine]:
    """Return the engines without reading anything else. Raise ConfigError.

    A mistake in a model then stops no environment from being built.
    """
    reader = Reader(root, {})
    found = reader.engines(root / "configs" / "engines")
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return {name: engine for name, (engine, _) in found.items() if engine}


def load_launcher(root: Path, path: Path) -> schema.Launcher:
    """Return one launcher. Raise ConfigError."""
    reader = Reader(root, {})
    found, _ = reader.file(path, schema.Launcher)
    if found is None:
        raise ConfigError(reader.mistakes)
    return found


def load_leaderboard(root: Path) -> tuple[schema.Settings, dict[str, schema.Task]]:
    """Return config.yaml and the tasks, without reading anything else.

    Raise ConfigError with their mistakes, including tasks in groups that no file defines.
    """
    reader = Reader(root, {})
    path = root / "configs" / "config.yaml"
    settings = reader.settings(path) or schema.Settings()
    found = {f.stem: reader.file(f, schema.Task)[0] for f in reader.yamls(root / "configs/tasks")}
    reader.check_groups(path, settings, found)
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return settings, {name: task for name, task in found.items() if task}
