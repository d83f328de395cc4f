"""bin/gc and configs that lie outside of configs/."""

from __future__ import annotations

import json
import shutil

from trees import Tree

NOTHING = "gc: everything is referred to"


def test_results_of_a_config_elsewhere_are_kept_as_long_as_it_is_there(tree: Tree) -> None:
    mine = tree.base / "mine.yaml"
    shutil.copy(tree.root / "configs/models/one.yaml", mine)
    assert tree.make("eval", f"CONFIG={mine}").status == 0
    assert "mine/alpha" in tree.written()
    assert tree.make("gc").text.strip() == NOTHING
    tree.make("clean")  # and with it the plan that knows of that config
    assert tree.make("gc").text.strip() == NOTHING
    mine.unlink()
    assert "results/mine  its model is in no config" in tree.make("gc").text
    assert not list((tree.root / "results/one").glob(".source"))


def unasked(tree: Tree) -> list[str]:
    """MODEL/TASK of the leaderboard's rows that no config asks for."""
    rows = json.loads((tree.root / "results/leaderboard.json").read_text())
    return [f"{r['model']}/{r['task']}" for r in rows if "no config asks for it" in r["marks"]]


def test_a_config_that_only_a_run_with_a_limit_has_planned_is_there(tree: Tree) -> None:
    configs = tree.root / "configs/models"
    fresh = configs / "fresh.yaml"
    fresh.write_text((configs / "one.yaml").read_text())
    assert tree.make("results", "MODELS=fresh", "LIMIT=1").status == 0
    assert "limit-1/fresh/alpha" in tree.written() and unasked(tree) == []
    (configs / "one.yaml").unlink()
    assert tree.make("results", "MODELS=fresh", "LIMIT=2").status == 0
    assert unasked(tree) == ["one/alpha", "one/beta"]
    assert tree.make("report").status == 0
    assert unasked(tree) == ["one/alpha", "one/beta"]
