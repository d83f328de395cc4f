"""Rows of make bench on Slurm: two nodes of four fake GPUs on this machine, with the stand-in
engine. Skipped without Slurm or without root (tests/support/cluster.py).

- launcher: seconds per model of `make -j1 results LAUNCHER=slurm`, over MODELS models, against the
  same commands run by bare srun.
- cluster: wall-clock time for 100 models of 3 tasks each on 8 GPUs, all queued at once, against a
  lower bound: the time of the engine and harness commands for eight models at once without benchy
  (byhand.py). Three rounds of eight are measured and scaled to the thirteen that 100 models need.

To run it alone: .venv/bin/python tests/bench/launching.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / f"tests/{part}") for part in ("support", "bench")]
sys.path.insert(0, str(ROOT / "lib"))
import byhand  # noqa: E402 - beside this file
from measure import Broken, Row, beside, text  # noqa: E402 - beside this file

import trees  # noqa: E402
from cluster import GPUS, NODES, Cluster, missing  # noqa: E402
from slurmtree import SMI, House  # noqa: E402

MODELS, MANY, CARDS = 6, 100, GPUS * len(NODES)
TASKS = ("alpha", "beta", "gamma")
ROUNDS = 3  # of CARDS models, without benchy
# Duration of each task in the cluster row; the three tasks of a model run at once. Long enough that
# two cores, which start 8 engines and 24 harnesses meanwhile, are not the bottleneck.
SECONDS = 30.0


@contextmanager
def house() -> Iterator[House]:
    base = Path(tempfile.mkdtemp(prefix="bs-"))
    cluster = Cluster(base / "c")
    try:
        (base / "t").mkdir()
        trees.lay(base / "t")
        tree = House(base / "t")
        tree.cluster = cluster
        shutil.copytree(ROOT / "configs/launchers", tree.root / "configs/launchers")
        smi = tree.base / "smi/nvidia-smi"
        smi.parent.mkdir()
        smi.write_text(SMI)
        smi.chmod(0o755)
        cluster.base.mkdir()
        cluster.start()
        yield tree
    finally:
        cluster.stop()
        shutil.rmtree(base, ignore_errors=True)


def models(tree: House, prefix: str, number: int) -> list[str]:
    names = [f"{prefix}{n:03}" for n in range(number)]
    for name in names:
        (tree.root / f"configs/models/{name}.yaml").write_text(
            f"model: {{name: acme/{name}}}\nvllm: {{provider_config: standin_gpu}}\n"
            f"tasks: [{', '.join(TASKS)}]\n"
        )
    return names


def make(tree: House, *words: str, **more: str) -> float:
    begun = time.monotonic()
    process = tree.start(*words, **more)
    said, _ = process.communicate(timeout=1200)
    if process.returncode:
        raise Broken(said[-3000:])
    return time.monotonic() - begun


def results(tree: House, names: list[str]) -> list[Path]:
    return [tree.file(f"{name}/{task}") for name in names for task in TASKS]


def launcher_row(tree: House) -> Row:
    """Measure the seconds per model."""
    names = models(tree, "m", MODELS)
    make(tree, "venvs", VENV_JOBS="2", LAUNCHER="local")
    ours = make(tree, "-j1", "results", "MODELS=m*") / MODELS
    if not all(path.exists() for path in results(tree, names)):
        raise Broken("not all results were made")
    for path in results(tree, names):
        path.unlink()
    begun = time.monotonic()
    for name in names:
        targets = [str(p.relative_to(tree.root)) for p in results(tree, [name])]
        srun = ["srun", "--quiet", "--input=none", "--nodes=1", "--ntasks=1", "--gres=gpu:1"]
        srun.append("--cpus-per-task=4")
        graph = ["make", "-s", "-f", "mk/graph.mk", "dir=build", "-k", "-j4"]
        environ = tree.environ(
            BENCHY_LAUNCHED="slurm", BENCHY_LEASES=f"{tree.base}/l-{name}", LAUNCHER=""
        )
        done = subprocess.run(
            [*srun, "bin/serve", name, "--", *graph, *targets],
            cwd=tree.root, env=environ, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if done.returncode:
            raise Broken(done.stderr[-3000:])
    bare = (time.monotonic() - begun) / MODELS
    label = "a model by the launcher, beside bare srun"
    return beside(
        label, [[ours, bare]], "<= 1.1 x + 0.3 s", lambda ours, bare, _: ours <= 1.1 * bare + 0.3
    )


def cluster_row(tree: House) -> Row:
    """Measure the wall-clock time of the whole run."""
    one = [e for e in tree.events() if e["model"] == "acme/m000"]
    work = byhand.seconds(tree, one[: 1 + len(TASKS)], ROUNDS * CARDS, CARDS, SECONDS)
    bound = work / ROUNDS * -(-MANY // CARDS)
    names = models(tree, "x", MANY)
    make(tree, "plan")
    took = make(tree, f"-j{MANY}", "results", "MODELS=x*", STANDIN_HARNESS_SECONDS=str(SECONDS))
    if not all(path.exists() for path in results(tree, names)):
        raise Broken("not all results were made")
    label = f"{MANY} models of 3 tasks on 8 GPUs by Slurm, beside the bound"
    return beside(label, [[took, bound]], "<= 1.15", lambda _, __, ratio: ratio <= 1.15)


def rows() -> list[Row]:
    if lacks := missing():
        print(f"  no rows of Slurm: {', '.join(lacks)} is missing", file=sys.stderr)
        return []
    with house() as tree:
        return [launcher_row(tree), cluster_row(tree)]


if __name__ == "__main__":
    print(text(rows()))
