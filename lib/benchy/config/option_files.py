"""Finds the files and folders that a server's options and variables name.

Examples are a chat template, a tokenizer, a draft model and a plugin. Their content can change an
answer, so it is part of what a result was made from, as their names are.

A string counts if it looks like a path and names an existing file, or a folder with a model's
files. Caches, logs, system files and files that benchy makes do not count.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from benchy.core import hashing, paths
from benchy.core.errors import Failure
from benchy.core.specs import FileDigests, ResultSpec, ServerSpec

# A folder counts if it contains one of these; other folders are caches and outputs.
MARKS = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    "adapter_config.json", "params.json", "tekken.json", "chat_template.jinja",
)  # fmt: skip
GENERATED = ("build", "run", "logs", "results", "venvs", ".venv")
SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
# Options whose value is a path or a name on the hub. A value that begins like a path must exist.
PLACES = ("tokenizer", "hf_config_path", "tool_parser_plugin", "reasoning_parser_plugin")
# Options whose value counts if it is an existing file, whatever its place and name.
FILES = ("chat_template", *PLACES)
# What a file was named by → the key of its digest in a meaning.
KINDS: dict[str, Literal["option_files", "variable_files"]] = {
    "options": "option_files",
    "variables": "variable_files",
}
_PATH = re.compile(r"/|\.[A-Za-z]\w*$")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_]\w*)?")
_WHOLE = 64 << 20  # bytes; of larger files: size, first and last MiB
_END = 1 << 20


@dataclass(frozen=True)
class Named:
    """A file or folder that an option or a variable names.

    Attributes:
        kind: "options" or "variables".
        key: the dotted key, starting with the name of the option or variable.
        text: the value as written.
        path: the file or folder.
    """

    kind: str
    key: str
    text: str
    path: Path


def named(
    options: Mapping[str, Any],
    variables: Mapping[str, str],
    neutral: Collection[str] = (),
    root: Path = paths.ROOT,
) -> list[Named]:
    """Return the existing files and folders that options and variables name.

    neutral: options that cannot change an answer. root: the directory in which the server runs.
    """
    code = [root, *(Path(f) for f in variables.get("PYTHONPATH", "").split(os.pathsep) if f)]
    files = []
    for option, value in sorted(options.items()):
        if option not in neutral:
            for key, text in _strings(option, value):
                path = _existing_path(text, root) or _module(text, code)
                if not path and option in FILES and os.path.isfile(root / paths.home(text)):  # noqa: PTH113
                    path = Path(os.path.normpath(root / paths.home(text)))
                if path:
                    files.append(Named("options", key, text, path))
    for name, value in sorted(variables.items()):
        # A folder that a variable names is nearly always a cache or an output.
        output = re.search("LOG|CACHE", name)
        path = None if output else _existing_path(str(value), root, folders=False)
        if path:
            files.append(Named("variables", name, str(value), path))
    return files


def local_wheel(source: str | None, root: Path) -> Path | None:
    """Return the wheel's path if a source is a file on this machine."""
    if source is None or "://" in source:
        return None
    return root / paths.home(source)


def paths_in(options: Mapping[str, Any], variables: Mapping[str, str]) -> bool:
    """Return whether any value looks like a path, whether or not it exists."""
    if any(options.get(option) for option in FILES):
        return True
    strings = (text for mapping in (options, variables) for _, text in _strings("", dict(mapping)))
    return any(
        looks_like_path(text) or (":" in text and _MODULE.fullmatch(text)) for text in strings
    )


def _strings(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, string) for every string in a value. JSON in a string is decoded."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, child in sorted(value.items(), key=lambda item: str(item[0])):
            yield from _strings(f"{key}.{name}", child)
    elif isinstance(value, list):
        for at, child in enumerate(value):
            yield from _strings(f"{key}.{at}", child)


def looks_like_path(text: str) -> bool:
    return len(text) < 4096 and text.isprintable() and bool(_PATH.search(text))


def _existing_path(text: str, root: Path, *, folders: bool = True) -> Path | None:
    if not looks_like_path(text):
        return None
    path = Path(os.path.normpath(root / paths.home(text)))
    inside = path.relative_to(root).parts[:1] if path.is_relative_to(root) else ()
    if any(path.is_relative_to(place) for place in SYSTEM) or set(inside) & set(GENERATED):
        return None
    if os.path.isfile(path):  # noqa: PTH113 - also False for a name that is too long
        return path
    if folders and os.path.isdir(path) and any((path / name).is_file() for name in MARKS):  # noqa: PTH112
        return path
    return None


def _module(text: str, folders: list[Path]) -> Path | None:
    """Return the file of a class that is named as Python imports it: package.module.Class."""
    if not _MODULE.fullmatch(text) or not ("." in text or ":" in text):
        return None
    parts = text.partition(":")[0].split(".")
    for count in range(len(parts), 0, -1):
        for folder in folders:
            file = folder.joinpath(*parts[:count]).with_suffix(".py")
            if file.is_file():
                return file
    return None


def digest(path: Path) -> str:
    """Return a hash of the content of a file or folder."""
    if path.is_dir():
        return hashing.content_of(path)
    stat = path.stat()
    return _file(path, stat.st_size, stat.st_mtime_ns)


@cache
def _file(path: Path, size: int, age: int) -> str:
    if size <= _WHOLE:
        return hashing.sha256(path)
    with path.open("rb") as file:
        first = file.read(_END)
        file.seek(-_END, os.SEEK_END)
        last = file.read(_END)
    return hashing.of_bytes(str(size).encode() + first + last)


def meaning(files: Collection[Named]) -> FileDigests:
    """Return the digests for a server's meaning: option_files and variable_files, key → digest.

    Either is left out if it would be empty.
    """
    out: FileDigests = {}
    for file in files:
        kind = KINDS[file.kind]
        out.setdefault(kind, {})[file.key] = digest(file.path)
    return out


def inputs(files: Collection[Named]) -> Iterator[Path]:
    """Yield the inputs of a plan: the files, and each folder with all files and folders in it."""
    for file in files:
        yield file.path
        if file.path.is_dir():
            for path in sorted(file.path.rglob("*")):
                if not {".git", "__pycache__"} & set(path.parts) and paths.watchable(path):
                    yield path


def refuse_changed(spec: ServerSpec) -> None:
    """Raise Failure if files of a server have changed since the plan was made: the directory of its
    model, and the files that its options and variables name.

    Otherwise results would claim to be made from the planned content.
    """
    planned = spec["meaning"]
    _refuse_changed_model(spec)
    if not {"option_files", "variable_files"} & planned.keys():
        return
    options = {**spec["defaults"], **spec["options"]}
    options = {option: options[option] for option in planned["options"] if option in options}
    files = named(options, spec["variables"])
    now = meaning(files)
    for kind in KINDS.values():
        before, after = planned.get(kind, {}), now.get(kind, {})
        changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
        if changed:
            texts = {file.key: file.text for file in files}
            what = ", ".join(texts.get(key, key) for key in changed)
            raise Failure(
                f"{spec['model']}: {what} has changed since the plan was made", "run it again"
            )


def _refuse_changed_model(spec: ServerSpec) -> None:
    path, before = spec["path"], spec["meaning"]["model"]["content"]
    if not path or before is None or spec["make"] or not Path(path).is_dir():
        return  # preparation.py reports a missing model
    after = hashing.content_of(Path(path))
    # A node of a cluster may lack the git that the plan was made with.
    if before != after and hashing.is_commit(before) == hashing.is_commit(after):
        raise Failure(
            f"{spec['model']}: the files of {path} have changed since the plan was made",
            "run it again",
        )


def text_of(spec: ResultSpec, kind: str, key: str) -> str:
    """Return the value written for a key of option_files or variable_files, "" if unknown.

    spec: a result's spec.
    """
    value: Any = spec["options"] if kind == "option_files" else spec["variables"]
    rest = key
    while rest:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return ""
        if isinstance(value, list):
            head, _, rest = rest.partition(".")
            value = value[int(head)] if head.isdecimal() and int(head) < len(value) else None
            continue
        # A key may contain a dot: take the longest that exists.
        names = [rest[: m.start()] for m in re.finditer(r"\.|$", rest)] if rest else []
        known = [n for n in names if isinstance(value, Mapping) and n in value]
        if not known:
            return ""
        value, rest = value[known[-1]], rest[len(known[-1]) + 1 :]
    return value if isinstance(value, str) else ""
