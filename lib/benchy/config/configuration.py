"""What a configuration comes to, as values: each model merged, and all that was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.config import schema
from benchy.config.yaml_file import Document


@dataclass(frozen=True)
class ModelConfig:
    """One model, merged. options: for the engine, values as written; defaults: options of the
    engine's file that nobody wrote otherwise and that a release may lack. set: SET as given,
    without secrets. provider: the name of its provider's file."""

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
    origin: dict[str, str] = field(default_factory=dict)  # key → "file:line" that decided it
    keys: dict[str, str] = field(default_factory=dict)  # key → "vllm.overrides.key" in that file

    @property
    def pins(self) -> list[int | str] | None:
        """The GPUs of cuda_devices, indices as numbers; None if any will do."""
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
    """All that was read."""

    settings: schema.Settings
    engines: dict[str, schema.Engine]
    providers: dict[str, tuple[schema.Provider, Document]]
    tasks: dict[str, schema.Task]
    models: tuple[ModelConfig, ...]
    inputs: tuple[Path, ...]  # every file and directory that decided anything
    documents: Mapping[str, Document] = field(default_factory=dict)  # file → its keys' lines
