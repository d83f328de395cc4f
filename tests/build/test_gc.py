"""bin/gc and configs that lie outside of configs/."""

from __future__ import annotations

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
