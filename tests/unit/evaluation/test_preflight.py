"""Checks of a task on a model before a device is taken: which run, and what counts as passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core import paths
from benchy.core.errors import Mistake
from benchy.core.specs import ServerSpec
from benchy.evaluation import harness, harness_questions, model_checks, preflight
from benchy.evaluation.preflight import ModelFiles
from benchy.serving.preparation import NOT_FETCHED, FetchedFiles

UNKNOWN: dict[str, Any] = {"unknown": {"t": []}}
BROKEN = {"error": "KeyError: 'qwen9'"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "environment", lambda *args: {})
    monkeypatch.setattr(model_checks, "mistakes", lambda server, env: [])


def answer(monkeypatch: pytest.MonkeyPatch, task: Any, tokenizer: Any) -> list[str]:
    """Give these facts, and return the list of the questions that will be asked."""
    asked: list[str] = []
    for name, facts in (("task_facts", task), ("tokenizer_facts", tokenizer)):

        def give(*args: Any, name: str = name, facts: Any = facts) -> Any:
            asked.append(name)
            return facts

        monkeypatch.setattr(harness_questions, name, give)
    return asked


BOTH = ["task_facts", "tokenizer_facts"]


@pytest.mark.parametrize(
    ("facts", "tokenizer", "chat", "asked", "told"),
    [
        ({}, True, False, BOTH, ["can't be loaded"]),
        ({}, False, False, BOTH[:1], []),
        ({}, True, True, BOTH[:1], []),
        (UNKNOWN, True, False, BOTH[:1], ["there is no task 't'"]),
    ],
)
def test_tokenizer_is_loaded_if_the_task_is_right_and_the_harness_needs_it(
    facts: Any,
    tokenizer: bool,
    chat: bool,
    asked: list[str],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions = answer(monkeypatch, facts, BROKEN)
    found = preflight.mistakes(specs.of_result({"chat": chat}), NOT_FETCHED, {}, tokenizer)
    assert questions == asked and len(found) == len(told)
    assert all(words in mistake.what for mistake, words in zip(found, told, strict=True))


def write_specs(model: str, *tasks: str) -> ServerSpec:
    for task in tasks:
        for path, spec in (
            (paths.result_spec(model, task, None), specs.result()),
            (paths.task_spec(task), specs.task(name=task)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(spec))
    return specs.server(model=model)


def test_mistakes_of_the_model_are_those_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    server = write_specs("one", "a", "b")
    asked = answer(monkeypatch, {}, BROKEN)
    assert set(
        preflight.of_tasks(server, ["a", "b"], None, ModelFiles(FetchedFiles("c0ffee")))
    ) == {"a", "b"}
    assert preflight.of_tasks(server, ["a"], None, ModelFiles(NOT_FETCHED, available=False)) == {}
    of_model = Mistake("one.yaml", 0, "model.name", "no model", "")
    monkeypatch.setattr(model_checks, "mistakes", lambda server, env: [of_model])
    asked.clear()
    found = preflight.of_tasks(server, ["a", "b"], None, ModelFiles(NOT_FETCHED))
    assert found == {"a": [of_model], "b": [of_model]} and asked == BOTH[:1] * 2
    with pytest.raises(OSError):
        preflight.of_tasks(server, ["gone"], None, ModelFiles(NOT_FETCHED))


def test_tasks_have_passed_if_all_answers_are_cached_and_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = write_specs("one", "a")
    monkeypatch.setattr(model_checks, "passed", lambda server: True)
    answer(monkeypatch, {}, {})
    assert not preflight.passed(server, ["a"], None, NOT_FETCHED)
    of_a = specs.of_result(run={"name": "a"})
    for question in (
        harness_questions.task_question(of_a),
        harness_questions.tokenizer_question(of_a.result, NOT_FETCHED),
    ):
        assert not preflight.passed(server, ["a"], None, NOT_FETCHED)
        question.path.parent.mkdir(parents=True, exist_ok=True)
        question.path.touch()
    assert preflight.passed(server, ["a"], None, NOT_FETCHED)
    assert not preflight.passed(server, ["a"], None, FetchedFiles("another commit"))
    assert not preflight.passed(server, ["gone"], None, NOT_FETCHED)
    answer(monkeypatch, UNKNOWN, {})
    assert not preflight.passed(server, ["a"], None, NOT_FETCHED)
    monkeypatch.setattr(model_checks, "passed", lambda server: False)
    answer(monkeypatch, {}, {})
    assert not preflight.passed(server, ["a"], None, NOT_FETCHED)
