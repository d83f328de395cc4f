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
