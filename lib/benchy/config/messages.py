"""Turns pydantic's validation errors into benchy's mistakes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails

from benchy.config import (
    engine_schema,
    field_types,
    launcher_schema,
    misplaced_keys,
    model_schema,
    provider_schema,
    task_schema,
)
from benchy.config.yaml_file import Document, Key
from benchy.core.errors import Mistake
from benchy.core.names import good, near, secret
from benchy.core.text import shorten

# pydantic's names of types → benchy's.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


# Required key → an example; schema of a file → the template that explains it.
EXAMPLES = {
    "model": 'model: {name: "org/name"}',
    "name": 'name: "org/name"',
    "tasks": "tasks: [spanish]",
    "task_name": "task_name: arc_easy",
    "package": "package: vllm",
    "module": "module: vllm",
    "command": 'command: ["srun"]',
    "options": "options: [option_name]",
    "since": 'since: "0.10.0"',
    "use": "use: [option_name]",
    "why": "why: what it fixes",
    "versions": 'versions: ">=0.8.0,<0.8.3"',
}
TEMPLATES = {
    model_schema.Model: "model-gpu",
    task_schema.Task: "task",
    engine_schema.Engine: "engine",
    launcher_schema.Launcher: "launcher",
}


def without_consequences(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors that tell the user something new.

    Drop a type error for one branch of a union ("not a list") if the value has an error inside
    another branch. Drop a missing key if the same mapping has a misspelled one.
    """

    def branch(detail: ErrorDetails) -> bool:
        location = detail["loc"]
        return bool(location) and _is_branch(location[-1]) and detail["type"].endswith("_type")

    def inside(detail: ErrorDetails, other: ErrorDetails) -> bool:
        above = detail["loc"][:-1]
        return other["loc"][: len(above)] == above and not branch(other)

    def misspelt(detail: ErrorDetails) -> bool:
        return detail["type"] == "missing" and any(
            other["type"] == "extra_forbidden"
            and other["loc"][:-1] == detail["loc"][:-1]
            and near(str(other["loc"][-1]), [str(detail["loc"][-1])])
            for other in details
        )

    return [
        d
        for d in details
        if not misspelt(d) and not (branch(d) and any(inside(d, o) for o in details))
    ]


class _Error(NamedTuple):
    """One validation error of pydantic.

    Attributes:
        kind: The schema of the file.
        document: The file.
        key: The path of the key in the file.
        location: The path of the key in `kind`.
        value: What was written, None for a secret.
        shown: What was written, as text for a message.
        detail: pydantic's description.
    """

    kind: type[field_types.Strict]
    document: Document
    key: Key
    location: Key
    value: Any
    shown: str
    detail: ErrorDetails

    @property
    def name(self) -> str:
        return str(self.key[-1]) if self.key else ""


def mistake(
    kind: type[field_types.Strict], detail: ErrorDetails, document: Document, at: Key
) -> Mistake:
    """Return one validation error of pydantic as a Mistake: file, line, key, what, hint."""
    location = tuple(part for part in detail["loc"] if not _is_branch(part))
    key: Key = (*at, *location)
    value, missing = detail["input"], detail["type"] == "missing"
    shown = _short(None if missing else document.written.get(key, value))
    # For a bad name, the input is the name itself.
    if key and secret(str(key[-1])) and value != str(key[-1]):
        value, shown = None, "the value"
    what, hint = _explained(_Error(kind, document, key, location, value, shown, detail))
    return document.mistake(key, what, hint)


def _explained(error: _Error) -> tuple[str, str]:
    """Return what is wrong, and a hint."""
    code, value = error.detail["type"], error.value
    if code == "extra_forbidden":
        return "unknown key", _unknown_key(error)
    if code == "missing":
        example = EXAMPLES.get(error.name, f"{error.name}: …")
        return "is missing", f"write {example}{_template(error.kind)}"
    if (
        error.name.endswith("version")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ):
        return _unquoted_version(error)
    if code.endswith("_type"):
        want = _TYPES.get(code.removesuffix("_type"), code.removesuffix("_type"))
        if error.key[:1] == ("tasks",) and isinstance(value, dict):
            hint = "write the name of a file in configs/tasks; its keys belong there"
        else:
            hint = _type_hint(want, value, error.name)
        return f"{error.shown} is not {want}", hint
    if code == "value_error":
        return _unfit(error)
    if code == "string_pattern_mismatch":
        pattern = error.detail.get("ctx", {}).get("pattern")
        hint = _pattern_hint(error.key, value) or f"it must match {pattern}"
        return f"{error.shown} has invalid characters", hint
    if code == "too_short" and isinstance(value, list | dict):
        hint = f"write {EXAMPLES[error.name]}" if error.name in EXAMPLES else ""
        return f"{error.shown} is empty", hint
    message = error.detail["msg"][:1].lower() + error.detail["msg"][1:]
    return f"{error.shown} {message.replace('input should be', 'should be')}", ""


def _unknown_key(error: _Error) -> str:
    if hint := misplaced_keys.home(error.name, _plain(error.value), error.document):
        return hint
    if nearest := near(error.name, _fields(error.kind, error.location[:-1])):
        return f"did you mean {nearest!r}?"
    return _elsewhere(error.kind, error.location)


def _unquoted_version(error: _Error) -> tuple[str, str]:
    """Return the mistake for 0.10 without quotes, which YAML reads as 0.1."""
    written = error.document.written.get(error.key, str(error.value))
    read_as = (
        "" if str(error.value) == written else f", which YAML reads as the number {error.value}"
    )
    return f"{written} is a number without quotes{read_as}", f'write {error.name}: "{written}"'


def _unfit(error: _Error) -> tuple[str, str]:
    """Return the mistake for a value that a validator of field_types.py refuses."""
    cause = error.detail.get("ctx", {}).get("error")
    hint = getattr(cause, "hint", "")
    if error.name == "python":
        hint = 'write python: "3.11" or python: ">=3.10"'
    return f"{error.shown} {error.detail['msg'] if cause is None else cause}", hint


def _elsewhere(kind: type[field_types.Strict], location: Key) -> str:
    """Return a hint for an unknown key that resembles none of the keys allowed there."""
    name, fields = str(location[-1]), _fields(kind, location[:-1])
    if fields == sorted(model_schema.ModelVllm.model_fields):
        if name in provider_schema.Provider.model_fields:
            return f"it belongs in overrides: {{{name}: …}}"
        return f"known keys: {', '.join(fields)}; engine options belong in overrides"
    return f"known keys: {', '.join(fields)}"


def _template(kind: type[field_types.Strict]) -> str:
    name = TEMPLATES.get(kind)
    return f"; configs/templates/{name}.yaml shows every key" if name else ""


def _pattern_hint(key: Key, value: Any) -> str:
    if "cuda_devices" in key:
        return 'write cuda_devices: "0"; numbers or UUIDs of nvidia-smi -L, or no key for any GPU'
    stem = str(value).rpartition("/")[2].removesuffix(".yaml")
    if stem != value and good(stem) and key[:1] == ("tasks",):
        return f"did you mean {stem!r}?"
    return ""


def _type_hint(want: str, value: Any, name: str) -> str:
    if want == "a list":
        if not isinstance(value, str):
            return "write [one, two]"
        items = [f'"{hidden(item)}"' for item in re.split(r"\s*,\s*", value) if item]
        return f"write {name}: [{', '.join(items)}]"
    if name == "model" and isinstance(value, str):
        return f'write model: {{name: "{hidden(value)}"}}'
    if value is None and name in EXAMPLES:
        return f"write {EXAMPLES[name]}"
    if want == "a mapping" and name == "gen_kwargs" and isinstance(value, str):
        split = (pair.partition("=") for pair in re.split(r"[\s,]+", value) if "=" in pair)
        pairs = [f"{key}: {text}" for key, _, text in split]
        return f"write {name}: {{{', '.join(pairs) or 'temperature: 0'}}}"
    if isinstance(value, str) and want in ("a whole number", "a number", "true or false"):
        return (
            f"write {name}: {value} without quotes"
            if re.fullmatch(r"[\d.]+|true|false", value)
            else f"write {want}"
        )
    if want == "text" and isinstance(value, int | float):
        return f'put it in quotes: {name}: "{value}"'
    return f"write {want}"


def _is_branch(part: str | int) -> bool:
    """Return whether a part of pydantic's path is a union branch or validator, not a key."""
    return isinstance(part, str) and bool(
        re.match(
            r"^(\[key\]$|function-|constrained-|literal\[|list\[|dict\[|str$|int$|float$|bool$)",
            part,
        )
    )


def _fields(kind: type[Any], path: Key) -> list[str]:
    for part in path:
        field_ = kind.model_fields.get(str(part)) if hasattr(kind, "model_fields") else None
        if field_ is None:
            return []
        annotation: Any = field_.annotation
        inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        kind = inner[0] if inner else annotation
    return sorted(getattr(kind, "model_fields", {}))


def hidden(text: str) -> str:
    """Mask passwords and tokens in URLs."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _plain(value: Any) -> Any:
    return hidden(value) if isinstance(value, str) else value


def _short(value: Any) -> str:
    return shorten(hidden(repr(value) if isinstance(value, str) else str(value)), 60)
