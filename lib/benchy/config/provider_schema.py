"""The keys of configs/providers/NAME.yaml, and of a model's overrides."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from benchy.config.field_types import (
    Cutoff,
    Device,
    Devices,
    Indexes,
    Name,
    Release,
    Requirement,
    Size,
    Source,
    Specifier,
    Strict,
    Variables,
    key,
)


class Provider(Strict):
    """How models are served: engine, memory, parallelism.

    One flat mapping: the keys below and any option of the vLLM release, with _ for -.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    engine: Name = key("vllm", "an engine, configs/engines/NAME.yaml")
    engine_env: Variables = key(
        {}, "environment variables of the server; a secret belongs into the environment of make"
    )
    vllm_version: Release | None = key(
        None, "the engine's release, in quotes; absent: the main environment", "lock"
    )
    transformers_version: Release | None = key(
        None,
        "this release of transformers instead of the one that the engine's resolves to",
        "lock",
    )
    engine_source: Source | None = key(
        None,
        "the engine from a git revision (git+https://…@REVISION) or a wheel (its URL or path); with"
        " vllm_version it has to be that release, whose day is the cutoff; else there is none",
        "lock",
    )
    index: Indexes = key(
        [],
        "package indexes of one's own, asked before the machine's; no cutoff holds for them",
        "lock",
    )
    extra_packages: list[Requirement] = key([], "requirements installed beside the engine", "lock")
    python: Specifier | None = key(None, 'Python of the environment, "3.11" or ">=3.10"', "lock")
    torch_backend: Annotated[str, Field(pattern=r"^[a-z0-9.]+$")] | None = key(
        None, "uv's torch backend: auto, cpu, cu128 …", "lock"
    )
    cutoff: Cutoff | None = key(
        None, "packages as of: release (the release's own day), none, or a date", "lock"
    )
    host: str = key(
        "127.0.0.1", "address that the server listens on", "no", pattern=r"^[A-Za-z0-9:][\w.:-]*$"
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = key(
        None,
        "port that the server listens on, where no other of benchy's does; absent: a free one",
        "no",
    )
    tensor_parallel_size: Size = key(1, "GPUs that share each layer")
    pipeline_parallel_size: Size = key(1, "stages of layers, each on GPUs of its own")
    data_parallel_size: Size = key(1, "copies of the model, each on GPUs of its own")
    max_model_len: Size | None = key(None, "context in tokens; absent: the model's own")
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = key(
        None, "share of each GPU's memory that the engine takes", "no"
    )
    kv_cache_memory: Annotated[int, Field(ge=0)] = key(
        0, "bytes for the KV cache (--kv-cache-memory-bytes); 0: what is left", "no"
    )
    enforce_eager: bool = key(False, "no CUDA graphs")
    limit_mm_per_prompt: dict[str, int] | str | None = key(
        None, "images, audios and videos allowed in a prompt"
    )
    multimodal: bool | None = key(None, "false: load and serve the text part alone")
    trust_remote_code: bool = key(False, "run code that the model's repository brings along")
    hf_cache: str | None = key(None, "where the hub's files are kept (HF_HUB_CACHE)", "no")
    hf_token: str | None = key(
        None, "token for gated models; better: HF_TOKEN in the environment", "no"
    )
    startup_timeout: Size = key(1800, "seconds from the server's start to its first answer", "no")
    cuda_devices: Devices | Annotated[int, Field(ge=0)] | list[Device] | None = key(
        None,
        'GPUs to take, "0,1", or by the UUIDs of cards or MIG slices; absent: any that are free',
        "no",
    )
