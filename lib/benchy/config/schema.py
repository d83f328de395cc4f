"""The keys of each configuration file, with type, default and meaning.

docs/schema/*.json and docs/configuration.md are generated from it (schema_docs.py); the docstrings
of the classes are part of them.

`affects` says whether a change of a field can change an answer: "yes" re-runs results, "no" never
does, "lock" does if the change alters what is installed. Engine options that are not fields here
count as "yes", unless their engine's file lists them under `neutral`.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchy.config import field_types
from benchy.config.field_types import (
    Cutoff,
    Device,
    Devices,
    GitUrl,
    Indexes,
    Name,
    Release,
    Requirement,
    Size,
    Source,
    Specifier,
    Variables,
    Word,
)


def key(
    default: Any, about: str, affects: Literal["yes", "no", "lock"] = "yes", **more: Any
) -> Any:
    """Return a documented field. A required field has the default `...`."""
    return Field(default, description=about, json_schema_extra={"affects": affects}, **more)


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and does not convert values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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


class Resources(Strict):
    """What a launcher requests besides GPUs. The number of GPUs comes from the parallel sizes."""

    partition: Word | None = key(None, "partition", "no")
    account: Word | None = key(None, "account that is charged", "no")
    qos: Word | None = key(None, "quality of service", "no")
    time: Word | None = key(None, "time limit, as Slurm writes it: minutes, or 1-12:00:00", "no")
    memory: Word | None = key(None, "memory of the node, as Slurm writes it: 64G", "no")
    cpus_per_gpu: Size | None = key(
        4, "CPUs for each GPU, for the server and the harness; null: what the site gives", "no"
    )
    cpus: Size | None = key(None, "CPUs of a model that needs no GPU, and of builds", "no")
    constraint: Word | None = key(None, "features that a node must have", "no")
    gpu_option: Literal["gres", "gpus"] = key(
        "gres", "how GPUs are asked for: --gres=gpu:N or --gpus=N", "no"
    )
    gpu_type: Name | None = key(None, "a kind of GPU: --gres=gpu:KIND:N", "no")
    gpus_per_node: Size | None = key(
        None, "GPUs of a node; a model that needs more runs over several", "no"
    )
    scratch: str | None = key(
        None,
        "folder on each node's own disk, $VARIABLES as they are there: environments are copied to "
        "it and serve from it",
        "no",
    )
    nodes: Size | None = key(None, "nodes of a model, where gpus_per_node does not say it", "no")
    extra: list[Word] = key([], "more words for the launcher's command", "no")


class Build(Strict):
    """What a launcher requests to build an environment (BUILD_ON=slurm).

    Absent keys come from what it requests for all models, except memory and GPUs. With a
    `partition` here, only account and cpus do.
    """

    partition: Word | None = key(None, "partition", "no")
    account: Word | None = key(None, "account that is charged", "no")
    qos: Word | None = key(None, "quality of service", "no")
    time: Word | None = key(None, "time limit", "no")
    memory: Word | None = key(None, "memory of the node", "no")
    cpus: Size | None = key(None, "CPUs", "no")
    constraint: Word | None = key(None, "features that a node must have", "no")
    extra: list[Word] = key([], "more words for the launcher's command", "no")


class Slurm(Resources):
    """What a launcher requests besides GPUs, for all models and for builds."""

    build: Build = key(Build(), "what builds ask for", "no")


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


class Repair(Strict):
    """Changes that make the environments of a range of releases work."""

    versions: Specifier = key(..., "releases that it mends", "lock")
    overrides: list[Requirement] = key([], "requirements that replace what anybody asks", "lock")
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    constraints: list[Requirement] = key([], "bounds on what is installed", "lock")
    python: Specifier | None = key(None, "Pythons that the release can have", "lock")
    variables: Variables = key({}, "environment variables of the server", "yes")
    why: str = key(..., "what goes wrong without it", "no")
    link: str = key("", "where that is told", "no")


class Gone(Strict):
    """Options that newer releases of the engine no longer have, and their replacements."""

    options: list[Annotated[str, Field(pattern=field_types.OPTION)]] = key(
        ..., "the options", "no", min_length=1
    )
    since: Release = key(..., "the first release without them", "no")
    back: Release | None = key(None, "the first release that has them again", "no")
    use: list[Annotated[str, Field(pattern=field_types.OPTION)]] = key(
        [], "options that do their work since; none: they are to be left out", "no"
    )
    why: str = key("", "how their work is done now, or why nothing is lost", "no")


class Unsupported(Strict):
    """Options with which the answers would not be what the result says they are."""

    options: list[Annotated[str, Field(pattern=field_types.OPTION)]] = key(
        ..., "the options", "no", min_length=1
    )
    values: list[Any] = key([], "values that are refused; none: all but null and false", "no")
    why: str = key(..., "what would go wrong", "no")
    use: str = key(..., "what to do instead", "no")

    def refuses(self, value: Any) -> bool:
        """Return whether this value of one of the options is refused."""
        if self.values:
            return any(value == each and type(value) is type(each) for each in self.values)
        return value is not None and value is not False and value != []


class Engine(Strict):
    """A program with releases: an engine (vLLM) or a harness (lm-evaluation-harness)."""

    kind: Literal["engine", "harness"] = key("engine", "which of the two", "lock")
    title: str = key("", "its name in messages; absent: the package's", "no")
    package: Requirement = key(..., "its distribution on the index, with extras", "lock")
    module: Name = key(..., "what must import", "no")
    requirements: list[Requirement] = key([], "what its environment needs beside it", "lock")
    device: Literal["gpu", "cpu"] = key("gpu", "what a server of it runs on", "yes")
    main: bool = key(False, "with no release named, the main environment serves", "lock")
    default_version: Release | None = key(None, "the release where none is named", "lock")
    command: list[str] = key([], "arguments after the environment's python", "yes")
    nodes: list[str] = key(
        [],
        "arguments of a server over several nodes; Jinja, of nodes (how many), rank (from 0), "
        "address and port (of the first)",
        "no",
    )
    follower: list[str] = key(
        [], "in place of command on the nodes after the first; Jinja, of model", "no"
    )
    variables: Variables = key({}, "environment variables of the server", "yes")
    caps: Variables = key(
        {},
        "environment variables of the server that lift caps on requests: they admit a "
        "request that it would refuse, and change no answer",
        "no",
    )
    request_options: list[Annotated[str, Field(pattern=field_types.OPTION)]] = key(
        [],
        "names that a request to some release may have; a generation argument of another name is a "
        "mistake; none: not known",
        "no",
    )
    options: dict[str, Any] = key({}, "default options; one that a release lacks is left away")
    neutral: list[str] = key([], "options that cannot change an answer", "no")
    gone: list[Gone] = key([], "options that newer releases no longer have", "no")
    unsupported: list[Unsupported] = key([], "options that no model may set", "no")
    like: Name | None = key(
        None,
        "an engine with the same options: its `neutral`, `gone`, `unsupported`, `caps` and "
        "`request_options` hold here too",
        "no",
    )
    python: Specifier | None = key(None, "Pythons that its environments may have", "lock")
    cutoff: Cutoff = key("release", "packages as of: release, none, or a date", "lock")
    index: Indexes = key([], "package indexes asked before the machine's", "lock")
    slack_days: Annotated[int, Field(ge=0)] = key(7, "days after the release's own", "lock")
    torch_backend: Annotated[str, Field(pattern=r"^[a-z0-9.]+$")] | None = key(
        None, "uv's torch backend: auto, cpu, cu128 …", "lock"
    )
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    repairs: list[Repair] = key([], "what mends ranges of releases", "lock")

    def gone_options(self) -> dict[str, Gone]:
        """Return option → its entry in `gone`."""
        return {option: each for each in self.gone for option in each.options}


class Launcher(Strict):
    """How to run a command elsewhere, query its state and cancel it.

    Each word is a Jinja template; a word that renders empty is left out. Templates can use `model`,
    `gpus`, `nodes` (1, or the number of nodes that the model runs on), `gpus_per_node` (of this
    job), `comment` (identifies the job as part of this run; ends with the model's name), `user`,
    and the other keys of `slurm` and `resources`.
    """

    command: list[str] = key(..., "goes before the command; ends when that has ended", "no")
    environment: Variables = key({}, "variables of the command", "no")
    without: list[str] = key(
        [], "patterns of variables that its programs must not see: of a job that make runs in", "no"
    )
    keeping: list[str] = key([], "patterns of those that stay all the same", "no")
    leases: Literal["job", "node"] = key(
        "node", "job: it has devices of its own; node: jobs on a node share its devices", "no"
    )
    rank: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = key(
        None, "variable that counts the nodes of a job from 0; none: a job has one node", "no"
    )
    queue: list[str] = key(
        [], "prints ID|STATE|NODE|REASON|COMMENT of each job of this user, ended ones too", "no"
    )
    past: list[str] = key(
        [], "prints ID|STATE|NODE|REASON of a job, by its `id`, that the queue has forgotten", "no"
    )
    cancel: list[str] = key([], "calls a job off, whose `id` it knows", "no")
    running: list[str] = key(["RUNNING"], "states of a job that has its GPUs", "no")
    ending: list[str] = key([], "states of a job that is on its way out", "no")
    ended: list[str] = key([], "states of a job that is over", "no")
    by_itself: list[str] = key([], "those of them that leave the reason to what ran in it", "no")
    again: list[str] = key([], "states after which the job is tried once more", "no")
    retries: Annotated[int, Field(ge=0)] = key(3, "how often, for a model in a run", "no")


class Evaluation(Strict):
    """How tasks are run."""

    default_limit: Size | None = key(None, "requests a task where LIMIT is not given")


class Logging(Strict):
    """Logs."""

    log_dir: str = key("logs", "kept for older files: logs lie in logs/", "no")
    level: str | None = key(None, "kept for older files", "no")


class Group(Strict):
    """A category of the leaderboard. Its score is the mean of its tasks, in percent."""

    tasks: (
        Annotated[list[Name], Field(min_length=1)]
        | Annotated[dict[Name, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    ) = key(..., "tasks, or a mapping of tasks to weights", "no")
    about: str = key("", "a sentence for the reader", "no")

    @property
    def weights(self) -> dict[str, float]:
        """Return task → weight."""
        return dict(self.tasks) if isinstance(self.tasks, dict) else dict.fromkeys(self.tasks, 1.0)


class Leaderboard(Strict):
    """How results are shown together. Changes no result."""

    groups: dict[Annotated[str, Field(pattern=r"^\S(.*\S)?$")], Group] = key(
        {}, "categories, each with its tasks", "no"
    )


class Settings(Strict):
    """configs/config.yaml: settings for all models."""

    paths: dict[str, str] = key({}, "hf_cache: where the hub's files are kept", "no")
    evaluation: Evaluation = key(Evaluation(), "how tasks are run")
    logging: Logging = key(Logging(), "logs", "no")
    leaderboard: Leaderboard = key(Leaderboard(), "how results are shown together", "no")
    launcher: Name = key(
        "local", "where servers run: local, or a launcher, configs/launchers/NAME.yaml", "no"
    )
    slurm: Slurm = key(Slurm(), "what a launcher asks for, for all models", "no")


@cache
def neutral() -> frozenset[str]:
    """Return the keys of the provider that never change an answer."""
    fields = Provider.model_fields.items()
    more = {name: info.json_schema_extra for name, info in fields}
    return frozenset(n for n, m in more.items() if isinstance(m, dict) and m["affects"] == "no")


FILES: dict[str, type[Strict]] = {
    "config": Settings,
    "engine": Engine,
    "launcher": Launcher,
    "model": Model,
    "provider": Provider,
    "task": Task,
}
