"""The keys of configs/tasks/NAME.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from benchy.config.field_types import GitUrl, Name, Release, Requirement, Size, Strict, key


class TaskDefaults(Strict):
    """How the harness runs the task."""

    batch_size: Size | Literal["auto"] | Annotated[str, Field(pattern=r"^[0-9]+$")] = key(
        1, "requests in a batch of the harness; the engine batches by itself", "no"
    )
    log_samples: bool = key(True, "keep each prompt and answer", "no")
    cache_requests: bool = key(True, "keep the built requests until the result is whole", "no")
    trust_remote_code: bool = key(False, "run code that the data set brings along")
    num_concurrent: Size = key(8, "requests under way at once", "no")
    max_length: Size | None = key(None, "longest prompt in tokens; absent: the server's")


class TaskOutput(Strict):
    """Where the harness writes its own files."""

    subdirectory: Name = key("harness", "folder beside results.json", "no")


class Task(Strict):
    """One task of the leaderboard: a task or group of the harness."""

    name: Name | None = key(None, "for reading only: the file's name is the task's", "no")
    description: str = key("", "for the leaderboard", "no")
    task_name: str | list[str] = key(..., "task or group of the harness, or a list of them")
    metric: Annotated[str, Field(pattern=r"^\S+$")] | None = key(
        None,
        "metric for the leaderboard, acc_norm or exact_match,strict-match; absent: its first",
        "no",
    )
    harness: Name = key("lm_eval", "configs/engines/NAME.yaml of the kind harness")
    harness_version: Release | None = key(None, "its release; absent: the default", "lock")
    extra_packages: list[Requirement] = key([], "requirements beside the harness", "lock")
    lm_eval_path: str | None = key(None, "a checkout of a fork to use as the harness", "lock")
    lm_eval_git: GitUrl | None = key(None, "a git URL of a fork, with @REV", "lock")
    include_path: str | None = key(None, "folder with task files of one's own")
    offline: bool = key(False, "the task's data is local: nothing is asked of the hub", "no")
    num_fewshot: Annotated[int, Field(ge=0)] | None = key(None, "examples in the prompt")
    gen_kwargs: dict[str, Any] = key({}, "how answers are generated, over the task's own")
    seed: int = key(1234, "of the harness: few-shot examples and sampling")
    tokenizer_backend: Literal["huggingface", "tiktoken", "remote", "none"] = key(
        "huggingface", "who counts tokens"
    )
    timeout: Size | None = key(None, "seconds for the whole task; absent: no bound", "no")
    stall_timeout: Size = key(3600, "seconds in which the harness says nothing at all", "no")
    request_timeout: Size = key(600, "seconds for one request; it is tried three times", "no")
    defaults: TaskDefaults = key(TaskDefaults(), "how the harness runs the task")
    output: TaskOutput = key(TaskOutput(), "where the harness's own files go", "no")
