"""What the wrapper of the harness makes of generation arguments and special tokens."""

from __future__ import annotations

from typing import Any

import pytest

from benchy import harness_wrapper as wrapper


@pytest.mark.parametrize(
    ("given", "ours", "expected"),
    [
        ({"max_gen_toks": 256, "max_new_tokens": 400}, {"max_new_tokens": 400}, 400),
        ({"max_gen_toks": 100, "max_new_tokens": 400}, {"max_gen_toks": 100}, 100),
        ({"max_tokens": 7}, {}, 7),
    ],
)
def test_lengths_have_one_name(given: Any, ours: Any, expected: int) -> None:
    found = wrapper.normalized("t", given, ours)
    assert found["max_gen_toks"] == expected
    assert not {"max_new_tokens", "max_tokens"} & set(found)


def test_greedy_means_temperature_zero() -> None:
    assert wrapper.normalized("t", {"do_sample": False, "temperature": 1}, {})["temperature"] == 0
    ours = {"temperature": 0.7}
    found = wrapper.normalized("t", {"do_sample": False, **ours}, ours)
    assert found["do_sample"] is True and found["temperature"] == 0.7


def test_several_answers_are_refused() -> None:
    with pytest.raises(wrapper.Refused, match="several answers"):
        wrapper.normalized("t", {"n": 2}, {"n": 2})
    assert "n" not in wrapper.normalized("t", {"n": 1}, {})


def test_an_argument_that_is_not_in_the_request_is_refused() -> None:
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
