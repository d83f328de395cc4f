"""Facts from the harness's environment: when they are cached, and what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.evaluation import harness_questions
from benchy.serving.preparation import FetchedFiles


@pytest.mark.parametrize(
    ("chat", "backend", "expected"),
    [
        (False, None, True),
        (False, "huggingface", True),
        (False, "tiktoken", True),
        (False, "remote", False),
        (False, "none", False),
        (True, "huggingface", False),
    ],
)
def test_harness_loads_a_tokenizer_for_completions(
    chat: bool, backend: str | None, expected: bool
) -> None:
    asked = specs.of_result({"chat": chat}, {"tokenizer_backend": backend})
    assert harness_questions.needs_tokenizer(asked.result) is expected


def test_answers_depend_on_the_task_its_files_and_the_commit() -> None:
    def task(**changes: Any) -> Path:
        return harness_questions.task_question(specs.of_result(requested=changes)).path

    def tokenizer(commit: str | None, **changes: Any) -> Path:
        asked = specs.of_result(requested=changes).result
        return harness_questions.tokenizer_question(asked, FetchedFiles(commit)).path

    assert task() == task(num_fewshot=3)
    assert len({task(), task(task_name=["u"]), task(files={"a.yaml": "1"})}) == 3
    assert tokenizer("a") == tokenizer("a", task_name=["u"])
    assert len({tokenizer("a"), tokenizer("b"), tokenizer("a", tokenizer_backend="tiktoken")}) == 3
