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

    engine: Name = key("vllm", "the NAME of configs/engines/NAME.yaml")
    engine_env: Variables = key({}, "environment variables of the server; export secrets instead")
    vllm_version: Release | None = key(
        None, "release of the engine, in quotes; absent: the engine's default", "lock"
    )
    transformers_version: Release | None = key(
        None,
        "release of transformers; absent: the one to which the engine's release resolves",
        "lock",
    )
    engine_source: Source | None = key(
        None,
        "install the engine from a git revision (git+https://…@REVISION) or a wheel (URL or path); "
        "if vllm_version is set, the source must be that release, whose day is the cutoff; if not, "
        "there is no cutoff unless `cutoff` sets one",
        "lock",
    )
    index: Indexes = key(
        [],
        "your own package indexes, queried before the machine's; no cutoff applies to them",
        "lock",
    )
    extra_packages: list[Requirement] = key([], "more requirements to install", "lock")
    python: Specifier | None = key(
        None, 'Python of the environment: "3.11", or a range such as ">=3.10"', "lock"
    )
    torch_backend: Annotated[str, Field(pattern=r"^[a-z0-9.]+$")] | None = key(
        None, "uv's torch backend: auto, cpu, cu128 …", "lock"
    )
    cutoff: Cutoff | None = key(
        None,
        "date as of which packages are resolved: release (the release's own day), none (today), or "
        "a date; absent: the engine's",
        "lock",
    )
    host: str = key(
        "127.0.0.1", "address on which the server listens", "no", pattern=r"^[A-Za-z0-9:][\w.:-]*$"
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = key(
        None,
        "port on which the server listens; absent, or if another of your servers has it: a free "
        "one",
        "no",
    )
    tensor_parallel_size: Size = key(1, "GPUs that share each layer")
    pipeline_parallel_size: Size = key(
        1, "pipeline stages (groups of layers), each on its own GPUs"
    )
    data_parallel_size: Size = key(1, "copies of the model, each on its own GPUs")
    max_model_len: Size | None = key(None, "context in tokens; absent: the model's own")
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = key(
        None, "share of each GPU's memory that the engine uses", "no"
    )
    kv_cache_memory: Annotated[int, Field(ge=0)] = key(
        0,
        "bytes for the KV cache (--kv-cache-memory-bytes); 0: what gpu_memory_utilization leaves",
        "no",
    )
    enforce_eager: bool = key(False, "true: no CUDA graphs")
    limit_mm_per_prompt: dict[str, int] | str | None = key(
        None, "images, audios and videos allowed in a prompt"
    )
    multimodal: bool | None = key(None, "false: load and serve only the text part")
    trust_remote_code: bool = key(False, "true: run code from the model's repository")
    hf_cache: str | None = key(None, "directory of the hub's files (HF_HUB_CACHE)", "no")
    hf_token: str | None = key(
        None, "token for gated models; HF_TOKEN in the environment is safer", "no"
    )
    startup_timeout: Size = key(1800, "seconds from the server's start to its first answer", "no")
    cuda_devices: Devices | Annotated[int, Field(ge=0)] | list[Device] | None = key(
        None,
        'GPUs to use: "0,1", or UUIDs of cards or MIG slices; absent: any free GPUs',
        "no",
    )
