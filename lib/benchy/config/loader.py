"""Reads configs/, validates it and merges each model (merge.py).

All mistakes in all files are collected before an error is raised, so that a user can fix them in
one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchy.config import file_reader, matrix, merge, option_files, references, validation
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.engine_schema import Engine
from benchy.config.file_reader import ConfigFile, ConfigFolder, Listing, YamlFile
from benchy.config.launcher_schema import Launcher
from benchy.config.model_schema import Model
from benchy.config.provider_schema import Provider
from benchy.config.references import KnownNames
from benchy.config.settings_schema import Settings
from benchy.config.task_schema import Task
from benchy.config.yaml_file import Document
from benchy.core.errors import ConfigError, Mistake

NO_FILES = Listing()


class ModelFile(NamedTuple):
    """The file of a model, read and merged.

    Attributes:
        source: The file.
        merged: The model, or the cells of its matrix, as far as their mistakes allow.
        mistakes: Everything wrong with the file and its models.
    """

    source: YamlFile
    merged: Sequence[ModelConfig] = ()
    mistakes: Sequence[Mistake] = ()

    @property
    def models(self) -> Sequence[ModelConfig]:
        """The models; none if the file has mistakes."""
        return () if self.mistakes else self.merged

    @property
    def flawed(self) -> Sequence[ModelConfig]:
        """The models if the file has mistakes."""
        return self.merged if self.mistakes else ()

    def inputs(self, root: Path) -> list[Path]:
        """Return the file and the local wheels that it names."""
        sources = (model.serving.engine_source for model in self.merged)
        wheels = (option_files.local_wheel(source, root) for source in sources)
        return [self.source.path, *filter(None, wheels)]


def load(
    root: Path, only: Path | None = None, knobs: Mapping[str, str] | None = None
) -> Configuration:
    """Read configs/ below root. Raise ConfigError with every mistake.

    only: the file of one model, anywhere on the disk; no other model is read then, so mistakes in
    other models do not matter. knobs: SET and TASKS as the user gave them.
    """
    base = ConfigLoader(root, knobs)
    listing = base.files(only)
    return base.configuration(listing, [base.read(path) for path in listing.files])


class ConfigLoader:
    """Everything in configs/ except the models, and the methods that read those.

    Attributes:
        known: The engines, providers and tasks.
        settings: config.yaml; None if it has mistakes.
        documents: File, as shown in messages → its document.
        inputs: Every file and directory that was read.
        mistakes: Everything wrong with these files.
    """

    def __init__(self, root: Path, knobs: Mapping[str, str] | None = None) -> None:
        self.root, self.knobs = root, dict(knobs or {})
        self.configs = configs = root / "configs"
        settings = _settings(configs / "config.yaml", root)
        engines = _engines(configs / "engines", root)
        providers = file_reader.read_folder(configs / "providers", Provider, root)
        tasks = file_reader.read_folder(configs / "tasks", Task, root)
        launchers: ConfigFolder[Launcher] = ConfigFolder()
        if (configs / "launchers").is_dir():  # older copies of configs/ lack it
            launchers = file_reader.read_folder(configs / "launchers", Launcher, root)
        self.settings = settings.value
        self.known = KnownNames(
            engines.valid,
            {
                name: (value, providers.files[name].document)
                for name, value in providers.valid.items()
            },
            tasks.valid,
            engines.broken | providers.broken | tasks.broken,
        )
        parts: list[ConfigFile[Any] | ConfigFolder[Any]] = [
            settings,
            engines,
            providers,
            tasks,
            launchers,
        ]
        self.documents = {document.file: document for part in parts for document in part.documents}
        # What every model depends on.
        self.inputs = [path for part in parts for path in part.inputs]
        self.mistakes = [
            *(mistake for part in parts for mistake in part.mistakes),
            *references.of_engines(engines),
            *references.of_providers(providers, self.known),
            *references.of_tasks(tasks, self.known, root),
            *references.of_settings(settings, tasks.files, launchers.files),
        ]

    def files(self, only: Path | None = None) -> Listing:
        """Return the models' files. Two files of one name are a mistake; the first one counts."""
        listing = Listing([only]) if only else file_reader.list_models(self.configs, self.root)
        first: dict[str, Path] = {}
        mistakes = [*listing.mistakes]
        for path in listing.files:
            if path.stem in first:
                what = f"has the name of {file_reader.shown(first[path.stem], self.root)}"
                hint = "rename one of them: results are kept by this name"
                name = file_reader.shown(path, self.root)
                own = file_reader.read_file(path, Model, self.root).mistakes
                mistakes += [Mistake(name, 0, "", what, hint), *own]
            first.setdefault(path.stem, path)
        return Listing([*first.values()], listing.folders, mistakes)

    def read(self, path: Path) -> ModelFile:
        """Return the models of a file: one, or the cells of a matrix."""
        return self.merged(file_reader.read(path, self.root))

    def merged(self, source: YamlFile) -> ModelFile:
        """Return the models of a file that was read."""
        document = source.document
        if document is None:
            return ModelFile(source, (), source.mistakes)
        checked = validation.validated(Model, document.data, document)
        instead = {"tasks": [*self.known.tasks][:1]}
        model = checked.value or validation.salvaged(Model, document.data, instead)
        if model is None:
            return ModelFile(source, (), checked.mistakes)
        set_ = self.knobs.get("SET", "")
        shared = merge.Shared(self.root, self.known, self.documents, set_)
        cells = matrix.checked_cells(source.path.stem, model, document, set_)
        merged = [
            merge.merge(merge.WrittenModel(name, model, document, cell), shared)
            for name, cell in cells.value
        ]
        return ModelFile(
            source,
            [cell.value for cell in merged if cell.value],
            [*checked.mistakes, *cells.mistakes, *(m for cell in merged for m in cell.mistakes)],
        )

    def configuration(
        self, listing: Listing = NO_FILES, read: Iterable[ModelFile] = ()
    ) -> Configuration:
        """Return everything that was read. Raise ConfigError with every mistake in it."""
        read = [*read]
        mistakes = [*self.mistakes, *listing.mistakes, *(m for file in read for m in file.mistakes)]
        if mistakes:
            raise ConfigError(mistakes)
        return self.partial(listing, read)

    def partial(self, listing: Listing = NO_FILES, read: Sequence[ModelFile] = ()) -> Configuration:
        """Return everything that was read, even if it has mistakes."""
        own = (file.source.document for file in read if file.source.document)
        return Configuration(
            self.settings or Settings(),
            dict(self.known.engines),
            dict(self.known.providers),
            dict(self.known.tasks),
            tuple(model for file in read for model in file.models),
            (
                *self.inputs,
                *listing.folders,
                *(path for file in read for path in file.inputs(self.root)),
            ),
            {**self.documents, **{document.file: document for document in own}},
        )


def _settings(path: Path, root: Path) -> ConfigFile[Settings]:
    if path.exists():
        return file_reader.read_file(path, Settings, root)
    return ConfigFile(
        YamlFile(path.parent), Document(file_reader.shown(path, root)), Settings(), ()
    )


def _engines(folder: Path, root: Path) -> ConfigFolder[Engine]:
    engines = file_reader.read_folder(folder, Engine, root)
    return ConfigFolder(engines.listing, references.with_like(engines.files))


def load_engines(root: Path) -> dict[str, Engine]:
    """Return the engines without reading anything else. Raise ConfigError.

    A mistake in a model then stops no environment from being built.
    """
    engines = _engines(root / "configs/engines", root)
    if engines.mistakes:
        raise ConfigError(engines.mistakes)
    return engines.valid


def load_launcher(root: Path, path: Path) -> Launcher:
    """Return one launcher. Raise ConfigError."""
    file = file_reader.read_file(path, Launcher, root)
    if file.value is None:
        raise ConfigError(file.mistakes)
    return file.value


def load_leaderboard(root: Path) -> tuple[Settings, dict[str, Task]]:
    """Return config.yaml and the tasks, without reading anything else.

    Raise ConfigError with their mistakes, including tasks in groups that no file defines.
    """
    settings = _settings(root / "configs/config.yaml", root)
    tasks = file_reader.read_folder(root / "configs/tasks", Task, root)
    mistakes = [*settings.mistakes, *tasks.mistakes]
    if settings.value:
        mistakes += references.of_groups(settings.value, settings.document, tasks.files)
    if mistakes or settings.value is None:
        raise ConfigError(mistakes)
    return settings.value, tasks.valid
