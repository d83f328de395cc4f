"""Make adds one line below an error message. After a failed plan, the old rules are not used."""

from __future__ import annotations

import pytest

from trees import Tree

BAD = 'model: {name: acme/one}\nvllm: {provider_config: standin}\ntaks: ["alpha"]\n'
GOALS = [
    "results", "-j3 results", "-k results", "-n results", "-q results", "-k -q results",
    "fetch", "venvs", "-k venvs", "list-envs", "gc", "why", "wheelhouse", "prune-venvs", "plan",
    "eval CONFIG=configs/models/bad.yaml", "plan CONFIG=configs/models/bad.yaml",
    "why CONFIG=configs/models/bad.yaml", "results/one/alpha/results.json",
    "-k results/one/alpha/results.json", "venvs/standin_1_0_0/.stamp",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("planned", [True, False], ids=["with a plan", "without"])
def test_config_mistake_prints_error_hint_and_one_line_of_make(tree: Tree, planned: bool) -> None:
    if not planned:
        tree.make("clean")
    (tree.root / "configs/models/bad.yaml").write_text(BAD)
    tree.file("one/alpha").unlink()
    for goal in GOALS:
        done = tree.make(*goal.split())
        told = done.text.splitlines()
        if goal.startswith("-n "):  # the recipe is printed first
            told = told[[line.startswith("error: ") for line in told].index(True) :]
        assert told[0].startswith("error: configs/models/bad.yaml:3: taks: "), done.text
        assert told[1] == "  did you mean 'tasks'?", done.text
        assert len(told) == 3 and told[2].startswith("make: *** ["), f"{goal}\n{done.text}"
        assert told[2].endswith("] Error 2") and done.status == 2
    assert tree.ran() == [] and not tree.file("one/alpha").exists()
    told = tree.make("status").text.splitlines()[2:]
    assert told[0] == ("according to the last plan:" if planned else "failed: there is no plan yet")
    done = tree.make("report")
    assert done.status == 0 and "***" not in done.text and "No such file" not in done.text


@pytest.mark.parametrize("flags", ["", "-k", "-q", "-k -q", "-n", "-k -n", "-k -j2"])
def test_graph_alone_never_uses_old_rules(tree: Tree, flags: str) -> None:
    (tree.root / "configs/models/bad.yaml").write_text(BAD)
    tree.file("one/alpha").unlink()
    for look in ((), ("look=1",)):
        done = tree.make(*flags.split(), "-f", "mk/graph.mk", *look, "all")
        assert done.status == 2 and "bin/eval" not in done.text, done.text
    assert tree.ran() == []


def test_ignoring_errors_is_refused(tree: Tree) -> None:
    done = tree.make("-i", "results")
    assert done.status == 2 and "-k to continue after them.  Stop." in done.text, done.text
    assert len(done.text.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        ("resluts", "resluts: there is no such goal", "did you mean make results?"),
        ("results one", "one: there is no such goal", "write make results MODELS=one"),
        ("results alpha", "alpha: there is no such goal", "write make results TASKS=alpha"),
        ("eval configs/models/one.yaml", "configs/models/one.yaml: there is no such goal",
         "write make eval CONFIG=configs/models/one.yaml"),
        ("results xyz", "xyz: there is no such goal", "make help lists the goals"),
        ("results/on/alpha/results.json",
         "results/on/alpha/results.json: no configuration requests it",
         "did you mean results/one/alpha/results.json?"),
        ("venvs/x/.stamp", "venvs/x/.stamp: no configuration requests it",
         "`make plan` lists what would be built"),
        ("eval CONFIG=nope.yaml", "CONFIG: there is no file nope.yaml",
         "write CONFIG=configs/quickstart.yaml"),
        ("eval CONFIG=configs/tasks/alpha.yaml",
         "CONFIG: configs/tasks/alpha.yaml is a file of configs/tasks, not of a model",
         "write CONFIG=configs/quickstart.yaml, or another model's file"),
        ("results LIMIT=abc", "LIMIT: 'abc' is not a whole number", "write LIMIT=10"),
    ],
)  # fmt: skip
def test_wrong_goal_or_knob_is_reported_with_a_hint(
    tree: Tree, words: str, told: str, hint: str
) -> None:
    tree.file("one/alpha").unlink()
    done = tree.make(*words.split())
    lines = done.text.splitlines()
    assert lines[:2] == [f"error: {told}", f"  {hint}"], done.text
    assert len(lines) == 3 and lines[2].startswith("make: *** ["), done.text
    assert (done.status, tree.ran()) == (2, [])
