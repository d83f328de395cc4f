"""The list of tasks: members of groups, search and printed output."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.cli import tasks as tasks_command
from benchy.core import paths
from benchy.evaluation import task_list
from benchy.scripts import harness_index

ROWS: list[dict[str, Any]] = [
    {"name": "xnli_es", "kind": "task", "output": "multiple_choice", "dataset": "facebook/xnli:es",
     "family": "xnli", "language": "Spanish", "tags": ["inference"]},
    {"name": "xnli_fr", "kind": "task", "output": "multiple_choice", "dataset": "facebook/xnli:fr",
     "family": "xnli", "language": "French"},
    {"name": "mgsm_es", "kind": "task", "output": "generate_until", "shots": 8,
     "family": "mgsm", "language": "Spanish", "description": "School math"},
    {"name": "humaneval", "kind": "task", "output": "generate_until", "needs": ["code"]},
    {"name": "written", "kind": "python"},
    {"name": "inner", "kind": "group", "members": ["mgsm_es", "outer"]},
    {"name": "outer", "kind": "group", "members": ["xnli_es", "inner", "gone"]},
    {"name": "inference", "kind": "tag", "members": ["xnli_es"]},
]  # fmt: skip
BY_NAME = {row["name"]: row for row in ROWS}

SEARCHES = [
    ("", [row["name"] for row in ROWS]),
    ("xnli", ["xnli_es", "xnli_fr"]),
    ("SPANISH", ["xnli_es", "mgsm_es"]),
    ("spanish multiple", ["xnli_es"]),
    ("*_es", ["xnli_es", "mgsm_es"]),
    ("?nli_fr", ["xnli_fr"]),
    ("infer", ["xnli_es", "inference"]),
    ("facebook/*", ["xnli_es", "xnli_fr"]),
    ("school", ["mgsm_es"]),
    ("code", ["humaneval"]),
    ("nothing", []),
]


@pytest.mark.parametrize(("search", "expected"), SEARCHES)
def test_search_finds_words_and_patterns_in_every_field(search: str, expected: list[str]) -> None:
    words = search.split()
    assert [row["name"] for row in ROWS if task_list.matches(row, words)] == expected


def test_leaves_are_the_tasks_of_groups_tags_and_patterns() -> None:
    found, unknown = task_list.leaves(["outer", "missing"], BY_NAME)
    assert {row["name"] for row in found} == {"xnli_es", "mgsm_es"}
    assert unknown == ["missing"]
    found, unknown = task_list.leaves(["xnli_*", "inference"], BY_NAME)
    assert [row["name"] for row in found] == ["xnli_es", "xnli_fr"] and not unknown


@pytest.mark.parametrize(("asked", "shots"), [(None, [0, 8]), (3, [3]), (0, [0])])
def test_own_task_summarizes_its_harness_tasks(asked: int | None, shots: list[int]) -> None:
    meaning = specs.task_meaning(task_name=["outer"], num_fewshot=asked)
    how = specs.planned_task(description="Mine", meaning=meaning)
    own = task_list.own("mine", how, BY_NAME)
    assert (own.count, own.shots) == (2, shots)
    assert own.output == ["generate_until", "multiple_choice"]
    assert own.dataset == ["facebook/xnli:es"]


def test_index_row_describes_a_harness_task(tmp_path: Path) -> None:
    readme = (
        "| Task Family | Description | Language(s) |\n|---|---|---|\n"
        "| [acp](acpbench/README.md) | Of [BBQ](bbq/README.md) | English |\n| plain | no | no |\n"
    )
    about = harness_index.families(readme)
    assert about == {"acpbench": ("Of BBQ", "English")}
    cfg = {
        "task": "a", "dataset_path": "p", "dataset_name": "n", "unsafe_code": True,
        "output_type": "multiple_choice", "num_fewshot": 0, "metadata": {"version": 1},
    }  # fmt: skip
    place = tmp_path.resolve() / "acpbench/a.yaml"
    entry = SimpleNamespace(
        name="a", kind=SimpleNamespace(name="TASK"), cfg=cfg, yaml_path=place, tags={"t"}
    )
    assert harness_index.row(entry, tmp_path.resolve(), about) == {
        "name": "a", "kind": "task", "output": "multiple_choice", "shots": 0, "dataset": "p:n",
        "tags": ["t"], "family": "acpbench", "language": "English", "description": "Of BBQ",
        "needs": ["code"],
    }  # fmt: skip
    inner = {"task": ["a", {"task": "b", "num_fewshot": 0}, {"group": "g", "task": ["c", "d"]}]}
    assert list(harness_index.members(inner)) == ["a", "b", "c", "d"]


def show(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert tasks_command.main(list(argv)) == 0
    return capsys.readouterr().out


def test_list_shows_own_and_harness_tasks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(paths.ROOT)
    for name in ("SEARCH", "FORMAT"):
        monkeypatch.delenv(name, raising=False)
    own = task_list.Own(
        "mine", ["outer", "x", "y"], "Mine", [0, 8], ["generate_until"], ["d"], ["code"], 2, ["x"]
    )
    found = task_list.HarnessTasks("lm_eval 1.0", "lm_eval_1_0", ROWS)
    monkeypatch.setattr(task_list, "all_of", lambda house: ([own], [found]))
    whole = show(capsys)
    assert "mine  outer x …     2      0 - 8  generate_until  Mine" in whole
    assert "mine: the harness has no task x" in whole and "mine: runs code that" in whole
    assert "lm_eval 1.0: 4 tasks, 1 task in Python, 2 groups, 1 tag, in 3 folders" in whole
    assert "xnli 2" in whole and "make tasks SEARCH=" in whole
    some = show(capsys, "xnli_es")
    assert "mine" not in some and "lm_eval 1.0: 1 task\n" in some
    assert "xnli_es  task  multiple_choice  facebook/xnli:es  Spanish   inference" in some
    assert "nothing matches" in show(capsys, "qqq")
    monkeypatch.setenv("SEARCH", "spanish *_es")
    told = json.loads(show(capsys, "--format", "json"))
    assert [row["name"] for row in told["harness"][0]["rows"]] == ["xnli_es", "mgsm_es"]
    assert told["own"] == []
