"""A cluster for all tests here, and trees of benchy whose jobs run on it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "build")]
from cluster import GPUS, Cluster, missing  # noqa: E402
from trees import ROOT, Tree, bare, complete, copy, swept  # noqa: E402

__all__ = ["bare", "complete"]

# Like the real one within a job: all cards of the node, of which Slurm names ours.
SMI = f"""#!/bin/sh
case $1 in
  --query-gpu=*) for n in $(seq 0 {GPUS - 1}); do echo "$n, GPU-$n, 24564, 12, 550.1, Fake"; done ;;
esac
"""
WIDTHS = {"w1a": 1, "w1b": 1, "w2a": 2, "w2b": 2, "w4a": 4, "w4b": 4}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if lacks := missing():
        said = f"no Slurm cluster here: {', '.join(lacks)} is missing"
        if os.environ.get("BENCHY_SLURM") == "required":
            pytest.fail(said)
        pytest.skip(said)
    base = Path(tempfile.mkdtemp(prefix="bs-"))  # short: a socket lies in it
    made = Cluster(base)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(base, ignore_errors=True)


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


@pytest.fixture
def house(bare: Path, tmp_path: Path, cluster: Cluster) -> Iterator[House]:
    plain = copy(bare, tmp_path)
    made = House(plain.base)
    made.cluster = cluster
    shutil.copytree(ROOT / "configs/launchers", made.root / "configs/launchers")
    smi = made.base / "smi/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    for name, width in WIDTHS.items():
        (made.root / f"configs/models/{name}.yaml").write_text(
            f"model: {{name: acme/{name}}}\n"
            "vllm:\n"
            "  provider_config: standin_two_gpus\n"
            f"  overrides: {{tensor_parallel_size: {width}}}\n"
            "tasks: [alpha]\n"
        )
    with swept(made):
        yield made
    assert not cluster.jobs()
