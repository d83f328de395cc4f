"""Lists and reads the files of configs/. Returns what it read together with the mistakes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from benchy.config import validation, yaml_file
from benchy.config.field_types import Strict
from benchy.config.yaml_file import Document
from benchy.core import paths
from benchy.core.errors import ConfigError, Mistake
from benchy.core.names import MOST, NO_MODELS, good

Kind = TypeVar("Kind", bound=Strict)


class Listing(NamedTuple):
    """The YAML files in some folders.

    Attributes:
        files: The files whose names are valid, sorted within each folder.
        folders: The folders that were listed.
        mistakes: Missing folders and invalid names.
    """

    files: Sequence[Path] = ()
    folders: Sequence[Path] = ()
    mistakes: Sequence[Mistake] = ()


class YamlFile(NamedTuple):
    """One file as YAML. document: None if it could not be read."""

    path: Path
    document: Document | None = None
    mistakes: Sequence[Mistake] = ()


@dataclass(frozen=True)
class ConfigFile(Generic[Kind]):
    """One file, validated. value: None if it has mistakes."""

    source: YamlFile
    document: Document
    value: Kind | None
    mistakes: Sequence[Mistake]

    @property
    def inputs(self) -> list[Path]:
        return [self.source.path]

    @property
    def documents(self) -> list[Document]:
        return [self.document] if self.source.document else []


@dataclass(frozen=True)
class ConfigFolder(Generic[Kind]):
    """All files of one kind, by name."""

    listing: Listing = field(default_factory=Listing)
    files: Mapping[str, ConfigFile[Kind]] = field(default_factory=dict)

    @property
    def mistakes(self) -> list[Mistake]:
        of_files = (mistake for file in self.files.values() for mistake in file.mistakes)
        return [*self.listing.mistakes, *of_files]

    @property
    def inputs(self) -> list[Path]:
        return [*self.listing.folders, *(file.source.path for file in self.files.values())]

    @property
    def documents(self) -> list[Document]:
        return [file.document for file in self.files.values() if file.source.document]

    @property
    def valid(self) -> dict[str, Kind]:
        """The values of the files without mistakes."""
        return {name: file.value for name, file in self.files.items() if file.value}

    @property
    def broken(self) -> set[str]:
        """The names of the files with mistakes."""
        return {name for name, file in self.files.items() if file.value is None}


def shown(path: Path, root: Path) -> str:
    """Return a path as messages and rules show it: relative to the root if it is below it."""
    return str(path).removeprefix(f"{root}/")


def list_folder(folder: Path, root: Path) -> Listing:
    """Return the YAML files of a folder. A name that Make cannot use is a mistake."""
    if not folder.is_dir():
        return Listing(mistakes=[Mistake(shown(folder, root), 0, "", "is missing")])
    files, mistakes = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix not in (".yaml", ".yml"):
            continue
        if wrong := _wrong_name(path, root):
            mistakes.append(wrong)
        elif path.suffix == ".yml":
            mistakes.append(Mistake(shown(path, root), 0, "", "ends in .yml", "rename it to .yaml"))
        else:
            files.append(path)
    return Listing(files, [folder], mistakes)


def list_models(configs: Path, root: Path) -> Listing:
    """Return the files of all models: those directly in configs/ and in its folders of models."""
    listings = [list_folder(configs, root)]
    for folder in sorted(configs.iterdir()):
        if not folder.is_dir() or folder.name in NO_MODELS or folder.name[0] == ".":
            continue
        if paths.watchable(folder):
            listings.append(list_folder(folder, root))
        else:
            mistake = Mistake(shown(folder, root), 0, "", "has an invalid name", "rename it")
            listings.append(Listing((), (), [mistake]))
    settings = configs / "config.yaml"
    return Listing(
        [path for listing in listings for path in listing.files if path != settings],
        [folder for listing in listings for folder in listing.folders],
        [mistake for listing in listings for mistake in listing.mistakes],
    )


def _wrong_name(path: Path, root: Path) -> Mistake | None:
    name = shown(path, root)
    if not good(path.stem):
        what = "has an invalid name"
        hint = f"use at most {MOST} letters, digits and . _ + -, and begin with a letter or digit"
        return Mistake(name, 0, "", what, hint)
    if not name.isprintable():
        what = "is in a folder with an invalid name"
        return Mistake(name, 0, "", what, "rename the folder")
    return None


def read(path: Path, root: Path) -> YamlFile:
    if wrong := _wrong_name(path, root):
        return YamlFile(path, None, [wrong])
    try:
        return YamlFile(path, yaml_file.read(path, shown(path, root)))
    except ConfigError as error:
        return YamlFile(path, None, error.mistakes)


def read_file(path: Path, kind: type[Kind], root: Path) -> ConfigFile[Kind]:
    source = read(path, root)
    if source.document is None:
        return ConfigFile(source, Document(shown(path, root)), None, source.mistakes)
    checked = validation.validated(kind, source.document.data, source.document)
    return ConfigFile(source, source.document, checked.value, checked.mistakes)


def read_folder(folder: Path, kind: type[Kind], root: Path) -> ConfigFolder[Kind]:
    listing = list_folder(folder, root)
    return ConfigFolder(listing, {path.stem: read_file(path, kind, root) for path in listing.files})
