"""Facts that benchy reads from the real harness, about custom tasks and about the harness's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchy.plan import task_files
from clone import make

BASE = """
dataset_path: json
dataset_kwargs: {data_files: {test: [a.jsonl, b.jsonl]}}
test_split: test
doc_to_text: '{{q}}'
doc_to_target: '{{a}}'
num_fewshot: 2
"""
FILES = {
    "_base.yaml": BASE,
    "facts_choice.yaml": "include: _base.yaml\ntask: facts_choice\noutput_type: multiple_choice\n"
    "doc_to_choice: [a, b]\n",
    "facts_answer.yaml": "include: _base.yaml\ntask: facts_answer\ntag: facts_tag\nrepeats: 3\n"
    "output_type: generate_until\ngeneration_kwargs: {max_new_tokens: 9}\n"
    "metric_list: [{metric: !function scores.mine, aggregation: mean}, {metric: exact_match}]\n"
    "filter_list: [{name: strict, filter: [{function: take_first}]}]\n",
    "scores.py": "def mine(items):\n    return 1\n",
    "facts_group.yaml": "group: facts_group\ntask:\n- facts_choice\n- task: facts_answer\n"
    "  num_fewshot: 0\n- group: facts_inner\n  task: [facts_python]\n"
    "aggregate_metric_list: [{metric: acc}]\n",
    "facts_python.yaml": "task: facts_python\nclass: !function written.Mine\n",
    "written.py": "from lm_eval.api.task import ConfigurableTask\n\n\n"
    "class Mine(ConfigurableTask):\n    pass\n",
    "facts_suite.yaml": "group: facts_suite\ntask: [arc_easy, hellaswag]\n",
    "facts_typo.yaml": "group: facts_typo\ntask: [arc_easy, helaswag]\n",
    "facts_broken.yaml": "include: gone.yaml\ntask: facts_broken\n",
}


@pytest.fixture(scope="module")
def python(tree: Path) -> str:
    done = make(tree, "venv", "ENGINE=lm_eval", "VERSION=0.4.13")
    assert done.returncode == 0, done.stderr
    return str(tree / "venvs/lm_eval_0_4_13/bin/python")


def facts(python: str, tree: Path, **asked: Any) -> dict[str, Any]:
    script = "lib/benchy/scripts/harness_facts.py"
    done = subprocess.run(
        [python, script, "tasks", json.dumps(asked)], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_facts_of_custom_tasks_are_read(python: str, tree: Path, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    names = ["facts_group", "facts_tag", "facts_broken", "facts_grup"]
    found = facts(python, tree, include_path=str(tmp_path), names=names)
    choice, answer = found["tasks"]["facts_choice"], found["tasks"]["facts_answer"]
    assert choice["output_type"] == "multiple_choice" and choice["num_fewshot"] == 2
    assert choice["data_files"] == ["a.jsonl", "b.jsonl"] and choice["examples_from_test"]
    assert ["acc", "none"] in choice["metrics"]
    assert answer["metrics"] == [["mine", "strict"], ["exact_match", "strict"]]
    assert answer["repeats"] == 3
    assert answer["generation_kwargs"] == {"until": ["\n\n"], "max_new_tokens": 9}
    assert found["tasks"]["facts_python"] == {}
    assert found["groups"] == {"facts_group": ["acc"], "facts_group::facts_inner": []}
    assert list(found["errors"]) == ["facts_broken"]
    told = found["errors"]["facts_broken"]
    assert "facts_broken.yaml: " in told and "gone.yaml" in told
    assert "facts_group" in found["unknown"]["facts_grup"]


def test_a_custom_group_may_contain_tasks_of_the_harness(
    python: str, tree: Path, tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    found = facts(python, tree, include_path=str(tmp_path), names=["facts_suite"])
    assert {name: each["output_type"] for name, each in found["tasks"].items()} == {
        "arc_easy": "multiple_choice", "hellaswag": "multiple_choice",
    }  # fmt: skip
    assert ["acc_norm", "none"] in found["tasks"]["arc_easy"]["metrics"] and not found["unknown"]
    found = facts(python, tree, include_path=str(tmp_path), names=["facts_typo"])
    assert "hellaswag" in found["unknown"]["helaswag"] and list(found["tasks"]) == ["arc_easy"]


def test_facts_of_the_harness_tasks_are_read(python: str, tree: Path) -> None:
    found = facts(python, tree, include_path=None, names=["hellaswag", "gsm8k", "arc_*", "gsm9k"])
    assert found["tasks"]["hellaswag"]["output_type"] == "multiple_choice"
    assert ["exact_match", "strict-match"] in found["tasks"]["gsm8k"]["metrics"]
    assert {"arc_easy", "arc_challenge"} <= set(found["tasks"])
    assert "gsm8k" in found["unknown"]["gsm9k"] and not found["errors"]


# Prints the files below a folder that the harness opens while it loads tasks and their data.
OPENED = """
import json, os, sys
from lm_eval.tasks import TaskManager
folder, names = os.path.realpath(sys.argv[1]), sys.argv[2:]
manager, opened = TaskManager(include_path=folder, include_defaults=False), set()
def note(event, args):
    if event == "open" and isinstance(args[0], (str, os.PathLike)):
        opened.add(os.path.realpath(args[0]))
sys.addaudithook(note)
manager.load(names)
print(json.dumps(sorted(p for p in opened if p.startswith(folder) and not p.endswith(".pyc"))))
"""
TRACED = {
    "code.py": "import re\n\n\ndef keep(docs):\n    return docs\n",
    "traced.yaml": "include: _smoke\ntask: traced\nprocess_docs: !function code.keep\n"
    "metric_list: [{metric: exact_match}]\n"
    "dataset_kwargs: {data_files: {test: 'DIR/a-*.jsonl'}}\n",
    "other.yaml": "include: _smoke\ntask: other\n"
    "dataset_kwargs: {data_files: {test: DIR/b.jsonl}}\n",
    "all.yaml": "group: all_traced\ntask: [traced, other]\n",
    "_smoke": "dataset_path: json\ntest_split: test\n"
    "doc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n",
    "a-1.jsonl": '{"q": "1", "a": "2"}\n',
    "a-2.jsonl": '{"q": "1", "a": "2"}\n',
    "b.jsonl": '{"q": "1", "a": "2"}\n',
    "README.md": "text\n",
}


@pytest.mark.parametrize("names", [["traced"], ["other"], ["all_traced"]])
def test_the_harness_opens_exactly_the_files_that_benchy_tracks(
    python: str, tree: Path, tmp_path: Path, names: list[str]
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name, text in TRACED.items():
        (folder / name).write_text(text.replace("DIR", str(folder)))
    env = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", OPENED, str(folder), *names],
        cwd=tree, capture_output=True, text=True, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stdout.splitlines()[-1])
    followed = task_files.TaskFolder(folder, tree).follow(names).digests()
    assert opened == sorted(map(str, followed))
