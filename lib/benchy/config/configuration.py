"""The configuration as values: the merged models and everything that was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.config import (
    engine_schema,
    launcher_schema,
    model_schema,
    provider_schema,
    settings_schema,
    task_schema,
)
from benchy.config.written import Written
from benchy.config.yaml_file import Document
from benchy.core.errors import Mistake


@dataclass(frozen=True)
class ModelConfig:
    """One model, merged from all layers.

    Attributes:
        options: options of the engine, as written.
        defaults: options from the engine's file that no other layer sets; a release may lack them.
        token_from: the file that sets hf_token.
        set: `SET` as given, without the passwords of URLs.
        provider: the name of the provider's file.
        origin: key → "file:line" that decided it.
        keys: key → its dotted path in that file, such as "vllm.overrides.key".
    """

    name: str
    file: str
    facts: model_schema.ModelFacts
    engine_name: str
    engine: engine_schema.Engine
    serving: provider_schema.Provider
    options: dict[str, Any]
    defaults: dict[str, Any]
    variables: dict[str, str]
    tasks: tuple[str, ...]
    chat: bool
    token_from: str | None
    set: str = ""
    provider: str = ""
    resources: launcher_schema.Resources = field(default_factory=launcher_schema.Resources)
    origin: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def mistake(self, option: str, what: str, hint: str) -> Mistake:
        """Return a mistake in an option, at the place that decided it."""
        return Written(self.file, self.origin, self.keys).mistake(option, what, hint)

    @property
    def pins(self) -> list[int | str] | None:
        """Return the GPUs in cuda_devices, indices as integers, or None if any GPU will do."""
        given = self.serving.cuda_devices
        if given is None or given == "":
            return None
        words = given.split(",") if isinstance(given, str) else given
        parts = [str(word).strip() for word in ([words] if isinstance(words, int) else words)]
        return [int(part) if part.isdecimal() else part for part in parts]

    @property
    def gpus(self) -> int:
        serving = self.serving
        return (
            serving.tensor_parallel_size
            * serving.pipeline_parallel_size
            * serving.data_parallel_size
        )


@dataclass(frozen=True)
class Configuration:
    """Everything that was read.

    Attributes:
        inputs: every file and directory that can change the configuration.
        documents: file → its document, with the line of each key.
    """

    settings: settings_schema.Settings
    engines: dict[str, engine_schema.Engine]
    providers: dict[str, tuple[provider_schema.Provider, Document]]
    tasks: dict[str, task_schema.Task]
    models: tuple[ModelConfig, ...]
    inputs: tuple[Path, ...]
    documents: Mapping[str, Document] = field(default_factory=dict)
