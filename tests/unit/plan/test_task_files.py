"""Tests of the files that a harness task depends on: which edit changes which tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchy.plan import task_files

BASE = """# shared
dataset_path: json
output_type: generate_until
doc_to_text: "{{q}}"
"""
FILES = {
    "own/_base": BASE,
    "own/one.yaml": "include: _base\ntask: one\ntag: pair\n"
    "dataset_kwargs: {data_files: {test: own/one.jsonl}}\n",
    "own/two.yaml": "include: _base\ntask: two\ntag: [pair, other]\n"
    "process_docs: !function code.helper.keep\n"
    "dataset_kwargs: {data_files: {test: [own/two.jsonl, 'data/two-*.jsonl']}}\n",
    "own/three.yaml": "task: three\ndataset_path: data/three\nmetric_list: [{metric: acc}]\n",
    "own/reads.yaml": "task: reads\ndataset_path: data/three\nprocess_docs: !function reads.docs\n",
    "own/group.yaml": "group: mine\ntask:\n- one\n- task: three\n  num_fewshot: 2\n"
    "- group: inner\n  task: [{task: inline, dataset_path: json,"
    " dataset_kwargs: {data_files: own/inline.jsonl}}]\n",
    "own/suite.yaml": "group: suite\ntask: [hellaswag, one]\n",
    "own/code/helper.py": "import json\nimport shared\n\n\ndef keep(docs):\n"
    "    return json.loads(shared.TEXT)\n",
    "own/reads.py": "from pathlib import Path\n\n\ndef docs(data):\n    return data\n",
    "shared.py": "TEXT = '[]'\n",
    "own/one.jsonl": "1\n",
    "own/two.jsonl": "1\n",
    "own/inline.jsonl": "1\n",
    "data/two-a.jsonl": "1\n",
    "data/three/test.jsonl": "1\n",
    "alone.yaml": "task: alone\ndataset_path: json\n"
    "dataset_kwargs: {data_files: data/alone.jsonl}\n",
    "data/alone.jsonl": "1\n",
    "own/README.md": "text\n",
}
NAMES = ("one", "two", "three", "reads", "pair", "mine", "suite", "alone.yaml", "t*", "hellaswag")
# Tasks that may depend on every definition and every file of the folder.
ANY = {"suite", "t*", "hellaswag"}
WHOLE = {"reads", *ANY}  # `reads` may open any file; ANY may depend on `reads`
EDITS: list[tuple[str, str, set[str]]] = [
    ("own/README.md", "other\n", WHOLE),
    ("own/_base", BASE.replace("# shared", "# a comment"), set()),
    (
        "own/_base",
        "output_type: generate_until\ndataset_path: 'json'\ndoc_to_text: '{{q}}'\n",
        set(),
    ),
    ("own/_base", BASE.replace("{{q}}", "{{q}}?"), {"one", "two", "pair", "mine", *WHOLE}),
    ("own/one.yaml", FILES["own/one.yaml"] + "# a comment\n", set()),
    ("own/one.yaml", FILES["own/one.yaml"] + "repeats: 1\n", {"one", "pair", "mine", *WHOLE}),
    ("own/one.jsonl", "2\n", {"one", "pair", "mine", *WHOLE}),
    ("own/two.jsonl", "2\n", {"two", "pair", *WHOLE}),
    ("data/two-a.jsonl", "2\n", {"two", "pair", *ANY}),
    ("data/two-b.jsonl", "2\n", {"two", "pair", *ANY}),
    ("own/code/helper.py", "x = 1\n", {"two", "pair", *WHOLE}),
    ("shared.py", "TEXT = '[1]'\n", {"two", "pair", *ANY}),
    ("data/three/test.jsonl", "2\n", {"three", "reads", "mine", *ANY}),
    ("data/three/more.jsonl", "2\n", {"three", "reads", "mine", *ANY}),
    ("own/inline.jsonl", "2\n", {"mine", *WHOLE}),
    ("own/group.yaml", "group: mine\ntask: [one]\n", {"mine", *WHOLE}),
    ("own/reads.py", "def docs(data):\n    return 1\n", {"reads", *ANY}),
    ("own/new.yaml", "task: new\n", WHOLE),
    ("own/new.yaml", "task: one\n", {"one", "pair", "mine", *WHOLE}),
    ("own/new.yaml", "task: [\n", {"reads", *ANY}),
    ("alone.yaml", FILES["alone.yaml"] + "repeats: 1\n", {"alone.yaml"}),
    ("data/alone.jsonl", "2\n", {"alone.yaml"}),
]


def lay(root: Path) -> None:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def digests(root: Path) -> dict[str, str]:
    folder = task_files.TaskFolder(root / "own", root)
    found = {name: folder.follow([name]).digests() for name in NAMES}
    return {
        name: json.dumps({str(path): digest for path, digest in each.items()})
        for name, each in found.items()
    }


@pytest.mark.parametrize(
    ("file", "text", "changed"), EDITS, ids=[f"{n}-{e[0]}" for n, e in enumerate(EDITS)]
)
def test_an_edit_changes_only_the_tasks_that_depend_on_the_file(
    tmp_path: Path, file: str, text: str, changed: set[str]
) -> None:
    lay(tmp_path)
    before = digests(tmp_path)
    (tmp_path / file).write_text(text)
    after = digests(tmp_path)
    assert {name for name in NAMES if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ("code", "opens"),
    [
        ("import re, json, random\nimport datasets\nx = json.loads('1')\n", False),
        ("from lm_eval.api.filter import Filter\n", False),
        ("def f(d):\n    return open('x')\n", True),
        ("import os\n", True),
        ("from importlib import resources\n", True),
        ("import json\nx = json.load(y)\n", True),
        ("from datasets import load_dataset\n", True),
        ("import pandas\nx = pandas.read_csv('a')\n", True),
        ("x = __file__\n", True),
        ("def (\n", True),
    ],
)
def test_code_that_may_open_files_depends_on_the_whole_folder(
    tmp_path: Path, code: str, opens: bool
) -> None:
    (tmp_path / "a.yaml").write_text("task: a\nx: !function code.f\n")
    (tmp_path / "code.py").write_text(code)
    found = task_files.TaskFolder(tmp_path, tmp_path / "elsewhere").follow(["a"])
    assert found.folders == ({tmp_path} if opens else set())


@pytest.mark.parametrize(
    "text",
    ["include: a.yaml\ntask: a\n", "task: a\nx: &x [*x]\n", "- a\n", "task: a\nx: [\n", "\0",
     "x: .nan\ntask: a\n",
     "task: a\nx: 2020-01-01\ny: !!binary aGk=\nz: {1: 2, null: 3}\n",
     "task: a\na: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
     "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
     "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
     "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n"],
    ids=["itself", "alias", "list", "open", "null", "nan", "odd", "bomb"],
)  # fmt: skip
def test_malformed_and_unusual_task_files_have_digests(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    before = task_files.TaskFolder(tmp_path, tmp_path).follow(["a"]).digests()
    assert list(before) == [tmp_path / "a.yaml"]
    (tmp_path / "a.yaml").write_text(f"{text}\nmore: 1\n")
    assert task_files.TaskFolder(tmp_path, tmp_path).follow(["a"]).digests() != before


def test_large_folders_named_in_code_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.yaml").write_text("task: a\ndataset_path: /\nx: !function code.f\n")
    (tmp_path / "own/code.py").write_text(f"A = '/', '//', '/proc/self', '{tmp_path}'\n")
    found = task_files.TaskFolder(tmp_path / "own", tmp_path).follow(["a"])
    assert {path.name for path in found.digests()} == {"a.yaml", "code.py"}
