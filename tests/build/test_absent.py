"""A release missing from the index is an error without fallback; the other models run."""

from __future__ import annotations

import pytest

import wheels
from trees import Tree

pytestmark = pytest.mark.slow

THREE = "models/three.yaml"
WHERE = "configs/models/three.yaml:5: vllm.overrides."


def test_missing_release_is_a_config_error_and_other_models_run(tree: Tree) -> None:
    tree.edit(THREE, "1.0.0", "1.0.9")
    tree.file("one/beta").unlink()
    done = tree.results()
    told = f"{WHERE}vllm_version: the index has no release 1.0.9 of standin-engine\n"
    assert done.text.count(f"error: {told}  nearest: 1.0.0, 1.1.0") == 1, done.text
    assert "failed: three: the index has no release 1.0.9 of standin-engine" in done.text
    assert done.status == 2 and "FALLBACK" not in done.text and "Traceback" not in done.text
    assert tree.ran() == ["one/beta"], "the other models run"
    assert tree.result("three/alpha")["engine"]["answered"] == "1.0.0", "what was there stays"
    again = tree.results()  # queries the index again
    assert (again.status, tree.ran()) == (2, []), again.text
    assert again.text.count(told) == 1
    wheels.build(tree.wheels, {"standin-engine": ["1.0.9"]})  # the release is published
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
    assert tree.result("three/alpha")["engine"]["answered"] == "1.0.9"


def test_every_command_reports_all_missing_pins_at_once(fresh: Tree) -> None:
    pins = 'vllm_version: "1.0.9", transformers_version: "9.9.9", extra_packages: ["lm_eval==7"]'
    fresh.edit(THREE, 'vllm_version: "1.0.0"', pins)
    fresh.edit("tasks/alpha.yaml", "task_name:", 'harness_version: "0.9.9"\ntask_name:')
    harness = "configs/tasks/alpha.yaml:1: harness_version: the index has no release 0.9.9"
    for more, also in ((), [harness]), (("TEST=1",), []):
        done = fresh.make("eval", "CONFIG=configs/models/three.yaml", *more)
        assert done.status == 2 and "Traceback" not in done.text, done.text
        for told in (
            f"{WHERE}vllm_version: the index has no release 1.0.9 of standin-engine",
            f"{WHERE}transformers_version: the index has no package named transformers",
            f"{WHERE}extra_packages.0: the index has no release 7 of lm_eval",
            *also,
        ):
            assert done.text.count(told) == 1, done.text
    assert fresh.events() == [] and fresh.written() == []
    done = fresh.make("venv", "VERSION=1.0.9", "ENGINE=standin")
    assert "error: VERSION: the index has no release 1.0.9 of standin-engine" in done.text
    assert done.status == 2
    assert "no release 1.0.9" in fresh.make("list-envs").text
