"""The keys of a model's file, such as configs/single_card/NAME.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from benchy.config.field_types import Name, Strict, key
from benchy.config.launcher_schema import Resources


class ModelFacts(Strict):
    """The model."""

    name: Annotated[str, Field(pattern=r"^[^\s-](.*\S)?$")] = key(
        ..., "its name on the hub (org/name), or a directory"
    )
    revision: Annotated[str, Field(pattern=r"^[\w.][\w./-]*$")] | None = key(
        None, "commit, tag or branch on the hub; absent: the newest"
    )
    make: Literal["tiny"] | None = key(
        None, "benchy makes the model itself: tiny, random weights, for trying things out"
    )


class ModelVllm(Strict):
    """How the model is served."""

    provider_config: Name = key(
        "vllm_single_card", "a provider, configs/providers/NAME.yaml", "yes"
    )
    overrides: dict[str, Any] = key(
        {}, "any key of the provider, or any option of that vLLM release"
    )


class Model(Strict):
    """One model: configs/single_card/NAME.yaml, or any configs/FOLDER/NAME.yaml."""

    model: ModelFacts = key(..., "which model")
    vllm: ModelVllm = key(ModelVllm(), "how it is served")
    tasks: list[Name] = key(..., "tasks, configs/tasks/NAME.yaml", min_length=1)
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = key(
        {},
        "keys as in overrides, each with a list of values; each combination has its own results, "
        "named CONFIG@VALUES",
    )
    use_chat_completions: bool = key(
        False, "send the tasks to the chat endpoint, through the model's chat template"
    )
    resources: Resources = key(
        Resources(), "what a launcher asks for, over `slurm` of config.yaml", "no"
    )
