"""Trees of benchy whose jobs run on the cluster, and models of mixed widths."""

from __future__ import annotations

import re
from typing import Any

from cluster import GPUS, Cluster
from trees import Tree, wait_for

# Like the real nvidia-smi: in a job it lists all GPUs of the node (Slurm names the job's own); on
# the login node it fails.
SMI = f"""#!/bin/sh
[ "$SLURM_JOB_ID" ] || {{ echo "NVIDIA-SMI has failed: no driver" >&2; exit 9; }}
case $1 in
  --query-gpu=*) for n in $(seq 0 {GPUS - 1}); do echo "$n, GPU-$n, 24564, 12, 550.1, Fake"; done ;;
esac
"""
ENVIRONMENTS = ("standin_gpu_2_0_0", "lm_eval_0_0_2")
WIDTHS = {"w1a": 1, "w1b": 1, "w2a": 2, "w2b": 2, "w4a": 4, "w4b": 4}

WIDE = """model: {name: acme/wide}
vllm:
  provider_config: standin_two_gpus
  overrides: {tensor_parallel_size: 4, pipeline_parallel_size: 2}
tasks: [alpha, beta]
resources: {gpus_per_node: 4}
"""


class House(Tree):
    """A tree with models for GPUs, and the cluster that runs them."""

    cluster: Cluster

    def environ(self, **more: str) -> dict[str, str]:
        here = super().environ(**more)
        return here | {
            "SLURM_CONF": self.cluster.env["SLURM_CONF"],
            "PATH": f"{self.base / 'smi'}:{here['PATH']}",
            "LAUNCHER": "slurm",
            **more,
        }


def over(house: House, seconds: float = 60) -> None:
    """Wait until no job is pending or running."""
    wait_for(lambda: not house.cluster.jobs(), seconds, f"no job: {house.cluster.jobs()}")


def displace(house: House, model: str) -> None:
    """Preempt a model's job: submit one of higher priority that takes all GPUs, and cancel it when
    the job has stopped."""
    job = job_of(house, model)
    urgent = house.cluster.run(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--gres=gpu:4",
        "--output=/dev/null", "--wrap", "sleep 600",
    ).strip()  # fmt: skip
    try:
        stopped(house, job)
    finally:
        house.cluster.run("scancel", urgent)


def stopped(house: House, job: str) -> None:
    """Wait until a job runs no longer."""
    row = re.compile(rf"{job}\|.*\|RUNNING")
    wait_for(lambda: not any(map(row.fullmatch, house.cluster.jobs())), 60, f"job {job} stopped")


def job_of(house: House, model: str) -> str:
    """Return the id of a model's running job."""
    (job,) = [r.partition("|")[0] for r in running(house) if r.endswith(f":{model}|RUNNING")]
    return job


def running(house: House, many: int = 1) -> list[str]:
    """Wait for at least `many` running jobs and return their rows."""

    def found() -> list[str]:
        rows = [row for row in house.cluster.jobs() if row.endswith("|RUNNING")]
        return rows if len(rows) >= many else []

    rows: list[str] = wait_for(found, 120, "running jobs")
    return rows


def evaluating(house: House, model: str) -> Any:
    """Wait until a task of the model is running."""
    board = house.root / "run/board/task" / model
    return wait_for(lambda: list(board.glob("*.json")), 120, f"{model} under way")
