"""Metrics from the harness's results file, and the main score."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchy.evaluation import harness_metrics
from benchy.evaluation.result import Metric


def test_metrics_are_read_with_stderr_and_direction() -> None:
    entry = {
        "alias": " - t", "name": "t", "sample_len": 2,
        "acc,none": 1, "acc_stderr,none": "N/A",
        "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1,
        "bleu,none": 3.0, "bleu_stderr,none": math.nan,
    }  # fmt: skip
    assert harness_metrics.metrics_of(entry, {"acc": True, "bleu": False}) == {
        "acc,none": Metric(1.0, None, True),
        "exact_match,strict": Metric(0.5, 0.1, None),
        "bleu,none": Metric(3.0, None, False),
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, "N/A", None, True])
def test_metric_without_a_finite_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="acc,none"):
        harness_metrics.metrics_of({"acc,none": value}, {})


def m(value: float, stderr: float | None = None) -> Metric:
    return Metric(value, stderr, True)


@pytest.mark.parametrize(
    ("name", "asked", "metrics", "groups", "expected"),
    [
        (
            "a group's own",
            ["g"],
            {"a": {"acc,none": m(0.1)}},
            {"g": {"acc,none": m(0.3, 0.1), "acc_norm,none": m(0.9)}},
            ("g", "acc,none", 0.3, 0.1),
        ),
        ("a task's own", ["a"], {"a": {"f1,none": m(0.1)}}, {}, ("a", "f1,none", 0.1, None)),
        (
            "the mean of what all share",
            ["a", "b"],
            {"a": {"bleu,none": m(10, 3)}, "b": {"bleu,none": m(20, 4)}},
            {},
            ("mean of 2 tasks", "bleu,none", 15, 2.5),
        ),
        (
            "kinds are not mixed",
            ["g"],
            {
                "a": {"bleu,none": m(10)},
                "b": {"acc,none": m(0.2, 0.1)},
                "c": {"mcc,none": m(0), "acc,none": m(0.4)},
            },
            {},
            ("mean of 2 of 3 tasks", "acc,none", 0.3, None),
        ),
    ],
)
def test_main_score_is_that_of_the_group_or_task_or_a_mean(
    name: str, asked: list[str], metrics: Any, groups: Any, expected: tuple[Any, ...]
) -> None:
    score = harness_metrics.main_score(asked, metrics, groups)
    assert (score.of, score.metric, pytest.approx(score.value), score.stderr) == expected, name


def test_no_metric_is_an_error() -> None:
    with pytest.raises(ValueError, match="no metric"):
        harness_metrics.main_score(["a"], {"a": {}}, {})
