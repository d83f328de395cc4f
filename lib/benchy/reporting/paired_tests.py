"""Statistics: whether a difference between two models on the same samples is more than noise.

If each sample is right or wrong, the test is McNemar's exact test. The interval is that of Agresti
and Min (Statistics in Medicine 24, 2005), which keeps its 95 % coverage for few samples.

For other numbers, the test flips signs, exactly if few samples differ, and the interval is a
bootstrap over the pairs. A bootstrap alone is too narrow for few samples: with three, its 95 %
interval contains the true value three times out of four. It is therefore widened like Student's t.
The p-value comes from the sign flips, which are valid for any number of samples.

tests/unit/reporting/test_paired_tests.py compares all of this with SciPy.
"""

from __future__ import annotations

import bisect
import math
import operator
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

LEVEL = 0.05  # a difference with this p-value or more is noise
FEWEST = 6  # samples that must differ: five all go one way by chance in 2 of 32 cases
Z = 1.959963984540054  # normal quantile for 95 %, two-sided
POWER = Z + 0.8416212335729143  # … plus the quantile for a power of 80 %
DRAWS = 20_000_000  # single draws of a bootstrap: about two seconds
MOST, LEAST = 10_000, 1_000  # limits of the number of resamples and of random sign flips
EXACT = 30  # up to this many differing samples, all sign flips are enumerated
NORMAL = 20_000  # samples (in a test: differing ones) from which the mean counts as normal


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        n: The number of samples.
        difference: B - A.
        low: The lower end of the 95 % interval of the difference; None if the spread is unknown.
            The interval contains 0 exactly if p says noise.
        high: The upper end.
        p: The p-value of the hypothesis that there is no difference; None without a test.
        least: The difference that this many samples would show four times out of five; None if it
            is larger than possible, or unknown.
        gained: The number of samples on which B has more.
        lost: The number of samples on which A has more.
        test: The name of the test.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    least: float | None
    gained: int
    lost: int
    test: str

    @property
    def few(self) -> bool:
        """Whether so few samples differ that no test could show a difference."""
        return self.test in ("McNemar", "bootstrap") and 0 < self.gained + self.lost < FEWEST


def right_or_wrong(a: Sequence[float], b: Sequence[float]) -> Verdict:
    """Compare samples that are right or wrong. a, b: 0 or 1 for each sample, in the same order; at
    least one sample."""
    n = len(a)
    gained = sum(y > x for x, y in zip(a, b, strict=True))
    lost = sum(x > y for x, y in zip(a, b, strict=True))
    # Agresti and Min add one half to each of the four cells.
    more, less, all_ = gained + 0.5, lost + 0.5, n + 2.0
    middle = (more - less) / all_
    half = Z * math.sqrt((more + less) - (more - less) ** 2 / all_) / all_
    spread = math.sqrt(max(0.0, (gained + lost) - (gained - lost) ** 2 / n)) / n
    p, difference = mcnemar(gained, lost), (gained - lost) / n
    low, high = agreeing(difference, max(-1.0, middle - half), min(1.0, middle + half), p)
    least = POWER * spread if n >= FEWEST and 0 < POWER * spread <= 1 else None
    return Verdict(n, difference, low, high, p, least, gained, lost, "McNemar")


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: do flips go both ways equally often?"""
    flips, fewer = gained + lost, min(gained, lost)
    if not flips:
        return 1.0
    # Logarithms, because 2**-flips is 0.0 from about a thousand flips.
    logs = [
        math.lgamma(flips + 1) - math.lgamma(k + 1) - math.lgamma(flips - k + 1)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(x - flips * math.log(2)) for x in logs))


def numbers(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Verdict:
    """Compare samples with any numbers. a, b: a number for each sample, in the same order; at least
    one sample. The same numbers and seed give the same verdict."""
    differences = [y - x for x, y in zip(a, b, strict=True)]
    n, mean = len(differences), math.fsum(differences) / len(differences)
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    if n == 1:
        return Verdict(n, mean, None, None, 1.0, None, gained, lost, "bootstrap")
    error = statistics.stdev(differences) / math.sqrt(n)
    size = max(map(abs, (*a, *b)))
    # All differences are equal up to rounding: as floats, 0.3 - 0.2 and 0.2 - 0.1 differ.
    if error <= 1e-9 * size:
        half = unseen(n) * (abs(mean) if gained + lost else size)
        low, high = (mean - half, mean + half) if half else (None, None)
        least = None
    else:
        least = (student(0.975, n - 1) + student(0.8, n - 1)) * error
        if n < FEWEST or (least > 1 and all(0 <= v <= 1 for v in (*a, *b))):
            least = None
        low, high = mean - Z * error, mean + Z * error
        if n < NORMAL:
            means = sorted(resampled(differences, seed))
            wide = student(0.975, n - 1) / Z * math.sqrt(n / (n - 1))
            low = mean + (quantile(means, 0.025) - mean) * wide
            high = mean + (quantile(means, 0.975) - mean) * wide
    normal = gained + lost >= NORMAL and error > 0
    p = two_sided(mean, error) if normal else sign_flips(differences, seed)
    if low is not None and high is not None:
        low, high = agreeing(mean, low, high, p)
    test = "normal" if normal else "bootstrap"
    return Verdict(n, mean, low, high, p, least, gained, lost, test)


def sign_flips(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of the hypothesis that A and B are interchangeable.

    It is the share of all sign assignments to the differences whose sum is at least as far from 0.
    It is exact for up to EXACT nonzero differences, and estimated from random assignments above.
    """
    moved = [d for d in differences if d]
    if not moved:
        return 1.0
    size = math.fsum(map(abs, moved))
    far = abs(math.fsum(moved)) - 1e-12 * size  # a sum in another order rounds differently
    if len(moved) <= EXACT:
        # Look up each sum of one half in the sorted sums of the other: 2**15 lookups instead of
        # 2**30 sums. The sums as far below 0 are mirror images, hence the factor 2.
        middle = len(moved) // 2
        left_sums, right_sums = signed(moved[:middle]), sorted(signed(moved[middle:]))
        above = sum(
            len(right_sums) - bisect.bisect_left(right_sums, far - way) for way in left_sums
        )
        return min(1.0, 2 * above / (len(left_sums) * len(right_sums)))
    # Eight differences at a time: a random byte is the index of the sum with its eight signs.
    padded = [*moved, *[0.0] * (-len(moved) % 8)]
    tables = [signed(padded[at : at + 8]) for at in range(0, len(padded), 8)]
    dice = random.Random(seed)  # noqa: S311
    times = draws(len(moved))
    drawn = (sum(map(operator.getitem, tables, dice.randbytes(len(tables)))) for _ in range(times))
    return (sum(abs(way) >= far for way in drawn) + 1) / (times + 1)


def signed(numbers: Sequence[float], start: float = 0.0) -> list[float]:
    """Return all sums of `start` and the numbers, each number with either sign."""
    sums = [start]
    for number in numbers:
        sums = [s + number for s in sums] + [s - number for s in sums]
    return sums


def agreeing(difference: float, low: float, high: float, p: float) -> tuple[float, float]:
    """Return the interval, adjusted to contain 0 exactly if p says noise.

    If the two disagree, the end next to 0 is replaced by the test-based limit that follows from p
    (Miettinen, American Journal of Epidemiology 103, 1976).
    """
    if (low <= 0 <= high) == (p >= LEVEL):
        return low, high
    near = difference * (1 + Z / statistics.NormalDist().inv_cdf(p / 2))
    return (near, high) if difference > 0 else (low, near)


def unseen(n: int) -> float:
    """Return the share of all samples that may differ if n of n are alike: the upper end of Clopper
    and Pearson's 95 % interval for 0 of n."""
    return 1 - math.pow(0.025, 1 / n)


@cache
def student(share: float, degrees: int) -> float:
    """Return a quantile of Student's t. share: 0.5 or more; degrees: of freedom, a whole number.

    It inverts Abramowitz and Stegun 26.7.3 and 26.7.4 by bisection.
    """

    def below(t: float) -> float:
        angle = math.atan(t / math.sqrt(degrees))
        square, odd = math.cos(angle) ** 2, degrees % 2
        term = total = 1.0
        for k in range(2 + odd, degrees, 2):
            term *= square * (k - 1) / k
            total += term
        total *= math.sin(angle)
        if odd:
            total = 2 / math.pi * (angle + (total * math.cos(angle) if degrees > 1 else 0.0))
        return (1 + total) / 2

    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < share else (low, middle)
    return high


def resampled(differences: Sequence[float], seed: int) -> list[float]:
    """Return the means of bootstrap resamples, each as large as `differences`."""
    n = len(differences)
    dice = random.Random(seed)  # noqa: S311
    return [math.fsum(dice.choices(differences, k=n)) / n for _ in range(draws(n))]


def draws(n: int) -> int:
    """Return the number of resamples of n samples."""
    return max(LEAST, min(MOST, DRAWS // n))


def unpaired(a: float, b: float, error_a: float | None, error_b: float | None, n: int) -> Verdict:
    """Compare two means over n samples by their standard errors alone. This shows only larger
    differences than a paired test does."""
    if error_a is None or error_b is None or not error_a + error_b:
        return Verdict(n, b - a, None, None, None, None, 0, 0, "none")
    error = math.hypot(error_a, error_b)
    difference = b - a
    return Verdict(
        n, difference, difference - Z * error, difference + Z * error,
        two_sided(difference, error), POWER * error, 0, 0, "unpaired",
    )  # fmt: skip


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on the mean of several tasks' differences, with equal weights. The errors
    come from the intervals, and are treated as independent."""
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
    """Return the two-sided p-value of a normal difference with this standard error."""
    if not error:
        return 1.0 if not difference else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values by linear interpolation. share: 0 … 1."""
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for the number of tests (Holm 1979): with twenty tasks, one is
    expected to show a difference by chance. None stays None and is not counted."""
    known = sorted((p, at) for at, p in enumerate(ps) if p is not None)
    out: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        out[at] = highest
    return out
