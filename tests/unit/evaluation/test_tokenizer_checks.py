"""Checks of the tokenizers of the harness and the server."""

from __future__ import annotations

from pathlib import Path

import pytest

import specs
from benchy.evaluation import tokenizer_checks
from benchy.serving.preparation import NOT_FETCHED


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
    asked = specs.of_result()
    if files:
        for file in files:
            (tmp_path / file).touch()
        asked.result["model"]["name"] = asked.result["model"]["path"] = str(tmp_path)
    (found,) = tokenizer_checks.mistakes(asked, NOT_FETCHED, {"error": error})
    assert found.file == where and told in found.hint and error in found.what
    assert tokenizer_checks.mistakes(asked, NOT_FETCHED, {"prefix": []}) == []


def test_tiktoken_error_suggests_huggingface() -> None:
    asked = specs.of_result(requested={"tokenizer_backend": "tiktoken"})
    error = {"error": "KeyError: 'Could not automatically map one to a tokeniser'"}
    (found,) = tokenizer_checks.mistakes(asked, NOT_FETCHED, error)
    assert (found.key, found.hint) == ("tokenizer_backend", "write huggingface")


def test_tokenizer_difference_names_the_first_different_token() -> None:
    found = tokenizer_checks.difference(specs.task(), "Hi you", [1, 5, 6, 7], [5, 6, 7])
    assert "4 and 3 tokens, from token 0 on [1, 5, 6, 7] and [5, 6, 7]" in found.what
    found = tokenizer_checks.difference(specs.task(), "Hi you", [5, 6, 7, 2], [5, 6, 7])
    assert "from token 3 on [7, 2] and [7]" in found.what
