"""An option that the pinned release does not have is rejected before a server starts."""

from __future__ import annotations

import pytest

from trees import MODELS, Tree

GONE = (
    'gone: [{options: [task], since: "1.1.0", use: [runner]}, '
    '{options: [runnable], since: "1.0.0", use: [runner]}]\n'
)
NOT_IN_2 = (
    'configs/models/one.yaml:5: vllm.overrides.task: Standin 2.0.0 has no option "task" '
    '(removed in 1.1.0)\n  use "runner"\n'
)
NOT_IN_1 = (
    'configs/models/two.yaml:5: vllm.overrides.runner: Standin 1.0.0 has no option "runner"\n'
    '  use "task" instead\n'
)
VALUE = (
    "configs/models/two.yaml:5: vllm.overrides.dtype: 'float61' is not one of its values\n"
    "  did you mean float16?"
)
GOALS = [
    ("plan",),
    ("plan", "FORMAT=json"),
    ("eval", "CONFIG=configs/models/two.yaml"),
    ("results", MODELS),
    ("-n", "results", MODELS),
    ("-n", "eval", "CONFIG=configs/models/two.yaml", "TEST=1"),
]


def wrong(tree: Tree) -> None:
    """Write an option too new for its release, one too old, and an invalid value."""
    engine = tree.root / "configs/engines/standin.yaml"
    engine.write_text(engine.read_text() + "title: Standin\n" + GONE)
    tree.edit("models/one.yaml", "{}", '{task: "auto"}')
    tree.edit("models/two.yaml", '"1.0.0"', '"1.0.0", runner: "auto", dtype: "float61"')


@pytest.mark.parametrize("goal", GOALS, ids=" ".join)
def test_every_goal_rejects_wrong_options(tree: Tree, goal: tuple[str, ...]) -> None:
    wrong(tree)
    before = sorted((tree.root / "venvs").iterdir())
    done = tree.make(*goal)
    assert done.status == 2, done.text
    all_of_them = "CONFIG=configs/models/two.yaml" not in goal
    for told in (NOT_IN_1, VALUE, *([NOT_IN_2] if all_of_them else [])):
        assert done.text.count(told) == 1, done.text
    for word in ("LOCK", "VENV", "SERVE", "Traceback", "bin/serve"):
        assert word not in done.text
    assert tree.events() == []
    assert sorted((tree.root / "venvs").iterdir()) == before
    tree.edit("models/one.yaml", '{task: "auto"}', "{}")
    tree.edit("models/two.yaml", ', runner: "auto", dtype: "float61"', "")
    done = tree.results()  # a reverted mistake makes nothing stale
    assert (done.status, tree.ran()) == (0, []), done.text


def test_wrong_options_of_an_unbuilt_release_are_rejected_after_its_build(fresh: Tree) -> None:
    """The options of a release are known only once its environment is built."""
    wrong(fresh)
    goal = ("eval", "CONFIG=configs/models/two.yaml")
    done = fresh.make(*goal)
    assert done.status == 2 and NOT_IN_1 in done.text and VALUE in done.text, done.text
    assert "READY   standin_1_0_0" in done.text and fresh.events() == []
    again = fresh.make(*goal)
    assert again.status == 2 and NOT_IN_1 in again.text and VALUE in again.text, again.text
    assert "MODEL" not in again.text


def test_option_known_to_be_removed_is_rejected_before_the_build(fresh: Tree) -> None:
    wrong(fresh)
    done = fresh.make("eval", "CONFIG=configs/models/one.yaml")
    assert done.status == 2 and NOT_IN_2 in done.text, done.text
    assert "LOCK" not in done.text and not list((fresh.root / "venvs").glob("*.lock"))


def test_wrong_options_and_config_mistakes_are_reported_together(tree: Tree) -> None:
    wrong(tree)
    tree.edit("models/three.yaml", "tasks:", "taks: []\ntasks:")
    done = tree.results()
    assert done.status == 2 and "configs/models/three.yaml" in done.text, done.text
    for told in (NOT_IN_1, VALUE, NOT_IN_2, "taks"):
        assert done.text.count(told) == 1, done.text
