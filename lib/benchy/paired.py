"""Is a difference between two models on the same samples more than noise? Pure statistics.

McNemar's test, exact, where each sample is right or wrong; a bootstrap over the pairs for other
numbers. The interval for right and wrong is that of Agresti and Min (Statistics in Medicine 24,
2005), which keeps its 95 % for few samples too. tests/unit/test_paired.py holds them to SciPy.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # of 95 %, two-sided
POWER = Z + 0.8416212335729143  # … and of finding a difference four times out of five
DRAWS = 20_000_000  # single draws of a bootstrap: some two seconds
MOST, LEAST = 10_000, 1_000  # resamples
NORMAL = 20_000  # samples from which on the mean is as good as normal


@dataclass(frozen=True)
class Verdict:
    """difference: B - A. low, high: its 95 % interval. p: of no difference at all; None for no
    test. least: the difference that as many samples would show four times out of five. gained,
    lost: samples that only B, only A has right. test: its name."""

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    least: float | None
    gained: int
    lost: int
    test: str


def right_or_wrong(a: Sequence[float], b: Sequence[float]) -> Verdict:
    """a, b: 0 or 1 of each sample, in the same order; at least one."""
    n = len(a)
    gained = sum(y > x for x, y in zip(a, b, strict=True))
    lost = sum(x > y for x, y in zip(a, b, strict=True))
    # One half to each cell of the four.
    more, less, all_ = gained + 0.5, lost + 0.5, n + 2.0
    middle = (more - less) / all_
    half = Z * math.sqrt((more + less) - (more - less) ** 2 / all_) / all_
    spread = math.sqrt(max(0.0, (gained + lost) - (gained - lost) ** 2 / n)) / n
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    p = mcnemar(gained, lost)
    return Verdict(
        n, (gained - lost) / n, low, high, p, POWER * spread or None, gained, lost, "McNemar"
    )


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value that flips go one way as often as the other; exact."""
    flips, fewer = gained + lost, min(gained, lost)
    if not flips:
        return 1.0
    # Logarithms: 2**-flips is 0.0 from some thousand flips on.
    logs = [
        math.lgamma(flips + 1) - math.lgamma(k + 1) - math.lgamma(flips - k + 1)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(x - flips * math.log(2)) for x in logs))


def numbers(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Verdict:
    """a, b: a number of each sample, in the same order; at least one. The same numbers give the
    same verdict."""
    differences = [y - x for x, y in zip(a, b, strict=True)]
    n, mean = len(differences), math.fsum(differences) / len(differences)
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    if n == 1 or not gained + lost:
        p = 1.0 if not gained + lost else None
        same = mean if n > 1 else None
        return Verdict(n, mean, same, same, p, None, gained, lost, "bootstrap")
    error = statistics.stdev(differences) / math.sqrt(n)
    if n >= NORMAL:
        return Verdict(
            n, mean, mean - Z * error, mean + Z * error, two_sided(mean, error), POWER * error,
            gained, lost, "normal",
        )  # fmt: skip
    means = sorted(resampled(differences, seed))
    low, high = quantile(means, 0.025), quantile(means, 0.975)
    # How far zero lies out in what resampling gives; never 0, which no finite series can tell.
    below = sum(m <= 0 for m in means)
    above = sum(m >= 0 for m in means)
    p = min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))
    return Verdict(n, mean, low, high, p, POWER * error, gained, lost, "bootstrap")


def resampled(differences: Sequence[float], seed: int) -> list[float]:
    """Means of as many samples drawn with replacement."""
    n = len(differences)
    dice = random.Random(seed)  # noqa: S311
    times = max(LEAST, min(MOST, DRAWS // n))
    return [math.fsum(dice.choices(differences, k=n)) / n for _ in range(times)]


def unpaired(a: float, b: float, error_a: float | None, error_b: float | None, n: int) -> Verdict:
    """From two means and their standard errors alone: the pairing, which makes differences show
    sooner, is not known."""
    if error_a is None or error_b is None or not error_a + error_b:
        return Verdict(n, b - a, None, None, None, None, 0, 0, "none")
    error = math.hypot(error_a, error_b)
    difference = b - a
    return Verdict(
        n, difference, difference - Z * error, difference + Z * error,
        two_sided(difference, error), POWER * error, 0, 0, "unpaired",
    )  # fmt: skip


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The mean of several tasks' differences, each task counting once: their errors, taken from
    the intervals, add up as those of independent numbers."""
    k = len(verdicts)
    difference = math.fsum(v.difference for v in verdicts) / k
    halves = [
        (v.high - v.low) / 2 / Z for v in verdicts if v.high is not None and v.low is not None
    ]
    n, gained, lost = (sum(getattr(v, f) for v in verdicts) for f in ("n", "gained", "lost"))
    if len(halves) < k:
        return Verdict(n, difference, None, None, None, None, gained, lost, "none")
    error = math.hypot(*halves) / k
    p = two_sided(difference, error)
    low, high = difference - Z * error, difference + Z * error
    return Verdict(n, difference, low, high, p, POWER * error, gained, lost, "combined")


def two_sided(difference: float, error: float) -> float:
    """The p-value of a normal difference with this standard error."""
    if not error:
        return 1.0 if not difference else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values, by linear interpolation."""
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p-values with the number of tests allowed for (Holm 1979): that one of twenty tasks shows a
    difference by chance is to be expected."""
    known = sorted((p, at) for at, p in enumerate(ps) if p is not None)
    out: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        out[at] = highest
    return out
