"""Checks of a task on a model, from the harness's facts, before a device is taken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core.specs import ResultSpec, ServerSpec, TaskSpec
from benchy.evaluation import harness, preflight
from benchy.scripts import harness_facts


def server(chat: bool = False, **options: Any) -> ServerSpec:
    return specs.server(chat=chat, options=options)


def spec(**task: Any) -> ResultSpec:
    return specs.result(task=specs.task_meaning(**task))


def how(**more: Any) -> TaskSpec:
    where = {"": "configs/tasks/mine.yaml", "gen_kwargs": "configs/tasks/mine.yaml:4"}
    return specs.task(where=where, **more)


def facts(**task: Any) -> dict[str, Any]:
    """Return the facts of one task whose YAML file has these keys."""
    config = {"metric_list": [{"metric": "acc"}], **task}
    return {"tasks": {"t": harness_facts.describe(config)}, "groups": {}}


@pytest.mark.parametrize(
    ("served", "asked", "run", "task", "told"),
    [
        ({}, {"num_fewshot": 3}, {}, {"num_fewshot": 0}, "t has num_fewshot: 0"),
        ({}, {}, {}, {"repeats": 4}, "t: repeats: 4"),
        ({}, {"gen_kwargs": {"n": 2}}, {}, {}, "n: 2 asks for several answers"),
        ({}, {"gen_kwargs": {"top_pp": 1}}, {}, {},
         "no request has a generation argument 'top_pp'"),
        ({"max_model_len": 512}, {"gen_kwargs": {"max_new_tokens": 512}}, {}, {},
         "answers of up to 512 tokens leave no room in max_model_len 512"),
        ({"max_model_len": 256}, {}, {}, {}, "answers of up to 256 tokens"),
        ({}, {}, {"metric": "f1"}, {}, "the task has no metric 'f1'"),
        ({}, {}, {"metric": "acc,strict"}, {}, "the task has no metric 'acc,strict'"),
        ({"chat": True}, {}, {}, {"output_type": "multiple_choice"}, "(t), which a chat endpoint"),
        ({}, {"tokenizer_backend": "none"}, {}, {"output_type": "multiple_choice"},
         "t needs log-likelihoods"),
        ({}, {"tokenizer_backend": "remote"}, {}, {}, "remote needs an endpoint"),
        ({}, {}, {}, {"unsafe_code": True}, "t runs code that the model wrote"),
        ({"chat": True}, {}, {}, {"unsafe_code": True}, "t runs code that the model wrote"),
        ({}, {}, {}, {"doc_to_image": "x"}, "t has images in its prompts"),
        ({"chat": True}, {}, {}, {"doc_to_audio": "x"}, "t has audio in its prompts"),
        ({}, {}, {}, {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "gone"}}},
         "its data file gone is missing"),
    ],
)  # fmt: skip
def test_task_that_cannot_run_is_reported(
    served: dict[str, Any],
    asked: dict[str, Any],
    run: dict[str, Any],
    task: dict[str, Any],
    told: str,
) -> None:
    found = preflight.task_mistakes(server(**served), spec(**asked), how(**run), facts(**task))
    assert len(found) == 1 and told in found[0].what and found[0].hint, found
    assert found[0].file in ("configs/tasks/mine.yaml", "configs/one.yaml")


@pytest.mark.parametrize(
    ("served", "asked", "run", "task"),
    [
        ({}, {}, {}, {}),
        ({}, {"num_fewshot": 3}, {}, {"num_fewshot": 2}),
        ({}, {"num_fewshot": 0}, {}, {"num_fewshot": 0}),
        ({}, {"gen_kwargs": {"n": 1, "top_p": 0.9, "min_tokens": 3}}, {}, {}),
        ({"max_model_len": 512}, {"gen_kwargs": {"max_new_tokens": 511}}, {}, {}),
        # gen_kwargs override the task's generation_kwargs.
        ({"max_model_len": 512}, {"gen_kwargs": {"max_new_tokens": 8}}, {},
         {"generation_kwargs": {"max_gen_toks": 512}}),
        ({"max_model_len": 128}, {}, {}, {"output_type": "multiple_choice"}),
        ({}, {}, {"metric": "acc"}, {}),
        ({}, {}, {"metric": "acc,strict"}, {"filter_list": [{"name": "strict"}]}),
        ({"chat": True}, {}, {}, {}),
        ({"chat": True}, {}, {}, {"doc_to_image": "x"}),
        ({"enable_tokenizer_info_endpoint": True}, {"tokenizer_backend": "remote"}, {}, {}),
        ({}, {}, {}, {"dataset_path": "json", "dataset_kwargs": {"data_files": __file__}}),
        ({}, {}, {}, {"class": "written in Python"}),
    ],
)  # fmt: skip
def test_task_that_can_run_is_accepted(
    served: dict[str, Any], asked: dict[str, Any], run: dict[str, Any], task: dict[str, Any]
) -> None:
    found = preflight.task_mistakes(server(**served), spec(**asked), how(**run), facts(**task))
    assert found == []


def test_num_fewshot_fixed_by_one_of_two_subtasks_is_accepted() -> None:
    """The other uses the requested number. A mark of the result says so (marks.py)."""
    both = facts(num_fewshot=0)
    both["tasks"]["u"] = harness_facts.describe({"metric_list": [{"metric": "acc"}]})
    assert preflight.task_mistakes(server(), spec(num_fewshot=3), how(), both) == []


def test_metric_of_a_group_is_accepted() -> None:
    known = facts() | {"groups": {"g": ["acc_norm"]}}
    assert preflight.task_mistakes(server(), spec(), how(metric="acc_norm"), known) == []


def test_unknown_and_broken_tasks_are_reported() -> None:
    found = preflight.task_mistakes(
        server(), spec(), how(), {"unknown": {"hellaswga": ["hellaswag"]}, "errors": {"b": "No x"}}
    )
    assert sorted(m.what for m in found) == [
        "the harness can't load 'b': No x",
        "there is no task 'hellaswga' in lm_eval_0_4_13",
    ]
    assert any("'hellaswag'" in m.hint for m in found)


@pytest.mark.parametrize(
    ("files", "error", "where", "told"),
    [
        (["config.json"], "ValueError: no backend", "configs/one.yaml", "has no tokenizer"),
        (["tokenizer.json"], "ValueError: data did not match", "configs/tasks/mine.yaml", "pin of"),
        (None, "OSError: We couldn't connect", "configs/one.yaml", "the network"),
        (None, "KeyError: 'qwen9'", "configs/tasks/mine.yaml", "pin of transformers"),
    ],
)
def test_tokenizer_that_does_not_load_is_reported_with_a_hint(
    files: list[str] | None, error: str, where: str, told: str, tmp_path: Path
) -> None:
    asked = spec()
    if files:
        for file in files:
            (tmp_path / file).touch()
        asked["model"]["name"] = asked["model"]["path"] = str(tmp_path)
    (found,) = preflight.tokenizer_mistakes(server(), asked, how(), None, {"error": error})
    assert found.file == where and told in found.hint and error in found.what
    assert preflight.tokenizer_mistakes(server(), asked, how(), None, {"prefix": []}) == []


def test_tiktoken_error_suggests_huggingface() -> None:
    asked = spec(tokenizer_backend="tiktoken")
    error = {"error": "KeyError: 'Could not automatically map one to a tokeniser'"}
    (found,) = preflight.tokenizer_mistakes(server(), asked, how(), None, error)
    assert (found.key, found.hint) == ("tokenizer_backend", "write huggingface")


def test_tokenizer_difference_names_the_first_different_token() -> None:
    found = preflight.tokenizer_differs(how(), "Hi you", [1, 5, 6, 7], [5, 6, 7])
    assert "4 and 3 tokens, from token 0 on [1, 5, 6, 7] and [5, 6, 7]" in found.what
    found = preflight.tokenizer_differs(how(), "Hi you", [5, 6, 7, 2], [5, 6, 7])
    assert "from token 3 on [7, 2] and [7]" in found.what


@pytest.mark.parametrize(
    ("said", "kept"),
    [({"error": "OSError: hub"}, False), ({"errors": {"t": "x"}}, False), ({"tasks": {}}, True)],
)
def test_facts_are_cached_unless_they_report_an_error(
    said: dict[str, Any], kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "python", lambda spec: sys.executable)
    monkeypatch.setattr(preflight, "SCRIPT", tmp_path / "facts.py")
    preflight.SCRIPT.write_text("print('a warning')\nprint(open('said').read())\n")
    Path("said").write_text(json.dumps(said))
    assert preflight.task_facts(spec(), how(), {}) == said
    Path("said").write_text("no JSON")
    assert preflight.task_facts(spec(), how(), {}) == (said if kept else {})
