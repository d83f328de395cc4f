"""Tasks that run concurrently on one server give the same results as tasks run one by one."""

from __future__ import annotations

import re
import shutil

import pytest

from same import meaning
from trees import Tree, ended

pytestmark = pytest.mark.slow


def most_at_once(tree: Tree, jobs: str) -> int:
    """Make all results of model one again; return the most harnesses seen at the same time."""
    shutil.rmtree(tree.root / "results", ignore_errors=True)
    make = tree.start("results", "MODELS=one", TASK_JOBS=jobs, STANDIN_HARNESS_SECONDS="1")
    most = 0
    while make.poll() is None:
        lines = tree.processes().values()
        most = max(most, sum(bool(re.search(r"-m lm_eval .*acme", words)) for words in lines))
    done = ended(make)
    assert done.status == 0, done.text
    return most


def test_concurrent_tasks_give_the_results_of_sequential_tasks(tree: Tree) -> None:
    tree.edit("models/one.yaml", '["alpha", "beta"]', '["alpha", "beta", "gamma"]')
    assert most_at_once(tree, "1") == 1
    alone = meaning(tree)
    assert most_at_once(tree, "4") > 1
    assert meaning(tree) == alone
    # Three results, each with two files of the harness.
    assert len(alone) == 9 and all(text.count("PORT") for text in list(alone.values())[::3])
