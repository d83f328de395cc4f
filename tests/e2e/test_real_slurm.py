"""Real vLLM in jobs of a real Slurm: the quickstart, and a model that spans two nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clone import RESULT, make, read, survivors
from cluster import Cluster, missing

OVER_TWO = """model: {name: benchy/tiny, make: tiny}
vllm:
  provider_config: vllm_cpu
  overrides: {tensor_parallel_size: 2, max_model_len: 512, dtype: float32}
tasks: [smoke]
resources: {nodes: 2}
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if lacks := missing():
        said = f"no Slurm cluster here: {', '.join(lacks)} is missing"
        if os.environ.get("BENCHY_SLURM") == "required":
            pytest.fail(said)
        pytest.skip(said)
    base = Path(tempfile.mkdtemp(prefix="bs-"))
    made = Cluster(base)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def alone(tree: Path) -> None:
    """Create the quickstart's result without a launcher, to compare it with those of jobs."""
    if not (tree / RESULT).exists():
        done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
        assert done.returncode == 0, done.stderr[-3000:]


def evaluate(tree: Path, cluster: Cluster, config: str) -> None:
    done = subprocess.run(
        ["make", "-j4", "eval", f"CONFIG={config}", "LAUNCHER=slurm"],
        cwd=tree, env=cluster.env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = cluster.run("squeue", "--states=all", "-h", "-o", "%T|%k").splitlines()
    end = f":{Path(config).stem}"
    assert [r for r in rows if r.startswith("COMPLETED|") and r.endswith(end)], rows
    assert not cluster.jobs()
    assert not survivors(tree)


def test_the_quickstart_as_a_job_gets_the_same_score(tree: Path, cluster: Cluster) -> None:
    before = read(tree)
    (tree / RESULT).unlink()
    evaluate(tree, cluster, "configs/quickstart.yaml")
    made = read(tree)
    assert made["metrics"] == before["metrics"]
    assert made["engine"]["answered"] == before["engine"]["answered"]


def test_a_model_over_two_nodes_gets_the_same_score(tree: Path, cluster: Cluster) -> None:
    """Two nodes on this machine, connected by its network. vLLM's own executor splits each layer in
    half between them."""
    (tree / "configs/over_two.yaml").write_text(OVER_TWO)
    try:
        evaluate(tree, cluster, "configs/over_two.yaml")
    finally:
        (tree / "configs/over_two.yaml").unlink()
    made = read(tree, "results/over_two/smoke/results.json")
    assert made["nodes"] == 2 and "--nnodes=2" in made["arguments"]
    alone = read(tree)["metrics"]
    for task, metrics in made["metrics"].items():
        for name, metric in metrics.items():
            assert metric["value"] == pytest.approx(alone[task][name]["value"], abs=1e-3)
    assert "rank=1" in (tree / "logs/serve/over_two.node1.log").read_text()
