"""The configuration as values: the merged models and everything that was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.config import schema
from benchy.config.yaml_file import Document


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
    facts: schema.ModelFacts
    engine_name: str
    engine: schema.Engine
    serving: schema.Provider
    options: dict[str, Any]
    defaults: dict[str, Any]
    variables: dict[str, str]
    tasks: tuple[str, ...]
    chat: bool
    token_from: str | None
    set: str = ""
    provider: str = ""
    resources: schema.Resources = field(default_factory=schema.Resources)
    origin: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

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

    settings: schema.Settings
    engines: dict[str, schema.Engine]
    providers: dict[str, tuple[schema.Provider, Document]]
    tasks: dict[str, schema.Task]
    models: tuple[ModelConfig, ...]
    inputs: tuple[Path, ...]
    documents: Mapping[str, Document] = field(default_factory=dict)
