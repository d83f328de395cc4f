"""Rows of make bench on planning: 1,000 models of 5 tasks with the stand-in engine of tests/build.

- nothing to do: `make results` against a flat Makefile with the same targets and prerequisites, and
  against Snakemake and doit with the same graph (medians of alternating runs).
- one edited: seconds from `make results` after an edit of one config to the start of its server.
- comments only: `make results` after a comment is added at the top of every config, which moves
  every line. Nothing may run, and the line numbers in the specs must be the new ones.
- memory: peak memory of bin/plan with 1,000 models.

To run it alone: .venv/bin/python tests/bench/planning.py. Needs a package index for Snakemake and
doit.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("lib", "tests/support", "tests", "tests/bench")]
from measure import Broken, Row, alone, beside, in_turn, text  # noqa: E402

import specs  # noqa: E402
import trees  # noqa: E402
from benchy.core import paths  # noqa: E402
from benchy.display import activity  # noqa: E402
from benchy.environments import uv  # noqa: E402
from benchy.run import fetch  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODELS, TASKS, REPEATS = 1000, ("alpha", "beta", "gamma", "delta", "epsilon"), 7
MODEL = """\
model:
  name: "acme/{name}"
  revision: "{commit}"
vllm:
  provider_config: "standin"
  overrides: {{vllm_version: "{version}", max_model_len: 512}}
tasks: [{tasks}]
"""


def fill(tree: trees.Tree) -> list[str]:
    """Write configs and up-to-date results for all models; return the paths of the results."""
    tasks = tree.root / "configs/tasks"
    for task in TASKS[3:]:
        text = (tasks / "alpha.yaml").read_text()
        (tasks / f"{task}.yaml").write_text(text.replace("alpha", task))
    names = [f"m{n:04}" for n in range(MODELS)]
    for n, name in enumerate(names):
        version = ("1.0.0", "1.1.0", "2.0.0")[n % 3]
        text = MODEL.format(name=name, version=version, tasks=", ".join(TASKS), commit=COMMIT)
        (tree.root / f"configs/models/{name}.yaml").write_text(text)
    for path in (tree.root / "configs/models").glob("[!m]*.yaml"):
        path.unlink()
    make(tree, "-s", "-f", "mk/graph.mk", "planned")
    fetched(tree, names)
    first = tree.make("results", f"MODELS={names[0]}")
    if first.status:
        raise Broken(first.text[-2000:])
    for name in names[1:]:
        for task in TASKS:  # copies of the first model's results, with the name replaced
            text = tree.file(f"{names[0]}/{task}").read_text()
            path = tree.file(f"{name}/{task}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(names[0], name))
    return [f"results/{name}/{task}/results.json" for name in names for task in TASKS]


def fetched(tree: trees.Tree, names: Sequence[str]) -> None:
    """Write the notes of an earlier `make fetch`. The stand-in has no weights, and its environment
    has no hub client that could report that."""
    folder = tree.base / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in names:
        note = {
            "name": f"acme/{name}", "revision": COMMIT, "commit": COMMIT, "folder": str(folder),
            "files": 1, "bytes": 2, "cache": fetch.cache(specs.server()),
        }  # fmt: skip
        path = tree.root / paths.fetched(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(note))


def make(tree: trees.Tree, *words: str) -> float:
    begun = time.perf_counter()
    done = tree.make(*words)
    if done.status:
        raise Broken(f"make {' '.join(words)}:\n{done.text[-2000:]}")
    return time.perf_counter() - begun


def flat(tree: trees.Tree, wanted: Sequence[str]) -> None:
    """Write the same targets and prerequisites as a flat Makefile, a Snakefile and a dodo.py."""
    plan = json.loads((tree.root / "build/plan.json").read_text())
    lines = [f"all: {' '.join(wanted)}", ".SUFFIXES:"]
    graph = {}
    for target in wanted:
        _, model, task, _ = target.split("/")
        facts = plan["models"][model]
        needs = [
            f"build/specs/result/{model}/{task}.json",
            *(f"venvs/{env}.lock" for env in (facts["environment"], "lm_eval_0_0_2")),
        ]
        lines.append(f"{target}: {' '.join(needs)}\n\tfalse")
        graph[target] = needs
    (tree.root / "flat.mk").write_text("\n".join(lines) + "\n")
    (tree.root / "graph.json").write_text(json.dumps(graph))
    (tree.root / "Snakefile").write_text(
        "import json\ngraph = json.load(open('graph.json'))\n"
        "rule all:\n    input: list(graph)\n"
        "rule one:\n    input: lambda w: graph[f'results/{w.m}/{w.t}/results.json']\n"
        "    output: 'results/{m}/{t}/results.json'\n    shell: 'false'\n"
    )
    (tree.root / "dodo.py").write_text(
        "import json\ndef task_one():\n"
        "    for target, needs in json.load(open('graph.json')).items():\n"
        "        yield {'name': target, 'targets': [target], 'file_dep': needs,\n"
        "               'actions': ['true'], 'uptodate': [True]}\n"
    )


def timed(tree: trees.Tree, *command: str) -> float:
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=tree.root, env=tree.environ(), capture_output=True)
    if done.returncode:
        raise Broken(f"{command[0]}: {(done.stdout + done.stderr)[-1500:].decode()}")
    return time.perf_counter() - begun


def at_least(bound: float, ours: float, theirs: float, ratio: float) -> bool:
    """Return whether the ratio of a row reaches its bound."""
    return ratio >= bound


def others(tree: trees.Tree) -> list[Row]:
    """Measure Snakemake and doit, which are installed in a separate environment."""
    tools = tree.base / "tools"
    environ = uv.variables()
    for command in (
        ["venv", "--quiet", "--no-project", str(tools)],
        ["pip", "install", "--quiet", "--python", str(tools), "snakemake", "doit"],
    ):
        subprocess.run([str(uv.find()), *command], env=environ, check=True, capture_output=True)
    snakemake, doit = str(tools / "bin/snakemake"), str(tools / "bin/doit")
    timed(tree, doit, "--dir", ".")  # fills its database
    found = []
    for name, bound, command in (
        ("Snakemake", 20.0, [snakemake, "-n", "--quiet", "--rerun-triggers", "mtime"]),
        ("doit", 3.0, [doit, "--dir", "."]),
    ):
        rounds = in_turn(partial(make, tree, "results"), partial(timed, tree, *command), repeats=3)
        ours, theirs = ([pair[n] for pair in rounds] for n in (0, 1))
        ratios = [there / mine for mine, there in rounds]
        label, target = f"  beside {name} (its over ours)", f">= {bound:g}"
        found.append(Row(label, ours, theirs, ratios, target, partial(at_least, bound)))
    return found


def edited(tree: trees.Tree, name: str) -> float:
    """Edit one model; return the seconds from make to the start of that model's server."""
    config = tree.root / f"configs/models/{name}.yaml"
    config.write_text(config.read_text().replace("max_model_len: 512", "max_model_len: 511"))
    tree.events()
    begun, booted = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    process = tree.start("results")
    while not (there := [e["pid"] for e in tree.events() if e["event"] == "start"]):
        if process.poll() is not None or time.time() - begun > 60:
            raise Broken(process.communicate()[0][-2000:])
        time.sleep(0.02)
    # The start time of the process by the kernel's clock, to exclude the startup of the engine.
    took = (activity.ticks(there[0]) or 0) / os.sysconf("SC_CLK_TCK") - booted
    trees.ended(process, 120)
    return took


def commented(tree: trees.Tree) -> float:
    for config in (tree.root / "configs/models").glob("*.yaml"):
        config.write_text(f"# a comment\n{config.read_text()}")
    tree.events()
    took = make(tree, "results")
    if tree.events():
        raise Broken("a comment made something run")
    server = json.loads((tree.root / "build/specs/server/m0007.json").read_text())
    file, _, line = server["where"]["model.name"].rpartition(":")
    if "name:" not in (tree.root / file).read_text().splitlines()[int(line) - 1]:
        raise Broken(f"{file} has no name in line {line}")
    return took


def memory(tree: trees.Tree) -> float:
    """Return the peak memory of bin/plan in MiB."""
    if not os.fork():
        subprocess.run(["bin/plan"], cwd=tree.root, env=tree.environ(), check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        (tree.base / "memory").write_text(str(used / 1024))
        os._exit(0)
    os.wait()
    return float((tree.base / "memory").read_text())


@contextmanager
def thousand() -> Iterator[tuple[trees.Tree, list[str]]]:
    """Yield a tree with 1,000 up-to-date models and real environments of the stand-in."""
    base = Path(tempfile.mkdtemp(prefix="benchy-bench-"))
    try:
        trees.lay(base)
        tree = trees.Tree(base)
        make(tree, "venvs")
        yield tree, fill(tree)
    finally:
        shutil.rmtree(base)


def rows() -> list[Row]:
    with thousand() as (tree, wanted):
        flat(tree, wanted)
        make(tree, "report")
        done = tree.make("results")
        if done.status or "everything is up to date" not in done.text:
            raise Broken("the tree is not up to date: nothing was measured")
        rounds = in_turn(
            lambda: make(tree, "results"),
            lambda: timed(tree, "make", "-rR", "-f", "flat.mk"),
            repeats=REPEATS,
        )
        return [
            beside(
                "nothing to do, 1,000 x 5, beside a flat Makefile", rounds, "<= 3, <= 0.15 s",
                lambda ours, _, ratio: ratio <= 3 and ours <= 0.15,
            ),
            *others(tree),
            alone("1,000 configs commented", [commented(tree) for _ in range(5)], 1.5),
            alone("one config edited, to its server's start",
                  [edited(tree, f"m050{n}") for n in range(7)], 0.6),
            alone("memory of the plan of 1,000", [memory(tree) for _ in range(3)], 150, "MiB"),
        ]  # fmt: skip


if __name__ == "__main__":
    print(text(rows()))
