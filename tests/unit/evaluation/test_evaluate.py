"""Comparison of the server's and the harness's tokenizers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchy.core.errors import ConfigError
from benchy.evaluation import evaluate as evaluation
from benchy.evaluation import harness, harness_questions


def ids(text: str, special: bool) -> list[int]:
    return [1] * special + list(text.encode())


@pytest.mark.parametrize(
    ("backend", "server", "told"),
    [
        ("huggingface", ids, ""),
        ("huggingface", lambda text, special: None, ""),  # a server without /tokenize
        ("huggingface", lambda text, special: ids(text, False), "from token 0 on [1, 72"),
        (
            "huggingface",
            lambda text, special: [*ids(text, special), 2][: 1 + 99 * special],
            "token",
        ),
        ("huggingface", lambda text, special: ids(text.replace("ñ", "n"), special), "token"),
        ("none", ids, ""),
        ("none", lambda text, special: [*ids(text, special), *[2] * special], "with token 2"),
    ],
)
def test_different_token_ids_of_server_and_harness_raise_a_config_error(
    backend: str, server: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = SimpleNamespace(
        spec={"chat": False, "task": {"tokenizer_backend": backend}}, server={"spec": {}},
        run={"source": "configs/tasks/mine.yaml", "environment": "harness"},
        endpoint=SimpleNamespace(commit=None),
    )  # fmt: skip
    facts = {
        "plain": [ids(text, False) for text in harness_questions.PROBE],
        "special": [ids(text, True) for text in harness_questions.PROBE],
    }
    monkeypatch.setattr(harness, "environment", lambda *args: {})
    monkeypatch.setattr(harness_questions, "tokenizer_facts", lambda *args: facts)
    monkeypatch.setattr(evaluation, "tokenized", lambda job, text, special: server(text, special))
    if not told:
        return evaluation.check_tokenizer(job, {})
    with pytest.raises(ConfigError) as stopped:
        evaluation.check_tokenizer(job, {})
    assert told in str(stopped.value)
