"""Changes fields and runs make to the end.

Stale results are made again, and the files of all other results stay the same. test_walk.py covers
every field but only asks make what is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fields
from fields import FIELDS, VALUES
from trees import Tree, copy, swept

pytestmark = pytest.mark.slow

# One field for each file and verdict whose change the stand-in can serve: file, field, results
# that a run of ASKED makes again. The changes add up, in this order.
ASKED = ("MODELS=one four", "TASKS=alpha beta")
RUNS: list[tuple[str, str, list[str]]] = [
    ("provider", "engine_env", ["four/beta", "one/alpha", "one/beta"]),
    ("override", "max_model_len", ["one/alpha", "one/beta"]),
    ("model", "model.revision", ["one/alpha", "one/beta"]),
    ("task", "seed", ["one/alpha"]),
    ("engine", "variables", ["four/beta", "one/alpha", "one/beta"]),
    ("repair", "variables", ["four/beta", "one/alpha", "one/beta"]),
    ("repair", "constraints", []),  # resolved again, to the same packages
    ("override", "vllm_version", ["one/alpha", "one/beta"]),
    ("task", "harness_version", ["one/alpha"]),
]  # fmt: skip

FILES = ("results.json", "spec.json", "packages.json")
# Invalid here: several nodes without GPUs, and a size that not every release can be given.
MISTAKES = {"slurm.nodes", "resources.nodes", "kv_cache_memory"}


def ages(tree: Tree) -> dict[Path, tuple[int, bytes]]:
    found = (tree.root / "results").glob("*/*/*.json")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.fixture(scope="module")
def laid(
    complete: tuple[Path, Any, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tree]:
    with swept(copy(complete[0], tmp_path_factory.mktemp("runs"))) as tree:
        fields.lay(tree)
        done = tree.results()
        assert (done.status, tree.events()) == (0, []), done.text
        yield tree


def test_changing_all_fields_that_affect_no_answer_runs_nothing(laid: Tree) -> None:
    before = ages(laid)
    files = {p: p.read_bytes() for p in (laid.root / "configs").rglob("*.yaml")}
    try:
        for file, field, verdict in FIELDS:
            if verdict == "no" and field not in MISTAKES:
                fields.change(laid, file, field, VALUES[file][field])
        done = laid.results()
    finally:
        for path, data in files.items():
            path.write_bytes(data)
    assert (done.status, laid.events()) == (0, []), done.text
    assert ages(laid) == before


@pytest.mark.parametrize(("file", "field", "made"), RUNS, ids=[f"{f}.{k}" for f, k, _ in RUNS])
def test_field_change_reruns_only_results_that_use_it(
    laid: Tree, file: str, field: str, made: list[str]
) -> None:
    before = ages(laid)
    fields.change(laid, file, field, VALUES[file][field])
    done = laid.make("results", *ASKED)
    assert (done.status, laid.ran()) == (0, made), done.text
    after = ages(laid)
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {laid.file(title).with_name(name) for title in made for name in FILES}
    for title in made:
        assert before[laid.file(title)][1] != after[laid.file(title)][1]


def test_default_limit_makes_separate_results(laid: Tree) -> None:
    before = ages(laid)
    fields.change(laid, "config", "evaluation.default_limit", 7)
    done = laid.make("results", "MODELS=one", "TASKS=beta")
    assert (done.status, laid.ran()) == (0, ["one/beta"]), done.text
    assert "limit-7/one/beta" in laid.written()
    assert ages(laid) == before
