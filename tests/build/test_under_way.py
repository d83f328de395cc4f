"""Goals that remove things, while a run is under way that needs them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess

from trees import Tree, ended, wait_for


def test_what_a_run_needs_stays_while_it_is_under_way(tree: Tree) -> None:
    """Its configs are gone, so that all of it is waste by the plan of now."""
    elsewhere = tree.base / "elsewhere.yaml"
    shutil.copy(tree.root / "configs/models/four.yaml", elsewhere)
    for model in ("four", "five"):  # those with 1.1.0
        (tree.root / f"configs/models/{model}.yaml").unlink()
    assert tree.make("-f", "mk/graph.mk", "planned").status == 0
    make = tree.start("eval", f"CONFIG={elsewhere}", STANDIN_HARNESS_SECONDS="6")
    served = "run/.elsewhere~*.tmp/server.json"
    wait_for(lambda: list(tree.root.glob(served)), 90, "a server with its tasks")
    elsewhere.unlink()
    for goal in ("clean", "distclean"):
        done = tree.make(goal)
        assert done.status != 0, done.text
        assert f"make {goal} would remove what is in use" in done.text
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


def test_an_environment_that_somebody_uses_is_not_pruned_and_nobody_waits(tree: Tree) -> None:
    """By a server that was started without a run, whose release no config asks for any more."""
    for model in ("two", "three"):
        (tree.root / f"configs/models/{model}.yaml").unlink()
    lock = tree.root / "venvs/.locks/standin_1_0_0.use"
    with lock.open("a+") as file:  # as bin/serve has it
        fcntl.flock(file, fcntl.LOCK_SH)
        done = tree.make("prune-venvs", "YES=1")
        assert done.status == 0 and "KEPT    standin_1_0_0: it is in use" in done.text, done.text
    assert "REMOVED standin_1_0_0" in tree.make("prune-venvs", "YES=1").text


def test_the_next_run_cleans_up_after_one_that_was_killed(tree: Tree) -> None:
    """Though everything was made, so that it has nothing else to do; the leaderboard included."""
    for model in ("five", "six"):  # that need a GPU
        (tree.root / f"configs/models/{model}.yaml").unlink()
    assert tree.make("results").status == 0  # plans anew
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
