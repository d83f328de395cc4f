"""An incremental plan, which reuses parts of the previous plan, equals a plan from scratch."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from benchy.config import yaml_file
from benchy.plan import plan_cache
from trees import Tree

THREE = "configs/models/three.yaml"
MATRIX = 'matrix: {vllm_version: ["1.0.0", "1.1.0"]}\n'


def plan(tree: Tree) -> dict[str, str]:
    """Run bin/plan and return path → text of the rules, the specs and plan.json."""
    subprocess.run(["bin/plan"], cwd=tree.root, env=tree.environ(), check=True)
    paths = [*tree.root.glob("build/specs/**/*.json"), *tree.root.glob("build/*")]
    there = [p for p in paths if p.name in ("rules.mk", "plan.json") or "specs" in p.parts]
    return {str(p.relative_to(tree.root)): p.read_text() for p in there if p.is_file()}


def check_from_nothing(tree: Tree, found: dict[str, str]) -> None:
    """Compare `found` with a plan from scratch. `found` may also have leftover specs."""
    shutil.rmtree(tree.root / "build")
    for name, text in plan(tree).items():
        assert found[name].splitlines() == text.splitlines(), name


def change(old: str, new: str) -> Callable[[str], str]:
    def apply(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return apply


EDITS: dict[str, tuple[bool, Callable[[str], str]]] = {
    "comment at the end": (True, lambda text: text + "# hello\n"),
    "comment above": (True, lambda text: "# hello\n\n" + text),
    "comment between": (True, change("tasks:", "# hello\ntasks:")),
    "another form": (False, change("{vllm_version: ", "{\n    vllm_version: ")),
    "one line of two": (
        True,
        change('model:\n  name: "acme/three"', "model: {name: acme/three}"),
    ),
    "order of keys": (False, lambda text: text[text.index("vllm") :] + text[: text.index("vllm")]),
    "a number's text": (False, change("max_model_len: 256", "max_model_len: 0x100")),
    "another value": (False, change("256", "257")),
    "another release": (False, change('"1.0.0"', '"1.1.0"')),
    "a task more": (False, change('["alpha"]', '["alpha", "beta"]')),
    "a matrix": (False, lambda text: text.replace('vllm_version: "1.0.0", ', "") + MATRIX),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_incremental_plan_equals_a_plan_from_scratch(tree: Tree, edit: str) -> None:
    again, apply = EDITS[edit]
    config, mark = tree.root / THREE, "# taken from the plan before\n"
    plan(tree)
    memory = json.loads((tree.root / "build/kept.json").read_text())
    memory["entries"][THREE]["rules"]["three"] += mark
    (tree.root / "build/kept.json").write_text(json.dumps(memory))
    config.write_text(apply(config.read_text()))
    first = plan(tree)
    assert (mark in first["build/rules.mk"]) == again
    first["build/rules.mk"] = first["build/rules.mk"].replace(mark, "")
    check_from_nothing(tree, first)
    config.write_text("# and once more\n" + config.read_text())
    check_from_nothing(tree, plan(tree))


def test_line_numbers_in_specs_follow_an_edit(tree: Tree) -> None:
    plan(tree)
    config = tree.root / THREE
    config.write_text("# hello\n" + config.read_text())
    plan(tree)
    server = json.loads((tree.root / "build/specs/server/three.json").read_text())
    line = 1 + config.read_text().splitlines().index(
        '  overrides: {vllm_version: "1.0.0", max_model_len: 256}'
    )
    assert server["where"]["options.max_model_len"] == f"{THREE}:{line}"
    assert server["origin"]["max_model_len"] == f"{THREE}:{line}"


def test_meaning_depends_on_values_and_order_but_not_on_layout() -> None:
    def meaning(text: str) -> str:
        return plan_cache.meaning(yaml_file.parse(text, "x"))

    same = meaning("a: 1\nb: [x, 0.10]\n")
    assert meaning("# c\na: 1\n\nb:\n- x\n- 0.10\n") == same
    for other in ("a: 1\nb: [x, 0.1]\n", "a: true\nb: [x, 0.10]\n", "b: [x, 0.10]\na: 1\n"):
        assert meaning(other) != same
