"""How scores are written: one form for pages, tables, comparisons and the terminal.

The form is the harness's own: a share of 1 stays a share (0.1500), a metric that the harness gives
in percent stays in percent (chrf 45.21), and what is on no scale (perplexity) stays as it is. JSON
and CSV hold the numbers themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Metrics that the harness gives in percent; all others are shares from 0 to 1, or on no scale at
# all. lm_eval/api/metrics.py (sacrebleu's three), tasks/squadv2 and tasks/truthfulqa (0.4.13).
PERCENT = frozenset(
    {
        "bleu", "chrf", "ter", "exact", "best_exact", "best_f1", "HasAns_exact", "HasAns_f1",
        "NoAns_exact", "NoAns_f1", "bleu_max", "bleu_diff", "rouge1_max", "rouge1_diff",
        "rouge2_max", "rouge2_diff", "rougeL_max", "rougeL_diff",
    }
)  # fmt: skip
UNBOUNDED = re.compile(r"perplexity|bits_per|likelihood|loss")
LARGE = 1e6  # from here on with an exponent


def short(metric: str) -> str:
    """A metric's name without the filter of most: "acc,none" is acc."""
    return metric.removesuffix(",none")


def _base(metric: str) -> str:
    """Its name without any filter."""
    return metric.partition(",")[0]


def in_percent(metric: str) -> bool:
    """Does the harness give this metric in percent? metric: with or without its filter."""
    return _base(metric) in PERCENT


def factor(metric: str, values: Iterable[float]) -> float | None:
    """What values of a metric are multiplied by to lie between 0 and 1; None where they are on no
    such scale."""
    if UNBOUNDED.search(_base(metric)):
        return None
    if in_percent(metric):
        return 0.01
    return 1.0 if all(0 <= value <= 1 for value in values) else None


def number(value: float, metric: str, *, beside: Iterable[float] = (), sign: bool = False) -> str:
    """A score as every page and table writes it: 0.1500, 45.21. Four decimals below 10, else two;
    always two in percent.

    beside: numbers of the same metric that stand next to it and have as many decimals (a standard
    error has those of its score). sign: a difference, with its sign.
    """
    largest = max(abs(value), *map(abs, beside), 0.0)
    plus = "+" if sign else ""
    if largest >= LARGE:
        return f"{value:{plus}.4g}"
    places = 2 if in_percent(metric) or largest >= 10 else 4
    return f"{value:{plus}.{places}f}"


def error(stderr: float, value: float, metric: str) -> str:
    """The standard error of a score, with as many decimals: 0.0790."""
    return number(stderr, metric, beside=(value,))


def with_error(value: float, stderr: float | None, metric: str) -> str:
    """0.3056 ± 0.0790; without an error where it is not known."""
    text = number(value, metric)
    return text if stderr is None else f"{text} ± {error(stderr, value, metric)}"


def of_sample(value: float, metric: str) -> str:
    """The number of one sample: right and wrong are 1 and 0, others as scores are."""
    return f"{value:.0f}" if value in (0, 1) else number(value, metric)
