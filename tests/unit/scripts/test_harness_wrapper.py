"""Tests of how the harness wrapper handles generation arguments and special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.scripts import harness_wrapper as wrapper


@pytest.mark.parametrize(
    ("given", "ours", "expected"),
    [
        ({"max_gen_toks": 256, "max_new_tokens": 400}, {"max_new_tokens": 400}, 400),
        ({"max_gen_toks": 100, "max_new_tokens": 400}, {"max_gen_toks": 100}, 100),
        ({"max_tokens": 7}, {}, 7),
    ],
)
def test_length_limits_become_max_gen_toks(given: Any, ours: Any, expected: int) -> None:
    found = wrapper.normalized("t", given, ours)
    assert found["max_gen_toks"] == expected
    assert not {"max_new_tokens", "max_tokens"} & set(found)


def test_do_sample_false_means_temperature_zero() -> None:
    assert wrapper.normalized("t", {"do_sample": False, "temperature": 1}, {})["temperature"] == 0
    ours = {"temperature": 0.7}
    found = wrapper.normalized("t", {"do_sample": False, **ours}, ours)
    assert found["do_sample"] is True and found["temperature"] == 0.7


def test_request_for_several_answers_is_refused() -> None:
    with pytest.raises(wrapper.Refused, match="several answers"):
        wrapper.normalized("t", {"n": 2}, {"n": 2})
    assert "n" not in wrapper.normalized("t", {"n": 1}, {})


def test_argument_missing_from_the_request_is_refused() -> None:
    asked = {"max_gen_toks": 5, "until": ["a"], "temperature": 0.0, "top_p": 0.5}
    payload = {"max_tokens": 5, "stop": ["a"], "temperature": 0.0, "top_p": 0.5}
    wrapper.check_sent("t", asked, payload)
    for key in payload:
        with pytest.raises(wrapper.Refused):
            wrapper.check_sent("t", asked, {k: v for k, v in payload.items() if k != key})


def test_special_tokens_are_found_at_both_ends() -> None:
    def encode(text: str, special: bool) -> list[int]:
        return [1, 7, 8, 2] if special else [7, 8]

    assert wrapper.special_tokens(encode) == ([1], [2])


@pytest.mark.parametrize(
    "given",
    [
        {"max_gen_toks": "1e3"},
        {"max_gen_toks": 1.9},
        {"max_tokens": [1]},
        {"max_gen_toks": 0},
        {"max_gen_toks": True},
        {"until": 5},
        {"stop": ["a", 1]},
        {"temperature": "hot"},
        {"do_sample": "false"},
    ],
)
def test_argument_of_wrong_type_is_refused(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(wrapper.Refused, match=f"{name}: .* is not "):
        wrapper.normalized("t", given, given)


def test_argument_that_the_server_does_not_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapper.Observer, "fields", None, raising=False)
    wrapper.Observer.check_known("t", {"top_p": 0.5, "until": [], "max_gen_toks": 5})
    with pytest.raises(wrapper.Refused, match=r"does not tell whether it takes .*'guided_regex'"):
        wrapper.Observer.check_known("t", {"guided_regex": "a"})
    monkeypatch.setattr(wrapper.Observer, "fields", ["top_k"])
    wrapper.Observer.check_known("t", {"top_k": 5})
    with pytest.raises(wrapper.Refused, match="takes no generation argument 'guided_regex'"):
        wrapper.Observer.check_known("t", {"guided_regex": "a"})


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
    found: Any = type("Observed", (wrapper.Observer, Client), {})()
    found.tokenizer, found.tokenizer_backend = tokenizer, backend
    found.facts = wrapper.Facts(str(tmp_path / "facts.jsonl"))
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
    with pytest.raises(wrapper.Refused, match="leave 50 of the context's 100"):
        first.check_room([[1] * 60] * 3)
