"""Generation arguments: the harness's names, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from benchy.scripts import harness_arguments


@pytest.mark.parametrize(
    ("given", "ours", "expected"),
    [
        ({"max_gen_toks": 256, "max_new_tokens": 400}, {"max_new_tokens": 400}, 400),
        ({"max_gen_toks": 100, "max_new_tokens": 400}, {"max_gen_toks": 100}, 100),
        ({"max_tokens": 7}, {}, 7),
    ],
)
def test_length_limits_become_max_gen_toks(given: Any, ours: Any, expected: int) -> None:
    found = harness_arguments.normalized("t", given, ours)
    assert found["max_gen_toks"] == expected
    assert not {"max_new_tokens", "max_tokens"} & set(found)


def test_do_sample_false_means_temperature_zero() -> None:
    assert (
        harness_arguments.normalized("t", {"do_sample": False, "temperature": 1}, {})["temperature"]
        == 0
    )
    ours = {"temperature": 0.7}
    found = harness_arguments.normalized("t", {"do_sample": False, **ours}, ours)
    assert found["do_sample"] is True and found["temperature"] == 0.7


def test_request_for_several_answers_is_refused() -> None:
    with pytest.raises(harness_arguments.TaskRefused, match="several answers"):
        harness_arguments.normalized("t", {"n": 2}, {"n": 2})
    assert "n" not in harness_arguments.normalized("t", {"n": 1}, {})


def test_argument_missing_from_the_request_is_refused() -> None:
    requested = {"max_gen_toks": 5, "until": ["a"], "temperature": 0.0, "top_p": 0.5}
    payload = {"max_tokens": 5, "stop": ["a"], "temperature": 0.0, "top_p": 0.5}
    harness_arguments.check_sent("t", requested, payload)
    for key in payload:
        with pytest.raises(harness_arguments.TaskRefused):
            harness_arguments.check_sent(
                "t", requested, {k: v for k, v in payload.items() if k != key}
            )


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
    with pytest.raises(harness_arguments.TaskRefused, match=f"{name}: .* is not "):
        harness_arguments.normalized("t", given, given)


ACCEPTED: list[tuple[list[str], list[str] | None, str]] = [
    (["top_p", "until", "max_gen_toks"], None, ""),
    (["guided_regex"], None, r"does not say whether it accepts .*'guided_regex'"),
    (["top_k", "do_sample"], ["top_k"], ""),
    (["top_k", "guided_regex"], ["top_k"], "accepts no generation argument 'guided_regex'"),
    (["top_p"], [], "accepts no generation argument 'top_p'"),
]


@pytest.mark.parametrize(("names", "fields", "words"), ACCEPTED)
def test_argument_that_the_server_does_not_list_is_refused(
    names: list[str], fields: list[str] | None, words: str
) -> None:
    if not words:
        harness_arguments.check_accepted("t", names, fields)
        return
    with pytest.raises(harness_arguments.TaskRefused, match=words):
        harness_arguments.check_accepted("t", names, fields)


STOPS: list[tuple[dict[str, Any], list[str] | None]] = [
    ({"until": "a"}, ["a"]),
    ({"until": ["a", "b"], "stop": "a", "stop_sequences": ["c"]}, ["a", "b", "c"]),
    ({"until": []}, []),
    ({"until": None}, None),
    ({}, None),
]


@pytest.mark.parametrize(("given", "expected"), STOPS)
def test_stop_sequences_become_until(given: dict[str, Any], expected: list[str] | None) -> None:
    found = harness_arguments.normalized("t", given, {})
    assert found.get("until") == expected and not {"stop", "stop_sequences"} & set(found)
