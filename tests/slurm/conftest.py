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
from cluster import Cluster, missing  # noqa: E402
from slurmtree import SMI, WIDTHS, House  # noqa: E402
from trees import ROOT, bare, copy, swept  # noqa: E402

__all__ = ["bare"]


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
