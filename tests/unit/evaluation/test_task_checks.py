"""Checks of a task on a model, from the harness's facts."""

from __future__ import annotations

from typing import Any

import pytest

import specs
from benchy.evaluation import task_checks
from benchy.scripts import harness_facts


def facts(**task: Any) -> dict[str, Any]:
    """Return the facts of one task whose YAML file has these keys."""
    config = {"metric_list": [{"metric": "acc"}], **task}
    return {"tasks": {"t": harness_facts.describe(config)}, "groups": {}}


@pytest.mark.parametrize(
    ("served", "requested", "run", "task", "told"),
    [
        ({}, {"num_fewshot": 3}, {}, {"num_fewshot": 0}, "t has num_fewshot: 0"),
        ({}, {}, {}, {"repeats": 4}, "t: repeats: 4"),
        ({}, {"gen_kwargs": {"n": 2}}, {}, {}, "n: 2 asks for several answers"),
        ({}, {"gen_kwargs": {"top_pp": 1}}, {}, {},
         "requests have no generation argument 'top_pp'"),
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
        ({}, {"gen_kwargs": {"n": 1.5}}, {}, {}, "several answers"),
        ({}, {}, {}, {"doc_to_image": "x"}, "t has images in its prompts"),
        ({"chat": True}, {}, {}, {"doc_to_audio": "x"}, "t has audio in its prompts"),
        ({}, {}, {}, {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "gone"}}},
         "its data file gone is missing"),
    ],
)  # fmt: skip
def test_task_that_cannot_run_is_reported(
    served: dict[str, Any],
    requested: dict[str, Any],
    run: dict[str, Any],
    task: dict[str, Any],
    told: str,
) -> None:
    found = task_checks.mistakes(specs.of_result(served, requested, run), facts(**task))
    assert len(found) == 1 and told in found[0].what and found[0].hint, found
    assert found[0].file in ("configs/tasks/mine.yaml", "configs/one.yaml")


@pytest.mark.parametrize(
    ("served", "requested", "run", "task"),
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
    served: dict[str, Any], requested: dict[str, Any], run: dict[str, Any], task: dict[str, Any]
) -> None:
    found = task_checks.mistakes(specs.of_result(served, requested, run), facts(**task))
    assert found == []


def test_num_fewshot_fixed_by_one_of_two_subtasks_is_accepted() -> None:
    """The other uses the requested number. A mark of the result says so (marks.py)."""
    both = facts(num_fewshot=0)
    both["tasks"]["u"] = harness_facts.describe({"metric_list": [{"metric": "acc"}]})
    assert task_checks.mistakes(specs.of_result(requested={"num_fewshot": 3}), both) == []


def test_metric_of_a_group_is_accepted() -> None:
    known = facts() | {"groups": {"g": ["acc_norm"]}}
    assert task_checks.mistakes(specs.of_result(run={"metric": "acc_norm"}), known) == []


def test_unknown_and_broken_tasks_are_reported() -> None:
    found = task_checks.mistakes(
        specs.of_result(), {"unknown": {"hellaswga": ["hellaswag"]}, "errors": {"b": "No x"}}
    )
    assert sorted(m.what for m in found) == [
        "the harness can't load 'b': No x",
        "there is no task 'hellaswga' in lm_eval_0_4_13",
    ]
    assert any("'hellaswag'" in m.hint for m in found)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("gen_kwargs", ("configs/tasks/mine.yaml", 4)),
        ("gen_kwargs.until", ("configs/tasks/mine.yaml", 4)),
        ("metric", ("configs/tasks/mine.yaml", 0)),
        ("", ("configs/tasks/mine.yaml", 0)),
    ],
)
def test_mistake_is_at_the_line_of_its_key(key: str, place: tuple[str, int]) -> None:
    found = task_checks.mistake(specs.of_result().task, key, "what", "hint")
    assert ((found.file, found.line), found.key) == (place, key)


def test_refusal_names_its_task() -> None:
    refused = {"task": "t", "what": "w", "hint": "h"}
    assert str(task_checks.refusal("mine.yaml", refused)) == "mine.yaml: t: w\n  h"
    assert str(task_checks.refusal("mine.yaml", refused | {"task": ""})) == "mine.yaml: w\n  h"
