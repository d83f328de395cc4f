"""The configuration as a whole: reads configs/, validates it, and merges each model (merge.py).

All mistakes of all files are found before anything is raised: a person mends them in one go.
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
    """Read configs/ under root; raises ConfigError with every mistake.

    only: one model's file, which may lie anywhere; then no other model is read, so that somebody
    else's mistake does not stop it. knobs: SET and TASKS as a person gave them.
    """
    base = ConfigLoader(root, knobs)
    return base.configuration([model for path in base.files(only) for model in base.models(path)])


class ConfigLoader:
    """All of configs/ but the models, and what reads those. Mistakes are kept until `config`."""

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
        folder = self.configs / "launchers"  # older checkouts of configs/ have none
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
        self.inputs = tuple(reader.inputs)  # what a model depends on besides its own file
        self.flawed: list[
            ModelConfig
        ] = []  # what models with mistakes come to, as far as that is known

    def files(self, only: Path | None = None) -> list[Path]:
        """The models' files. Two of one name are a mistake: the first counts."""
        reader = self.reader
        first: dict[str, Path] = {}
        for path in [only] if only else reader.model_files(self.configs):
            if path.stem in first:
                what = f"has the name of {reader.shown(first[path.stem])}"
                hint = "rename one of them: results are kept by this name"
                reader.mistakes.append(Mistake(reader.shown(path), 0, "", what, hint))
                reader.file(path, schema.Model)  # its own mistakes are told at once, too
            first.setdefault(path.stem, path)
        return list(first.values())

    def models(self, path: Path) -> list[ModelConfig]:
        """The models of one file: one, or a matrix's cells; [] where it has mistakes."""
        document = self.reader.read(path)
        return self.models_of(path, document) if document else []

    def models_of(self, path: Path, document: Document) -> list[ModelConfig]:
        """As `models`, of a file that was read."""
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
        """All that was read. Raises ConfigError with every mistake so far."""
        if self.reader.mistakes:
            raise ConfigError(self.reader.mistakes)
        return self.partial(models)

    def partial(self, models: Iterable[ModelConfig]) -> Configuration:
        """What was read, mistakes or not."""
        known, settings = self.known, self.settings or schema.Settings()
        return Configuration(
            settings, known.engines, known.providers, known.tasks, tuple(models),
            tuple(self.reader.inputs), self.reader.documents,
        )  # fmt: skip


def load_engines(root: Path) -> dict[str, schema.Engine]:
    """The engines alone: a mistake in somebody's model stops nobody's environment."""
    reader = Reader(root, {})
    found = reader.engines(root / "configs" / "engines")
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return {name: engine for name, (engine, _) in found.items() if engine}


def load_launcher(root: Path, path: Path) -> schema.Launcher:
    """One launcher. Raises ConfigError."""
    reader = Reader(root, {})
    found, _ = reader.file(path, schema.Launcher)
    if found is None:
        raise ConfigError(reader.mistakes)
    return found


def load_leaderboard(root: Path) -> tuple[schema.Settings, dict[str, schema.Task]]:
    """config.yaml and the task files alone; raises ConfigError with their mistakes, a group's task
    that is in no file among them."""
    reader = Reader(root, {})
    path = root / "configs" / "config.yaml"
    settings = reader.settings(path) or schema.Settings()
    found = {f.stem: reader.file(f, schema.Task)[0] for f in reader.yamls(root / "configs/tasks")}
    reader.check_groups(path, settings, found)
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return settings, {name: task for name, task in found.items() if task}
