"""A tree of benchy whose jobs run on the cluster, and models of mixed widths."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "build"))
from cluster import GPUS, Cluster
from trees import Tree

# Like the real one: in a job all cards of the node, of which Slurm names ours; none on the login
# node.
SMI = f"""#!/bin/sh
[ "$SLURM_JOB_ID" ] || {{ echo "NVIDIA-SMI has failed: no driver" >&2; exit 9; }}
case $1 in
  --query-gpu=*) for n in $(seq 0 {GPUS - 1}); do echo "$n, GPU-$n, 24564, 12, 550.1, Fake"; done ;;
esac
"""
WIDTHS = {"w1a": 1, "w1b": 1, "w2a": 2, "w2b": 2, "w4a": 4, "w4b": 4}


class House(Tree):
    """A tree with models for GPUs, and the cluster that serves them."""

    cluster: Cluster

    def environ(self, **more: str) -> dict[str, str]:
        here = super().environ(**more)
        return here | {
            "SLURM_CONF": self.cluster.env["SLURM_CONF"],
            "PATH": f"{self.base / 'smi'}:{here['PATH']}",
            "LAUNCHER": "slurm",
            **more,
        }
