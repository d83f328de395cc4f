"""Golden tests: the plan of tests/build/configs, compared as literal text.

UPDATE_GOLDEN=1 rewrites the golden files. Review the diff before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchy.config import loader
from benchy.core import hashing, paths
from benchy.core.specs import FailureMarker
from benchy.plan import planner, writer
from benchy.plan.environment_specs import PlanContext
from benchy.plan.plan import Plan

HERE = Path(__file__).parent
TREE = HERE.parent / "build"
BROKEN: dict[str, FailureMarker] = {
    "standin_1_0_0": {"what": "standin-engine 1.0.0 can't be resolved"}
}

CASES = [
    ("rules.mk", None, {}, True),
    ("rules-limit.mk", 5, {}, True),
    ("rules-fallback.mk", None, BROKEN, True),
]


def expand(limit: int | None, failures: dict[str, FailureMarker], fallback: bool) -> Plan:
    around = PlanContext(paths.ROOT, lambda: "0.32.0", failures, fallback)
    return planner.expand(loader.load(TREE), around, limit)


def compare(name: str, text: str) -> None:
    golden = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(("name", "limit", "failures", "fallback"), CASES)
def test_rules_match_the_golden_files(
    name: str, limit: int | None, failures: dict[str, FailureMarker], fallback: bool
) -> None:
    made = expand(limit, failures, fallback)
    compare(name, writer.makefile(made, "build" + ("/limit-5" if limit else "")))


def test_specs_match_the_golden_file() -> None:
    made = expand(None, {}, True)
    text = "".join(
        hashing.canonical(s)
        for s in (
            made.environments["standin_1_0_0"],
            made.servers["six"],
            made.tasks["gamma"],
            made.results["three", "alpha"],
        )
    )
    compare("specs.json", text)


def test_fallback_can_be_turned_off() -> None:
    made = expand(None, BROKEN, False)
    assert made.servers["two"]["environment"] == "standin_1_0_0"
    assert made.servers["two"]["fallback"] is None


def test_rules_are_the_same_each_time() -> None:
    assert writer.makefile(expand(None, {}, True), "build") == writer.makefile(
        expand(None, {}, True), "build"
    )


def test_free_text_stays_out_of_the_rules(tmp_path: Path) -> None:
    """Hub names, options and task descriptions never appear in a makefile."""
    hostile = "$(shell touch x)`touch x`;touch x#%"
    tree = tmp_path / "configs"
    for path in (TREE / "configs").rglob("*.yaml"):
        copy = tree / path.relative_to(TREE / "configs")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (tree / "models" / "bad.yaml").write_text(
        f"model: {{name: '{hostile}'}}\n"
        f"vllm: {{provider_config: standin, overrides: {{dtype: '{hostile}'}}}}\ntasks: [alpha]\n"
    )
    around = PlanContext(paths.ROOT, lambda: "0.32.0", {})
    made = planner.expand(loader.load(tmp_path), around, None)
    assert "touch" not in writer.makefile(made, "build").replace("@touch $@", "")
    assert made.servers["bad"]["name"] == hostile
