"""Finds the files that a harness task is made of, by following the harness's own files.

Starts at a task's name and follows the YAML files of `include_path` that define it, their
`include`s, the members of groups and tags, data files, and the Python modules of `!function` with
their imports. YAML counts by its meaning (task_yaml.py). Pure Python; the harness is not run.
Follows lm_eval/tasks/_index.py, _yaml_loader.py and _factory.py (0.4.13).

If a name is not defined in the folder, one of the harness's own tasks may refer to any task that
is, so every definition in the folder counts. If Python code may open files itself, or a task has
images, audio or video, every file in the folder counts.
"""

from __future__ import annotations

import ast
import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchy.config import option_files
from benchy.core import hashing, paths
from benchy.core.specs import TaskMeaning
from benchy.plan.task_code import imported, opens_files
from benchy.plan.task_data import SKIPPED, file_at, files_below, files_of_dataset, matched
from benchy.plan.task_yaml import Function, leaves, load, meaning, strings

MEDIA = ("doc_to_image", "doc_to_audio", "doc_to_video")


@dataclass(frozen=True)
class _Definition:
    """One YAML file with its includes merged. parts: the file and all that it includes."""

    config: dict[Any, Any]
    parts: tuple[Path, ...]


@dataclass
class Followed:
    """The files that a task is made of.

    Attributes:
        yaml: YAML files of the harness's configuration.
        files: other files.
        folders: folders of which every file counts, because it is unknown what their code opens.
        known: YAML files that were read on the way.
    """

    yaml: set[Path] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)
    known: set[Path] = field(default_factory=set)

    def digests(self) -> dict[Path, str]:
        """Return file → digest. Raise OSError.

        The digest of YAML is that of its meaning; of any other file, that of its bytes, or of size
        and both ends if it is large.
        """
        below = {path for folder in self.folders for path in files_below(folder)}
        yaml_files = self.yaml | (self.known & below)
        digests = {path: meaning(path) for path in yaml_files}
        rest = (self.files | below) - yaml_files
        digests |= {path: option_files.digest(path) for path in rest}
        return dict(sorted(digests.items()))


class TaskFolder:
    """The tasks that the YAML files of one folder define. Without a folder it is empty.

    root: the directory in which the harness runs, to which data files are relative.
    """

    def __init__(self, folder: Path | None, root: Path) -> None:
        self.folder, self.root = folder, root
        self.definitions: dict[Path, _Definition | None] = {}
        self.by_name: dict[str, list[Path]] = {}
        listed = sorted(folder.rglob("*.yaml")) if folder else []
        self.indexed = [p for p in listed if p.is_file() and not SKIPPED & set(p.parts)]
        for path in self.indexed:
            if definition := self.definition(path):
                self._index(path, definition)

    def _index(self, path: Path, definition: _Definition) -> None:
        config = definition.config
        # A list of tasks belongs to a group; its tasks are found by their own names.
        own = None if isinstance(config.get("task"), list) else config.get("task")
        listed = [
            task.get("task") for task in _list(config.get("task_list")) if isinstance(task, dict)
        ]
        for name in {*strings([own, listed, config.get("group"), config.get("tag")])}:
            self.by_name.setdefault(name, []).append(path)

    def definition(self, path: Path) -> _Definition | None:
        if path not in self.definitions:
            self.definitions[path] = None  # a file that includes itself cannot be read
            self.definitions[path] = self._read(path)
        return self.definitions[path]

    def _read(self, path: Path) -> _Definition | None:
        try:
            config = load(path)
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            return None
        if not isinstance(config, dict):
            return None
        includes = config.get("include", [])
        merged: dict[Any, Any] = {}
        parts = [path]
        for include in includes if isinstance(includes, list) else [includes]:
            other = Path(os.path.normpath(path.parent / str(include)))
            below = self.definition(other)
            if below is None:
                return None
            merged |= {key: value for key, value in below.config.items() if key != "task_list"}
            parts += below.parts
        merged |= {key: value for key, value in config.items() if key != "include"}
        return _Definition(merged, tuple(parts))

    def follow(self, names: Iterable[str]) -> Followed:
        """Return everything that these tasks, groups, tags and YAML files are made of."""
        walk = _Walk(self)
        for name in names:
            if set(name) & set("*?["):
                for known in fnmatch.filter(self.by_name, name):
                    walk.name(known)
                walk.all()
            else:
                walk.name(name)
        walk.followed.known = {path for path, read in self.definitions.items() if read}
        return walk.followed


class _Walk:
    """Collects the files of one task from a folder."""

    def __init__(self, folder: TaskFolder) -> None:
        self.tasks = folder
        self.followed = Followed()
        self.seen: set[str | Path] = set()

    def name(self, name: str) -> None:
        """Follow a task, a group or a tag by name, or a YAML file by path."""
        if name in self.seen:
            return
        self.seen.add(name)
        matched = self.tasks.by_name.get(name, [])
        for path in matched:
            self.defined(path)
            known = self.tasks.definition(path)  # the name may have been a tag
            if known and isinstance(own := known.config.get("task"), str):
                self.name(own)
        if matched:
            return
        file = file_at(self.tasks.root, name)
        if file and file.suffix == ".yaml":
            self.defined(file)
        else:
            self.all()

    def all(self) -> None:
        """Follow every definition in the folder, and add the YAML files that cannot be read."""
        for path in self.tasks.indexed:
            if self.tasks.definition(path):
                self.defined(path)
            else:
                self.followed.yaml.add(path)

    def defined(self, path: Path) -> None:
        """Follow what a YAML file defines."""
        if path in self.seen:
            return
        self.seen.add(path)
        known = self.tasks.definition(path)
        if known is None:
            self.followed.yaml.add(path)
            self.followed.folders.add(self.tasks.folder or path.parent)
            return
        self.followed.yaml.update(known.parts)
        self.config(known.config, path.parent)

    def config(self, config: dict[Any, Any], folder: Path) -> None:
        """Follow a task or a group. folder: the folder of the file that contains it."""
        if any(config.get(key) for key in MEDIA) or config.get("use_prompt"):
            self.followed.folders.add(self.tasks.folder or folder)
        for member in (*_list(config.get("task")), *_list(config.get("task_list"))):
            self.member(member, folder)
        for value in leaves({k: v for k, v in config.items() if k not in ("task", "task_list")}):
            if isinstance(value, Function):
                self.module(value.text.rpartition(".")[0], value.folder)
            elif isinstance(value, str):
                self.text(value, folder)
        kwargs = config.get("dataset_kwargs")
        data = kwargs if isinstance(kwargs, dict) else {}
        for place in strings([config.get("dataset_path"), data.get("data_dir")]):
            self.followed.files.update(files_of_dataset(self.tasks.root, place))
        for pattern in strings(data.get("data_files")):
            self.followed.files.update(matched(self.tasks.root, data.get("data_dir"), pattern))

    def member(self, member: Any, folder: Path) -> None:
        """Follow a group's member: a name, a name with overrides, a nested group, or a task."""
        if isinstance(member, str):
            self.name(member)
        elif isinstance(member, dict):
            name = member.get("group", member.get("task"))
            inline = member.keys() & {"group", "dataset_path", "custom_dataset", "class"}
            if isinstance(name, str) and (name in self.tasks.by_name or not inline):
                self.name(name)
            self.config(member, folder)

    def text(self, text: str, folder: Path) -> None:
        """Add a string that is the path of a file, relative to root or to its own file."""
        if option_files.looks_like_path(text):
            for base in (self.tasks.root, folder):
                if file := file_at(base, text):
                    self.followed.files.add(file)

    def module(self, dotted: str, folder: Path) -> None:
        """Follow a Python module in a folder or in root; others belong to an environment."""
        if not dotted:
            return
        relative = dotted.replace(".", "/")
        for base in (folder, self.tasks.root):
            for name in (f"{relative}.py", f"{relative}/__init__.py"):
                if file := file_at(base, name):
                    self.python(file)
                    return

    def python(self, file: Path) -> None:
        """Follow the code of a module and of its imports."""
        if file in self.seen:
            return
        self.seen.add(file)
        self.followed.files.add(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            self.followed.folders.add(self.tasks.folder or file.parent)
            return
        if opens_files(tree):
            self.followed.folders.add(self.tasks.folder or file.parent)
        for module in imported(tree):
            self.module(module, file.parent)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.text(node.value, file.parent)
                if "/" in node.value.strip("/"):
                    self.followed.files.update(files_of_dataset(self.tasks.root, node.value))


def hashes(task: TaskMeaning, folder: str | None, root: Path) -> dict[str, str]:
    """Return name → sha256 of each file that a task is made of.

    task: the task's part of a result's spec. folder: its include_path.
    """
    named = {name: root / (folder or "") / name for name in task["files"]}
    named |= {name: root / paths.home(name) for name in task.get("files_elsewhere", ())}
    return {name: option_files.digest(path) for name, path in named.items() if path.is_file()}


def content_of(task: TaskMeaning) -> str:
    """Return a digest of the content of all files of a task, "" if it has none."""
    digests = [task["files"], task.get("files_elsewhere", {})]
    return hashing.digest(digests) if any(digests) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
