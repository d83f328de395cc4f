"""The observer of the harness's API client: special tokens, the context, truncated prompts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.scripts import harness_tokens
from benchy.scripts.harness_arguments import TaskRefused
from benchy.scripts.harness_observations import FactsFile
from benchy.scripts.harness_observer import Observer

ENDS: list[tuple[list[int], list[int], tuple[list[int], list[int]]]] = [
    ([7, 8], [1, 7, 8, 2], ([1], [2])),
    ([7, 8], [7, 8], ([], [])),
    ([7], [3, 4, 7], ([3, 4], [])),
    ([7, 8], [1, 9, 8], ([], [])),  # the text is encoded differently
]


@pytest.mark.parametrize(("plain", "whole", "expected"), ENDS)
def test_special_tokens_are_found_at_both_ends(
    plain: list[int], whole: list[int], expected: tuple[list[int], list[int]]
) -> None:
    def encode(text: str, special: bool) -> list[int]:
        return whole if special else plain

    assert harness_tokens.special_tokens(encode) == expected


class Client:
    """The part of the harness's client that the observer uses."""

    prefix_token_id = 9
    add_bos_token = True
    max_length = 100
    _max_gen_toks = 50

    def tok_encode(self, string: Any, **more: Any) -> Any:
        raise AssertionError("the observer encodes by itself")

    def _loglikelihood_tokens(self, requests: Any, **more: Any) -> Any:
        return [(context, answer) for _, context, answer in requests]


def observer(
    tmp_path: Path, prefix: list[int], backend: str = "huggingface", bos: int | None = None
) -> Any:
    """Return an observer of a client whose tokenizer begins each text with `prefix`."""

    def tokenizer(text: Any, add_special_tokens: bool, **more: Any) -> Any:
        def one(text: str) -> list[int]:
            return [*(prefix if add_special_tokens else []), *(ord(c) for c in text)]

        ids = one(text) if isinstance(text, str) else [one(each) for each in text]
        return SimpleNamespace(input_ids=ids)

    tokenizer.bos_token_id = bos  # type: ignore[attr-defined]
    found: Any = type("Observed", (Observer, Client), {})()
    found.tokenizer, found.tokenizer_backend = tokenizer, backend
    found.facts = FactsFile(str(tmp_path / "facts.jsonl"))
    return found


@pytest.mark.parametrize(
    ("prefix", "before"), [([], [9]), ([9], [9]), ([3, 4], [3, 4])], ids=["none", "bos", "two"]
)
def test_choice_without_context_is_scored_after_the_text_prefix(
    tmp_path: Path, prefix: list[int], before: list[int]
) -> None:
    one = observer(tmp_path, prefix)
    answer = one.tok_encode("ab", add_special_tokens=False)  # as the harness calls it
    assert answer == [97, 98]
    requests = [(("", "ab"), [one.prefix_token_id], answer), (("x", "b"), [*prefix, 120], [98])]
    assert one._loglikelihood_tokens(requests) == [(before, answer), ([*prefix, 120], [98])]
    assert one.tok_encode("xb") == [*prefix, 120, 98]


def test_prefix_token_may_have_id_0(tmp_path: Path) -> None:
    assert observer(tmp_path, [0], "remote", bos=0).prefix_token_id == 0
    assert observer(tmp_path, [0], "remote").prefix_token_id == 9


def instances(count: int) -> list[Any]:
    return [
        SimpleNamespace(task_name="t", doc_id=n, idx=0, args=("", {"max_gen_toks": 50}))
        for n in range(count)
    ]


def test_resumed_run_accepts_remaining_prompts_that_do_not_fit(tmp_path: Path) -> None:
    one = observer(tmp_path, [])
    one.instances = instances(10)
    one.check_room([[1] * 60] * 3 + [[1] * 10] * 7)  # three of ten prompts do not fit
    facts = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    assert [fact["doc"] for fact in facts] == [0, 1, 2]
    again = observer(tmp_path, [])
    again.instances = instances(3)
    again.check_room([[1] * 60] * 3)  # only those three are left
    (tmp_path / "facts.jsonl").unlink()
    first = observer(tmp_path, [])
    first.instances = instances(3)
    with pytest.raises(TaskRefused, match="leave 50 of the context's 100"):
        first.check_room([[1] * 60] * 3)
