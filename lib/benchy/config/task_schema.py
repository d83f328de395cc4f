"""The keys of configs/tasks/NAME.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from benchy.config.field_types import GitUrl, Name, Release, Requirement, Size, Strict, key


class TaskDefaults(Strict):
    """How the harness runs the task."""

    batch_size: Size | Literal["auto"] | Annotated[str, Field(pattern=r"^[0-9]+$")] = key(
        1, "requests in one batch of the harness; the engine batches by itself", "no"
    )
    log_samples: bool = key(True, "keep each prompt and answer", "no")
    cache_requests: bool = key(True, "keep the built requests until the result is complete", "no")
    trust_remote_code: bool = key(False, "true: run code from the dataset's repository")
    num_concurrent: Size = key(8, "concurrent requests", "no")
    max_length: Size | None = key(
        None,
        "maximum tokens of a prompt and its answer together; absent: the server's max_model_len",
    )


class TaskOutput(Strict):
    """Where the harness writes its own files."""

    subdirectory: Name = key("harness", "directory beside results.json", "no")


class Task(Strict):
    """One task of the leaderboard: a task or group of the harness."""

    name: Name | None = key(None, "a note for readers; benchy names the task after the file", "no")
    description: str = key("", "description on the leaderboard", "no")
    task_name: str | list[str] = key(..., "task or group of the harness, or a list of them")
    metric: Annotated[str, Field(pattern=r"^\S+$")] | None = key(
        None,
        "metric on the leaderboard: acc_norm or exact_match,strict-match; absent: the task's first",
        "no",
    )
    harness: Name = key("lm_eval", "the NAME of configs/engines/NAME.yaml with kind: harness")
    harness_version: Release | None = key(
        None, "release of the harness, in quotes; absent: its default", "lock"
    )
    extra_packages: list[Requirement] = key([], "more requirements to install", "lock")
    lm_eval_path: str | None = key(None, "directory of a fork to use as the harness", "lock")
    lm_eval_git: GitUrl | None = key(
        None, "git URL of a fork to use as the harness, with @REV", "lock"
    )
    include_path: str | None = key(None, "directory with your own task files")
    offline: bool = key(False, "true: all data is local, and the hub is never queried", "no")
    num_fewshot: Annotated[int, Field(ge=0)] | None = key(
        None, "examples in the prompt; absent: the task's own number"
    )
    gen_kwargs: dict[str, Any] = key({}, "generation arguments, which override the task's own")
    seed: int = key(1234, "seed of few-shot examples and sampling")
    tokenizer_backend: Literal["huggingface", "tiktoken", "remote", "none"] = key(
        "huggingface",
        "what counts tokens: the model's tokenizer, tiktoken, the server (remote) or nothing",
    )
    timeout: Size | None = key(None, "seconds for the whole task; absent: no limit", "no")
    stall_timeout: Size = key(3600, "seconds that the harness may run without output", "no")
    request_timeout: Size = key(
        600, "seconds for one request; a request is tried three times", "no"
    )
    defaults: TaskDefaults = key(TaskDefaults(), "how the harness runs the task")
    output: TaskOutput = key(TaskOutput(), "where the harness writes its own files", "no")
