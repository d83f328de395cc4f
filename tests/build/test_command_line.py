"""Knobs on the command line of a real make."""

from __future__ import annotations

import pytest

from trees import Tree


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["results", "MODEL=one"], "  did you mean MODELS=one?"),
        (["-j2", "results", "MODELS=one", "LIMT=1"], "LIMT: there is no such knob\n"),
        (["eval", "CONFIG=models/ona.yaml"], "did you mean CONFIG=configs/models/one.yaml?"),
        (["eval", "LIMIT=abc"], "LIMIT: 'abc' is not a whole number"),
        (["gc", "YES=maybe"], "YES: 'maybe' is neither on nor off\n  write YES=1"),
        (["results/one/alpha/results.json", "MODELS=one"], "MODELS: make results/one/alpha/res"),
        (["status", "FORMAT=jsn"], "FORMAT=jsn is unknown\n  write text or json"),
    ],
)  # fmt: skip
def test_mistake_stops_make_before_any_work(tree: Tree, words: list[str], told: str) -> None:
    tree.file("one/alpha").unlink()
    done = tree.make(*words)
    assert done.status == 2 and told in done.text, done.text
    assert done.text.count("make: ***") == done.text.count("***") == 1, done.text
    assert tree.ran() == [] and not tree.file("one/alpha").exists()


def test_goal_text_is_never_executed(tree: Tree) -> None:
    for goal in ("results/;touch canary;", "results/`touch canary`", "a: b;touch canary"):
        tree.make(goal, "MODELLS=one")
        assert not list(tree.root.glob("**/canary*")), goal


def test_environment_is_not_checked_for_knobs_and_dry_runs_work(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    # Variables from the environment or from an outer make are not checked as knobs.
    done = tree.results(MODEL="x", MAKELEVEL="1", MAKEFLAGS=" -- OTHER=1")
    assert done.status == 0 and tree.ran() == ["one/alpha"], done.text
    assert tree.make("-q", "results", "MODELS=one").status == 0
    tree.file("one/alpha").unlink()
    assert tree.make("-q", "results", "MODELS=one").status == 1
    assert "one/alpha" in tree.make("-n", "results", "MODELS=one").text
    assert tree.ran() == []


def test_switch_set_to_no_or_0_or_nothing_is_off(tree: Tree) -> None:
    tree.edit("models/one.yaml", ', "beta"', "")
    for word in ("YES=no", "YES=0", "YES="):
        done = tree.make("gc", word)
        assert "Nothing is removed without YES=1" in done.text, done.text
    assert "REMOVED" in tree.make("gc", "YES=yes").text
