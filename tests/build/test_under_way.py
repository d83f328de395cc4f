"""Goals that remove files while a run uses them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess

import pytest

from trees import Tree, ended, wait_for

pytestmark = pytest.mark.slow


def test_files_and_environment_of_a_run_are_kept_until_it_ends(tree: Tree) -> None:
    """The config of the run is deleted, so the current plan refers to none of its files."""
    elsewhere = tree.base / "elsewhere.yaml"
    shutil.copy(tree.root / "configs/models/four.yaml", elsewhere)
    for model in ("four", "five"):  # the models on release 1.1.0
        (tree.root / f"configs/models/{model}.yaml").unlink()
    assert tree.make("-f", "mk/graph.mk", "planned").status == 0
    with tree.held():
        make = tree.start("eval", f"CONFIG={elsewhere}")
        served = "run/.elsewhere~*.tmp/server.json"
        wait_for(lambda: list(tree.root.glob(served)), 90, "a server with its tasks")
        elsewhere.unlink()
        for goal in ("clean", "distclean"):
            done = tree.make(goal)
            assert done.status != 0, done.text
            assert f"make {goal} would remove files in use" in done.text
            assert "  | a run: pid " in done.text and "stop it (Ctrl-C" in done.text
        assert (tree.root / "build/rules.mk").exists() and (tree.root / "venvs").exists()
        for goal in ("gc", "prune-venvs"):
            done = tree.make(goal, "YES=1")
            assert done.status == 0, done.text
            assert "elsewhere" not in done.text and "REMOVED standin_1_1_0" not in done.text
            assert make.poll() is None
        assert (tree.root / "venvs/standin_1_1_0/.stamp").exists()
        assert list(tree.root.glob(served))
    done = ended(make)
    assert done.status == 0, done.text
    assert {"elsewhere/beta", "elsewhere/gamma"} <= set(tree.written())
    done = tree.make("gc", "YES=1")
    assert not (tree.root / "results/elsewhere").exists(), done.text
    assert tree.make("prune-venvs", "YES=1").status == 0
    assert not (tree.root / "venvs/standin_1_1_0").exists()
    assert tree.make("clean").status == 0
    assert not (tree.root / "build").exists() and not (tree.root / "run").exists()


def test_environment_in_use_is_not_pruned_and_prune_does_not_wait(tree: Tree) -> None:
    """A server started outside a run uses it, and no config requests its release."""
    for model in ("two", "three"):
        (tree.root / f"configs/models/{model}.yaml").unlink()
    lock = tree.root / "venvs/.locks/standin_1_0_0.use"
    with lock.open("a+") as file:  # the lock that bin/serve holds
        fcntl.flock(file, fcntl.LOCK_SH)
        done = tree.make("prune-venvs", "YES=1")
        assert done.status == 0 and "KEPT    standin_1_0_0: it is in use" in done.text, done.text
    assert "REMOVED standin_1_0_0" in tree.make("prune-venvs", "YES=1").text


def test_next_run_cleans_up_after_a_killed_run(tree: Tree) -> None:
    """It cleans up and rewrites the leaderboard even if every result is up to date."""
    for model in ("five", "six"):  # they need GPUs
        (tree.root / f"configs/models/{model}.yaml").unlink()
    assert tree.make("results").status == 0  # writes a new plan
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    note = {"pid": dead.pid, "ticks": 1, "host": host, "began": 1.0}
    (tree.root / f"run/board/run/{host}.{dead.pid}.json").write_text(json.dumps(note))
    half = tree.root / f"results/two/.alpha~{host}~{dead.pid}-1.tmp"
    half.mkdir()
    (half / "settings.json").write_text("{}")
    (tree.root / "build/reported").unlink()
    (tree.root / "results/leaderboard.csv").write_text("of a report that was killed")
    done = tree.make("results")
    assert done.status == 0 and tree.events() == [], done.text
    assert not half.exists() and not list((tree.root / "run/board/run").iterdir())
    assert "acme/two" in (tree.root / "results/leaderboard.csv").read_text()
    assert tree.make("results").text.strip() == "results: everything is up to date"
