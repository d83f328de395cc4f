"""A Slurm cluster for all tests here, and trees of benchy whose jobs run on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, missing
from slurmtree import ENVIRONMENTS, SMI, WIDTHS, House
from trees import ROOT, bare, copy, swept

__all__ = ["bare"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if lacks := missing():
        said = f"no Slurm cluster here: {', '.join(lacks)} is missing"
        if os.environ.get("BENCHY_SLURM") == "required":
            pytest.fail(said)
        pytest.skip(said)
    base = Path(tempfile.mkdtemp(prefix="bs-"))  # short, because it is part of a socket path
    made = Cluster(base)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def furnished(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of a tree with GPU models, without environments."""
    made = copy(bare, tmp_path_factory.mktemp("furnished"))
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
    return made.base


@pytest.fixture(scope="session")
def built(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of a tree with GPU models and the environments that they need."""
    made = copy(furnished, tmp_path_factory.mktemp("built"))
    for env in ENVIRONMENTS:
        done = made.make(f"venvs/{env}/.stamp")
        assert done.status == 0, done.text
    return made.base


@pytest.fixture
def house(built: Path, tmp_path: Path, cluster: Cluster) -> Iterator[House]:
    yield from moved_in(built, tmp_path, cluster)


@pytest.fixture
def bare_house(furnished: Path, tmp_path: Path, cluster: Cluster) -> Iterator[House]:
    """A tree without environments."""
    yield from moved_in(furnished, tmp_path, cluster)


def moved_in(base: Path, place: Path, cluster: Cluster) -> Iterator[House]:
    made = House(copy(base, place).base)
    made.cluster = cluster
    with swept(made):
        yield made
    assert not cluster.jobs()
