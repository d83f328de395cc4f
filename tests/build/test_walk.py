"""Changes every field of every configuration file once and asks real Make what is stale.

If the schema says that a field can change an answer, every result that uses it is stale; otherwise
none is. If the field decides what is installed, the lock is stale. test_walk_run.py runs some of
these changes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import fields
from fields import FIELDS, PLACES, VALUES
from trees import Tree

CPU = ("four", "one", "three", "two")


def test_walk_covers_every_field() -> None:
    without = [f"{file}.{field}" for file, field, _ in FIELDS if field not in VALUES[file]]
    assert not without, "say in VALUES what a change of these looks like"
    known = {(file, field) for file, field, _ in FIELDS}
    assert not [(f, field) for f in VALUES for field in VALUES[f] if (f, field) not in known]


class Walk:
    """A complete tree that `restore` resets before each step."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.base = ["build", "configs", "venvs", "results"]
        fields.lay(tree)
        done = tree.results()
        assert done.status == 0, done.text
        # fields.lay adds a repair that changes no package. This real run must evaluate nothing.
        assert tree.events() == []
        for name in self.base:
            shutil.copytree(tree.root / name, tree.base / "kept" / name, symlinks=True)

    def restore(self) -> None:
        for name in ("build", "configs"):
            shutil.rmtree(self.tree.root / name)
            shutil.copytree(self.tree.base / "kept" / name, self.tree.root / name, symlinks=True)
        for lock in (self.tree.root / "venvs").glob("*.lock"):
            kept = self.tree.base / "kept/venvs" / lock.name
            shutil.copy2(kept, lock) if kept.exists() else lock.unlink()
        shutil.rmtree(self.tree.root / "venvs/.failed", ignore_errors=True)
        shutil.copytree(self.tree.base / "kept/venvs/.failed", self.tree.root / "venvs/.failed")

    def graph(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", "-s", "-f", "mk/graph.mk", *words],
            cwd=self.tree.root, env=self.tree.environ(), capture_output=True, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def stale(self) -> set[str]:
        """Return what Make would build for the CPU models: results as MODEL/TASK, and locks."""
        self.graph("planned")
        plan = json.loads((self.tree.root / "build/plan.json").read_text())
        top = "results" if plan["limit"] is None else f"results/limit-{plan['limit']}"
        wanted = [
            f"{top}/{model}/{task}/results.json"
            for model, facts in plan["models"].items()
            for task in facts["tasks"]
            if model.partition("@")[0] in CPU
        ]
        told = self.graph("-n", "question=1", *wanted).stdout.splitlines()
        found = {line.removeprefix("stale ") for line in told if line.startswith("stale ")}
        return {
            name.removeprefix("results/").removesuffix("/results.json")
            if name.startswith("results/")
            else name
            for name in found
        }


@pytest.fixture(scope="module")
def walk(complete: tuple[Path, Any, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Walk:
    base = tmp_path_factory.mktemp("walk")
    subprocess.run(["cp", "-a", f"{complete[0]}/.", str(base)], check=True)
    return Walk(Tree(base))


@pytest.mark.parametrize(
    ("file", "field", "verdict"), FIELDS, ids=[f"{f}.{field}" for f, field, _ in FIELDS]
)
def test_field_change_makes_stale_what_the_schema_says(
    walk: Walk, file: str, field: str, verdict: str
) -> None:
    walk.restore()
    assert walk.stale() == set(), "the tree is not at rest"
    value = VALUES[file][field]
    users = PLACES[file][2]
    if isinstance(value, tuple):
        value, users = value
    fields.change(walk.tree, file, field, value)
    stale = walk.stale()
    locks = {name for name in stale if name.endswith(".lock")}
    results = stale - locks
    if verdict == "no":
        if locks:  # resolved again, to the same packages
            walk.graph(*sorted(locks))
            results = walk.stale()
        assert results == set()
        return
    assert results <= users, "what does not use it"
    if verdict == "yes":
        assert results == users, "what uses it"
    else:
        assert locks or results, "nothing would be resolved anew"
