"""Formats scores for pages, tables, comparisons and the terminal.

The format is the harness's own: a fraction stays a fraction (0.1500), a metric in percent stays in
percent (chrf 45.21), and a number without a scale (perplexity) is unchanged. JSON and CSV contain
the numbers themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Metrics that the harness reports in percent. All others are fractions from 0 to 1, or have no
# scale. From lm_eval/api/metrics.py (sacrebleu's three), tasks/squadv2, tasks/truthfulqa (0.4.13).
PERCENT = frozenset(
    {
        "bleu", "chrf", "ter", "exact", "best_exact", "best_f1", "HasAns_exact", "HasAns_f1",
        "NoAns_exact", "NoAns_f1", "bleu_max", "bleu_diff", "rouge1_max", "rouge1_diff",
        "rouge2_max", "rouge2_diff", "rougeL_max", "rougeL_diff",
    }
)  # fmt: skip
UNBOUNDED = re.compile(r"perplexity|bits_per|likelihood|loss")
LARGE = 1e6  # numbers from here on have an exponent


def short(metric: str) -> str:
    """Return a metric's name without the most common filter: "acc,none" is acc."""
    return metric.removesuffix(",none")


def _base(metric: str) -> str:
    """Return a metric's name without its filter."""
    return metric.partition(",")[0]


def in_percent(metric: str) -> bool:
    """Return whether the harness reports this metric in percent. The filter is optional."""
    return _base(metric) in PERCENT


def factor(metric: str, values: Iterable[float]) -> float | None:
    """Return the factor that scales values of a metric to between 0 and 1.

    Returns None if the metric has no such scale.
    """
    if UNBOUNDED.search(_base(metric)):
        return None
    if in_percent(metric):
        return 0.01
    return 1.0 if all(0 <= value <= 1 for value in values) else None


def number(value: float, metric: str, *, peers: Iterable[float] = (), sign: bool = False) -> str:
    """Return a score as text: 0.1500, 45.21.

    It has four decimals below 10, otherwise two; always two in percent.

    Args:
        value: The score.
        metric: Its metric.
        peers: Numbers next to it that get the same number of decimals, such as its standard error.
        sign: Whether to add the sign, for a difference.
    """
    largest = max(abs(value), *map(abs, peers), 0.0)
    plus = "+" if sign else ""
    if largest >= LARGE:
        return f"{value:{plus}.4g}"
    places = 2 if in_percent(metric) or largest >= 10 else 4
    return f"{value:{plus}.{places}f}"


def error(stderr: float, value: float, metric: str) -> str:
    """Return the standard error of a score as text, with the score's number of decimals: 0.0790."""
    return number(stderr, metric, peers=(value,))


def with_error(value: float, stderr: float | None, metric: str) -> str:
    """Return a score with its standard error if that is known: 0.3056 ± 0.0790."""
    text = number(value, metric)
    return text if stderr is None else f"{text} ± {error(stderr, value, metric)}"


def of_sample(value: float, metric: str) -> str:
    """Return the score of one sample: 1 for right, 0 for wrong, other numbers as `number` does."""
    return f"{value:.0f}" if value in (0, 1) else number(value, metric)
