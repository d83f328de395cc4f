"""The kinds of configuration files.

docs/schema/*.json and docs/configuration.md are generated from the classes here (schema_docs.py).
Each kind has its own module, such as provider_schema.py, in which the docstrings of the classes and
the texts of the fields are part of the reference.
"""

from __future__ import annotations

from functools import cache

from benchy.config.engine_schema import Engine
from benchy.config.field_types import Strict
from benchy.config.launcher_schema import Launcher
from benchy.config.model_schema import Model
from benchy.config.provider_schema import Provider
from benchy.config.settings_schema import Settings
from benchy.config.task_schema import Task

FILES: dict[str, type[Strict]] = {
    "config": Settings,
    "engine": Engine,
    "launcher": Launcher,
    "model": Model,
    "provider": Provider,
    "task": Task,
}


@cache
def neutral() -> frozenset[str]:
    """Return the keys of the provider that never change an answer."""
    fields = Provider.model_fields.items()
    more = {name: info.json_schema_extra for name, info in fields}
    return frozenset(n for n, m in more.items() if isinstance(m, dict) and m["affects"] == "no")
