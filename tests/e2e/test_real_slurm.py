"""The quickstart on real vLLM, as a job of a real Slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clone import RESULT, read, survivors

sys.path.append(str(Path(__file__).parents[1] / "slurm"))
from cluster import Cluster, missing

pytestmark = pytest.mark.e2e


def test_the_quickstart_as_a_job(tree: Path) -> None:
    if lacks := missing():
        said = f"no Slurm cluster here: {', '.join(lacks)} is missing"
        if os.environ.get("BENCHY_SLURM") == "required":
            pytest.fail(said)
        pytest.skip(said)
    base = Path(tempfile.mkdtemp(prefix="bs-"))
    cluster = Cluster(base)
    before = read(tree)
    (tree / RESULT).unlink()
    try:
        cluster.start()
        done = subprocess.run(
            ["make", "-j4", "eval", "CONFIG=configs/quickstart.yaml", "LAUNCHER=slurm"],
            cwd=tree, env=cluster.env, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        rows = cluster.run("squeue", "--states=all", "-h", "-o", "%T|%k").splitlines()
        assert [r for r in rows if r.startswith("COMPLETED|") and r.endswith(":quickstart")], rows
        assert not cluster.jobs()
    finally:
        cluster.stop()
        shutil.rmtree(base, ignore_errors=True)
    made = read(tree)
    assert made["metrics"] == before["metrics"]
    assert made["engine"]["answered"] == before["engine"]["answered"]
    assert not survivors(tree)
