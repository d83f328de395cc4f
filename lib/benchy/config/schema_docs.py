"""Generates editor schemas and reference pages from config/schema.py and core/knob_table.py.

docs/schema/<kind>.schema.json completes and checks configuration files in an editor (each shipped
file names its schema in its first line). docs/configuration.md and docs/knobs.md are the reference.
`bin/schema` writes them; `bin/schema --check` fails if they are out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchy.config import field_types, schema
from benchy.core import knob_table

DOCS = Path("docs")
WHERE = {
    "config": "configs/config.yaml",
    "engine": "configs/engines/NAME.yaml",
    "launcher": "configs/launchers/NAME.yaml",
    "model": "configs/single_card/NAME.yaml, or configs/ANY_FOLDER/NAME.yaml",
    "provider": "configs/providers/NAME.yaml",
    "task": "configs/tasks/NAME.yaml",
}
RERUNS = {"yes": "yes", "no": "no", "lock": "if the lock changes"}


def json_schema(kind: str) -> str:
    """Return the JSON Schema (draft 2020-12) of one kind of file."""
    document = schema.FILES[kind].model_json_schema()
    return (
        json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **document},
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def reference() -> str:
    """Return docs/configuration.md: each key with its type, default and effect."""
    lines = [
        "# Configuration reference",
        "",
        "`make schema` generates this page from `lib/benchy/config/*_schema.py`. Do not edit it.",
        "",
        "Later sources override earlier ones: the engine's file, the provider, the model's",
        "`overrides`, and `SET` on the command line.",
        "",
        "*Re-runs* says whether a change of the key makes results stale. A change of any other",
        "option of the engine does, unless the engine's file lists the option under `neutral`.",
        "",
    ]
    for kind, model in schema.FILES.items():
        lines += [f"## {WHERE[kind]}", "", " ".join((model.__doc__ or "").split()), ""]
        lines += _table(model, "")
    return "\n".join(lines)


def _table(model: type[field_types.Strict], prefix: str) -> list[str]:
    lines = ["| key | type | default | re-runs | description |", "|---|---|---|---|---|"]
    document = model.model_json_schema()
    inner = []
    for name, info in model.model_fields.items():
        annotation: Any = info.annotation
        nested = [
            a
            for a in [annotation, *getattr(annotation, "__args__", ())]
            if isinstance(a, type) and issubclass(a, field_types.Strict)
        ]
        if nested:
            inner.append((f"{prefix}{name}", nested[0]))
        default = "required" if info.is_required() else _value(info.get_default())
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        kind = _type(document["properties"][name])
        lines.append(
            f"| `{prefix}{name}` | {kind} | {default} | "
            f"{RERUNS[str(extra['affects'])]} | {info.description} |"
        )
    lines.append("")
    for name, kind_ in inner:
        if not name.endswith(("repairs", "gone", "groups")):
            lines += [f"### `{name}`", "", " ".join((kind_.__doc__ or "").split()), ""]
            lines += _table(kind_, f"{name}.")
        else:
            lines += [f"### Each of `{name}`", "", *_table(kind_, "")]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, field_types.Strict):
        return "see below"
    return "" if value is None else f"`{json.dumps(value)}`"


def _type(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        kinds = [_type(part) for part in about["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in about or "enum" in about:
        return " or ".join(f"`{v}`" for v in about.get("enum", [about.get("const")]))
    names = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true/false",
        "array": "list",
        "object": "mapping",
    }
    return names.get(about.get("type", ""), "mapping")


def files() -> dict[Path, str]:
    out = {DOCS / "schema" / f"{kind}.schema.json": json_schema(kind) for kind in schema.FILES}
    return {**out, DOCS / "configuration.md": reference(), DOCS / "knobs.md": knob_table.markdown()}
