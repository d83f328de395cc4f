"""The results of tasks that run together on one server are those of one after another."""

from __future__ import annotations

import re
import shutil

from same import meaning
from trees import Tree, ended


def most_at_once(tree: Tree, jobs: str) -> int:
    """Make all results of one model anew; how many of its harnesses were seen at once."""
    shutil.rmtree(tree.root / "results", ignore_errors=True)
    make = tree.start("results", "MODELS=one", TASK_JOBS=jobs, STANDIN_HARNESS_SECONDS="1")
    most = 0
    while make.poll() is None:
        lines = tree.processes().values()
        most = max(most, sum(bool(re.search(r"-m lm_eval .*acme", words)) for words in lines))
    done = ended(make)
    assert done.status == 0, done.text
    return most


def test_tasks_together_give_what_they_give_alone(tree: Tree) -> None:
    tree.edit("models/one.yaml", '["alpha", "beta"]', '["alpha", "beta", "gamma"]')
    assert most_at_once(tree, "1") == 1
    alone = meaning(tree)
    assert most_at_once(tree, "4") > 1
    assert meaning(tree) == alone
    # Three results, and of each two files of the harness.
    assert len(alone) == 9 and all(text.count("PORT") for text in list(alone.values())[::3])
