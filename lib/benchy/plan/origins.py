"""Finds where each field of a result's spec was written: dotted field → "file:line".

The key "" is the file that decides a field without a line (a default, or a deleted key).

The specs of servers and tasks keep this as `where`. A result's spec does not, because another line
number is no reason to run anything again. bin/why reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from benchy.config.yaml_file import Document, dotted

if TYPE_CHECKING:  # reads the schema
    from benchy.config.configuration import Configuration, ModelConfig

# Keys besides the release that decide which environment serves or runs the harness.
ENVIRONMENT = (
    "transformers_version", "extra_packages", "python", "torch_backend", "cutoff", "index",
    "engine_source",
)  # fmt: skip
HARNESS = ("harness_version", "lm_eval_git", "lm_eval_path", "extra_packages", "harness")


def of_model(model: ModelConfig, config: Configuration) -> dict[str, str]:
    """Return the places of the fields that a model's files decide."""
    own = config.documents.get(model.file, Document(model.file))
    engine = config.documents.get(f"configs/engines/{model.engine_name}.yaml", Document(""))
    environment_places = [model.origin[key] for key in ENVIRONMENT if key in model.origin]
    fields = {
        "": model.file,
        "chat": at(own, "use_chat_completions"),
        "engine.engine": model.origin.get("engine", ""),
        "engine.version": model.origin.get("vllm_version", ""),
        "engine.environment": ", ".join(environment_places),
    }
    for key in ("name", "revision"):
        fields[f"model.{key}"] = at(own, "model", key)
    fields["model.path"] = fields["model.content"] = fields["model.name"]
    fields["model.package"] = at(own, "model", "package")
    for key in ("name", "version", "sha256"):
        fields[f"model.package.{key}"] = at(own, "model", "package", key)
    for key in ("package", "command", "device"):
        fields[f"engine.{key}"] = at(engine, key)
    for key in model.defaults:
        fields[f"options.{key}"] = at(engine, "options", key)
    for key in model.options:
        fields[f"options.{key}"] = model.origin.get(key, "")
    repairs = [("repairs", n, "variables") for n in range(len(model.engine.repairs))]
    for name in model.variables:
        places = [at(engine, *above, name) for above in (("variables",), *repairs)]
        fields[f"variables.{name}"] = next(filter(None, reversed(places)), "")
        if name in model.serving.engine_env:
            fields[f"variables.{name}"] = model.origin.get("engine_env", "")
    return {field: where for field, where in sorted(fields.items()) if where}


def of_task(name: str, config: Configuration) -> dict[str, str]:
    """Return the places of the fields below `task`, which the task's file decides."""
    file = f"configs/tasks/{name}.yaml"
    own = config.documents.get(file, Document(file))
    fields = {dotted(key): f"{file}:{line}" for key, line in own.lines.items()} | {"": file}
    for key in ("max_length", "trust_remote_code"):
        fields[key] = at(own, "defaults", key)
    fields["harness_environment"] = next((fields[key] for key in HARNESS if key in fields), "")
    return {field: where for field, where in sorted(fields.items()) if where}


def at(document: Document, *key: str | int) -> str:
    """Return file:line of a key, "" if it is not written there."""
    return f"{document.file}:{document.lines[key]}" if key in document.lines else ""


def place(where: Mapping[str, str], field: str) -> str:
    """Return the place of a field, or of the nearest field above it."""
    while field and field not in where:
        field = field.rpartition(".")[0]
    return where.get(field, "")


def last(differences: Iterable[tuple[str, object, object]]) -> Iterator[tuple[str, object, object]]:
    """Yield changes of fields, with the edited fields first.

    Leave out changes that follow from others, and yield those that may follow at the end.
    """
    changes = list(differences)
    fields = {field for field, _, _ in changes}
    late = []
    for change in changes:
        field = change[0]
        if field.startswith("engine.") and field != "engine.engine" and "engine.engine" in fields:
            continue
        if field == "engine.environment":
            fallback = any(name.partition(".")[0] == "fallback" for name in fields)
            if "engine.version" not in fields and not fallback:
                late.append(change)
        elif field == "task.harness_environment":
            late.append(change)
        else:
            yield change
    yield from late
