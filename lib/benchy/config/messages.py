"""Turns pydantic's validation errors into benchy's mistakes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from benchy.core.text import shorten
from benchy.config import engine_schema, field_types, launcher_schema, misplaced_keys, model_schema, provider_schema, task_schema, yaml_file
from benchy.config.yaml_file import Document, Key
from benchy.core.errors import Mistake
from benchy.core.names import good, near, secret

# pydantic's names of types → benchy's.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
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
    "why": "why: what it mends",
    "versions": 'versions: ">=0.8.0,<0.8.3"',
}
TEMPLATES = {
    model_schema.Model: "model-gpu",
    task_schema.Task: "task",
    engine_schema.Engine: "engine",
    launcher_schema.Launcher: "launcher",
}


def telling(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors that tell the user something new.

    Drop a type error for one branch of a union ("not a list") if the value has an error inside
    another branch. Drop a missing key if the same mapping has a misspelled one.
    """

    def branch(one: ErrorDetails) -> bool:
        location = one["loc"]
        return bool(location) and _is_branch(location[-1]) and one["type"].endswith("_type")

    def inside(one: ErrorDetails, other: ErrorDetails) -> bool:
        above = one["loc"][:-1]
        return other["loc"][: len(above)] == above and not branch(other)

    def misspelt(one: ErrorDetails) -> bool:
        return one["type"] == "missing" and any(
            other["type"] == "extra_forbidden"
            and other["loc"][:-1] == one["loc"][:-1]
            and near(str(other["loc"][-1]), [str(one["loc"][-1])])
            for other in details
        )

    return [
        d
        for d in details
        if not misspelt(d) and not (branch(d) and any(inside(d, o) for o in details))
    ]


def mistake(
    kind: type[field_types.Strict], detail: ErrorDetails, document: Document, at: Key
) -> Mistake:
    """Return one validation error of pydantic as a Mistake: file, line, key, what, hint."""
    location = tuple(p for p in detail["loc"] if not _is_branch(p))
    key: Key = (*at, *location)
    value, code = detail["input"], detail["type"]
    name = str(key[-1]) if key else ""
    shown = _short(document.written.get(key, value) if code != "missing" else None)
    if secret(name) and value != name:  # for a bad name, the input is the name itself
        value, shown = None, "what is written there"
    if code == "extra_forbidden":
        nearest = near(name, _fields(kind, location[:-1]))
        hint = misplaced_keys.home(name, _plain(value), document) or (
            f"did you mean {nearest!r}?" if nearest else _elsewhere(kind, location)
        )
        return Mistake(
            document.file, document.line(key), yaml_file.dotted(key), "unknown key", hint
        )
    if code == "missing":
        return Mistake(
            document.file,
            document.line(key),
            yaml_file.dotted(key),
            "is missing",
            f"write {EXAMPLES.get(name, f'{name}: …')}{_template(kind)}",
        )
    if name.endswith("version") and isinstance(value, int | float) and not isinstance(value, bool):
        written = document.written.get(key, str(value))
        read_as = f", which YAML reads as the number {value}" if str(value) != written else ""
        return Mistake(
            document.file,
            document.line(key),
            yaml_file.dotted(key),
            f"{written} is a number without quotes{read_as}",
            f'write {name}: "{written}"',
        )
    if code.endswith("_type"):
        want = _TYPES.get(code.removesuffix("_type"), code.removesuffix("_type"))
        return Mistake(
            document.file,
            document.line(key),
            yaml_file.dotted(key),
            f"{shown} is not {want}",
            "write the name of a file in configs/tasks; its keys stand there"
            if key[:1] == ("tasks",) and isinstance(value, dict)
            else _type_mend(want, value, name),
        )
    context = detail.get("ctx", {})
    if code == "value_error":
        error = context.get("error")
        what = f"{shown} {detail['msg'] if error is None else error}"
        hint = getattr(error, "hint", "")
        if name == "python":
            hint = 'write python: "3.11" or python: ">=3.10"'
        return Mistake(document.file, document.line(key), yaml_file.dotted(key), what, hint)
    if code == "string_pattern_mismatch":
        return Mistake(
            document.file,
            document.line(key),
            yaml_file.dotted(key),
            f"{shown} has characters that can't stand here",
            _pattern_mend(key, value) or f"it has to match {context.get('pattern')}",
        )
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    message = message.replace("input should be", "should be")
    hint = ""
    if code == "too_short" and isinstance(value, list | dict):
        message, hint = "is empty", f"write {EXAMPLES[name]}" if name in EXAMPLES else ""
    what = f"{shown} {message}"
    return Mistake(document.file, document.line(key), yaml_file.dotted(key), what, hint)


def _elsewhere(kind: type[field_types.Strict], location: Key) -> str:
    """Return a hint for an unknown key that resembles none of the keys allowed there."""
    name, fields = str(location[-1]), _fields(kind, location[:-1])
    if fields == sorted(model_schema.ModelVllm.model_fields):
        if name in provider_schema.Provider.model_fields:
            return f"it belongs in overrides: {{{name}: …}}"
        return f"known here: {', '.join(fields)}; an option of the engine belongs in overrides"
    return f"known here: {', '.join(fields)}"


def _template(kind: type[field_types.Strict]) -> str:
    name = TEMPLATES.get(kind)
    return f"; configs/templates/{name}.yaml shows every key" if name else ""


def _pattern_mend(key: Key, value: Any) -> str:
    if "cuda_devices" in key:
        return 'write cuda_devices: "0"; numbers or UUIDs of nvidia-smi -L, or no key for any GPU'
    stem = str(value).rpartition("/")[2].removesuffix(".yaml")
    if stem != value and good(stem) and key[:1] == ("tasks",):
        return f"did you mean {stem!r}?"
    return ""


def _type_mend(want: str, value: Any, name: str) -> str:
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
    if want == "a text" and isinstance(value, int | float):
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
