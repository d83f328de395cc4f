"""Results made by an older version of benchy are up to date.

tests/golden/older contains locks and results that commit b8fb0ce made from tests/build/configs,
before lib/benchy was divided into packages. A change that makes them stale makes every user's
results stale: do not regenerate them to make this test pass.
"""

from __future__ import annotations

import os
import shutil
import time

from trees import MODELS, ROOT, Tree

OLDER = ROOT / "tests/golden/older"


def test_results_of_an_older_benchy_are_up_to_date(fresh: Tree) -> None:
    now = time.time()
    for name, age in (("venvs", 200), ("results", 100)):
        shutil.copytree(OLDER / name, fresh.root / name, dirs_exist_ok=True)
        for path in (fresh.root / name).rglob("*"):
            os.utime(path, (now - age, now - age))
    before = {path: path.read_bytes() for path in (fresh.root / "results").rglob("*.json")}
    done = fresh.make("results", MODELS)
    assert done.status == 0, done.text
    assert "results: 0 made, 7 up to date" in done.text, done.text  # new locks are equal
    assert fresh.ran() == []
    assert all(path.read_bytes() == text for path, text in before.items())
