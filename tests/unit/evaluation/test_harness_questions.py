"""Facts from the harness's environment: when they are cached, and what they depend on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.evaluation import harness, harness_questions


@pytest.mark.parametrize(
    ("said", "kept"),
    [({"error": "OSError: hub"}, False), ({"errors": {"t": "x"}}, False), ({"tasks": {}}, True)],
)
def test_facts_are_cached_unless_they_report_an_error(
    said: dict[str, Any], kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "python", lambda spec: sys.executable)
    monkeypatch.setattr(harness_questions, "SCRIPT", tmp_path / "facts.py")
    harness_questions.SCRIPT.write_text("print('a warning')\nprint(open('said').read())\n")
    Path("said").write_text(json.dumps(said))
    assert harness_questions.task_facts(specs.of_result(), {}) == said
    Path("said").write_text("no JSON")
    assert harness_questions.task_facts(specs.of_result(), {}) == (said if kept else {})


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
        return harness_questions.tokenizer_question(asked, commit).path

    assert task() == task(num_fewshot=3)
    assert len({task(), task(task_name=["u"]), task(files={"a.yaml": "1"})}) == 3
    assert tokenizer("a") == tokenizer("a", task_name=["u"])
    assert len({tokenizer("a"), tokenizer("b"), tokenizer("a", tokenizer_backend="tiktoken")}) == 3
