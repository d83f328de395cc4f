"""bin/gc and configs outside configs/."""

from __future__ import annotations

import json
import shutil

import pytest

from trees import Tree

NOTHING = "gc: everything is referred to"


def test_results_of_a_config_outside_configs_are_kept_while_it_exists(tree: Tree) -> None:
    mine = tree.base / "mine.yaml"
    shutil.copy(tree.root / "configs/models/one.yaml", mine)
    assert tree.make("eval", f"CONFIG={mine}").status == 0
    assert "mine/alpha" in tree.written()
    assert tree.make("gc").text.strip() == NOTHING
    tree.make("clean")  # also deletes the plan that refers to that config
    assert tree.make("gc").text.strip() == NOTHING
    mine.unlink()
    assert "results/mine  no config has its model" in tree.make("gc").text
    assert not list((tree.root / "results/one").glob(".source"))


def unasked(tree: Tree) -> list[str]:
    """Return MODEL/TASK of each leaderboard row that no config requests."""
    rows = json.loads((tree.root / "results/leaderboard.json").read_text())
    return [f"{r['model']}/{r['task']}" for r in rows if "not in any config" in r["marks"]]


@pytest.mark.slow
def test_result_of_a_config_planned_only_with_limit_counts_as_requested(tree: Tree) -> None:
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
