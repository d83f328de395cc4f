"""The keys of configs/launchers/NAME.yaml, and what is requested from a launcher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchy.config.field_types import Name, Size, Strict, Variables, Word, key


class Resources(Strict):
    """What a launcher requests besides GPUs. The number of GPUs comes from the parallel sizes."""

    partition: Word | None = key(None, "partition", "no")
    account: Word | None = key(None, "account that is charged", "no")
    qos: Word | None = key(None, "quality of service", "no")
    time: Word | None = key(None, "time limit in Slurm's format: minutes, or 1-12:00:00", "no")
    memory: Word | None = key(None, "memory per node in Slurm's format: 64G", "no")
    cpus_per_gpu: Size | None = key(
        4, "CPUs per GPU, for the server and the harness; null: the site's default", "no"
    )
    cpus: Size | None = key(None, "CPUs of a model that needs no GPU, and of builds", "no")
    constraint: Word | None = key(None, "features that a node must have", "no")
    gpu_option: Literal["gres", "gpus"] = key(
        "gres", "how GPUs are requested: --gres=gpu:N or --gpus=N", "no"
    )
    gpu_type: Name | None = key(None, "type of GPU: --gres=gpu:TYPE:N", "no")
    gpus_per_node: Size | None = key(
        None, "GPUs of a node; a model that needs more runs over several nodes", "no"
    )
    scratch: str | None = key(
        None,
        "directory on each node's own disk, to which environments are copied; $VARIABLES are "
        "expanded on the node",
        "no",
    )
    nodes: Size | None = key(None, "nodes of a model; absent: computed from gpus_per_node", "no")
    extra: list[Word] = key([], "more words for the launcher's command", "no")


class Build(Strict):
    """What a launcher requests to build an environment (BUILD_ON=slurm).

    Keys that are absent here have the values for all models, except memory and GPUs. If
    `partition` is set here, only `account` and `cpus` have those values.
    """

    partition: Word | None = key(None, "partition", "no")
    account: Word | None = key(None, "account that is charged", "no")
    qos: Word | None = key(None, "quality of service", "no")
    time: Word | None = key(None, "time limit", "no")
    memory: Word | None = key(None, "memory per node", "no")
    cpus: Size | None = key(None, "CPUs", "no")
    constraint: Word | None = key(None, "features that a node must have", "no")
    extra: list[Word] = key([], "more words for the launcher's command", "no")


class Slurm(Resources):
    """What a launcher requests besides GPUs, for all models and for builds."""

    build: Build = key(Build(), "what builds request", "no")


class Launcher(Strict):
    """How to run a command elsewhere, query its state and cancel it.

    Each word is a Jinja template; a word that renders empty is left out. Templates can use `model`,
    `gpus`, `nodes` (1, or the number of nodes that the model runs on), `gpus_per_node` (of this
    job), `comment` (identifies the job as part of this run; ends with the model's name), `user`,
    and the other keys of `slurm` and `resources`.
    """

    command: list[str] = key(
        ..., "prefix of the command; it must run until the command has ended", "no"
    )
    environment: Variables = key({}, "environment variables of the launcher's command", "no")
    without: list[str] = key(
        [],
        "patterns of environment variables to hide from the launcher's commands, such as those of "
        "the job in which make runs",
        "no",
    )
    keeping: list[str] = key(
        [], "patterns of variables to pass on although `without` matches them", "no"
    )
    leases: Literal["job", "node"] = key(
        "node", "job: each job has its own devices; node: jobs on a node share its devices", "no"
    )
    rank: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = key(
        None,
        "variable with the node's number in its job, from 0; absent: jobs have one node",
        "no",
    )
    queue: list[str] = key(
        [],
        "command that prints ID|STATE|NODE|REASON|COMMENT for each job of this user, including "
        "ended ones",
        "no",
    )
    past: list[str] = key(
        [],
        "command that prints ID|STATE|NODE|REASON of job `id`, if the queue no longer lists it",
        "no",
    )
    cancel: list[str] = key([], "command that cancels job `id`", "no")
    running: list[str] = key(["RUNNING"], "states of a job that has its GPUs", "no")
    ending: list[str] = key([], "states of a job that is ending", "no")
    ended: list[str] = key([], "states of a job that has ended", "no")
    by_itself: list[str] = key(
        [], "ended states in which the command's own exit status counts", "no"
    )
    again: list[str] = key([], "states after which the job is retried", "no")
    retries: Annotated[int, Field(ge=0)] = key(3, "retries per model and run", "no")
