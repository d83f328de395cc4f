"""Is a difference between two models on the same samples more than noise? Pure statistics.

Where each sample is right or wrong: McNemar's test, exact, and the interval of Agresti and Min
(Statistics in Medicine 24, 2005), which keeps its 95 % for few samples too. For other numbers: sign
flips, exact where few samples differ, and a bootstrap over the pairs. A bootstrap alone takes few
samples for all there is: of three, its 95 % interval holds the truth three times out of four. So it
is widened as Student's t is, and the p-value comes from the flips, which are right for any number.
tests/unit/reporting/test_paired_tests.py holds all of it to SciPy.
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

LEVEL = 0.05  # p-values from which on a difference counts as noise
FEWEST = 6  # samples that must differ: all of five go one way by chance in 2 of 32 times
Z = 1.959963984540054  # of 95 %, two-sided
POWER = Z + 0.8416212335729143  # … and of finding a difference four times out of five
DRAWS = 20_000_000  # single draws of a bootstrap: some two seconds
MOST, LEAST = 10_000, 1_000  # resamples, and ways to flip
EXACT = 30  # samples that differ, of which all ways to flip them are looked at
NORMAL = 20_000  # samples (of a test: that differ) from which on the mean is as good as normal


@dataclass(frozen=True)
class Verdict:
    """difference: B - A. low, high: its 95 % interval, which holds 0 where p says noise and only
    there; None where nothing is known of the spread. p: of no difference at all; None for no test.
    least: the difference that as many samples would show four times out of five; None where that is
    more than there can be, or not known. gained, lost: samples of which B has more, A has more.
    test: its name."""

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
        """Do so few samples differ that no test could ever tell?"""
        return self.test in ("McNemar", "bootstrap") and 0 < self.gained + self.lost < FEWEST


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
    p, difference = mcnemar(gained, lost), (gained - lost) / n
    low, high = agreeing(difference, max(-1.0, middle - half), min(1.0, middle + half), p)
    least = POWER * spread if n >= FEWEST and 0 < POWER * spread <= 1 else None
    return Verdict(n, difference, low, high, p, least, gained, lost, "McNemar")


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
    if n == 1:
        return Verdict(n, mean, None, None, 1.0, None, gained, lost, "bootstrap")
    error = statistics.stdev(differences) / math.sqrt(n)
    size = max(map(abs, (*a, *b)))
    # All alike, but for rounding: 0.3 - 0.2 and 0.2 - 0.1 are not the same to a computer.
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
    """The two-sided p-value that A and B might as well have changed places in each sample: of all
    ways to give the differences a sign, the share that lies as far from 0. Exact up to EXACT of
    them that are not 0; above, of some ways drawn at random."""
    moved = [d for d in differences if d]
    if not moved:
        return 1.0
    size = math.fsum(map(abs, moved))
    far = abs(math.fsum(moved)) - 1e-12 * size  # sums in another order are rounded otherwise
    if len(moved) <= EXACT:
        # The sums of one half, sorted, beside each sum of the other: 2**15 looks, not 2**30 sums.
        # Those that lie as far below are the mirror images.
        middle = len(moved) // 2
        one, two = signed(moved[:middle]), sorted(signed(moved[middle:]))
        above = sum(len(two) - bisect.bisect_left(two, far - way) for way in one)
        return min(1.0, 2 * above / (len(one) * len(two)))
    # Eight at a time: a random byte looks up what its eight signs come to.
    padded = [*moved, *[0.0] * (-len(moved) % 8)]
    tables = [signed(padded[at : at + 8]) for at in range(0, len(padded), 8)]
    dice = random.Random(seed)  # noqa: S311
    times = draws(len(moved))
    drawn = (sum(map(operator.getitem, tables, dice.randbytes(len(tables)))) for _ in range(times))
    return (sum(abs(way) >= far for way in drawn) + 1) / (times + 1)


def signed(numbers: Sequence[float], start: float = 0.0) -> list[float]:
    """`start` and each of the numbers with either sign: all the sums."""
    sums = [start]
    for number in numbers:
        sums = [s + number for s in sums] + [s - number for s in sums]
    return sums


def agreeing(difference: float, low: float, high: float, p: float) -> tuple[float, float]:
    """The interval, holding 0 where p says noise and only there. Where the two disagree, the end
    next to 0 is the one that p itself gives (Miettinen, American Journal of Epidemiology 103, 1976:
    limits based on a test)."""
    if (low <= 0 <= high) == (p >= LEVEL):
        return low, high
    near = difference * (1 + Z / statistics.NormalDist().inv_cdf(p / 2))
    return (near, high) if difference > 0 else (low, near)


def unseen(n: int) -> float:
    """The share of all samples that may be otherwise where n of n are alike: the upper end of
    Clopper and Pearson's 95 % interval for none of n."""
    return 1 - math.pow(0.025, 1 / n)


@cache
def student(share: float, degrees: int) -> float:
    """The quantile of Student's t with a whole number of degrees of freedom, for shares from one
    half on; Abramowitz and Stegun 26.7.3 and 26.7.4, turned round by halving."""

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
    """Means of as many samples drawn with replacement."""
    n = len(differences)
    dice = random.Random(seed)  # noqa: S311
    return [math.fsum(dice.choices(differences, k=n)) / n for _ in range(draws(n))]


def draws(n: int) -> int:
    """How often to draw n samples."""
    return max(LEAST, min(MOST, DRAWS // n))


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
