"""Checks of a server's answers. test_http_client.py has malformed answers as a whole."""

from __future__ import annotations

import math

import pytest

from benchy.evaluation import harness_output
from benchy.scripts import harness_answers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1.5, True),
        (0, True),
        (0.001, True),  # rounded up
        (0.002, False),
        (-math.inf, False),
        (math.nan, False),
        (True, False),
        ("-1", False),
        (None, False),
    ],
)
def test_log_probability_is_a_finite_number_up_to_0(value: object, expected: bool) -> None:
    assert harness_answers.is_logprob(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-1.5", True), (0.9, True), (1, False), ("-inf", False), ("nan", False)],
)
def test_log_likelihood_may_be_the_sum_of_rounded_log_probabilities(
    value: object, expected: bool
) -> None:
    assert harness_output.is_likelihood(value) is expected


def test_choices_are_returned_in_the_order_of_their_prompts() -> None:
    one = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
    two = {"choices": [{"index": 0, "text": "c"}]}
    found = harness_answers.check_choices([one, two], 3)
    assert [choice["text"] for choice in found] == ["a", "b", "c"]
