"""Statistics of pairs, held to SciPy's on the same numbers."""

from __future__ import annotations

import math
import random
import time

import numpy
import pytest
from scipy import stats

from benchy import paired


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 1), (5, 5), (1, 9), (12, 30), (300, 361), (5000, 5400), (0, 2000)]
)
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(min(gained, lost), gained + lost, 0.5).pvalue
    assert paired.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_no_flips_are_no_difference() -> None:
    found = paired.right_or_wrong([1, 0, 1], [1, 0, 1])
    assert (found.difference, found.p, found.gained, found.lost) == (0, 1.0, 0, 0)
    assert found.low is not None and found.high is not None and found.low < 0 < found.high


def test_the_interval_of_right_and_wrong_is_that_of_agresti_and_min() -> None:
    # 20 of 50 flip to right, 5 to wrong: by hand from the paper's formula.
    a, b = [0.0] * 20 + [1.0] * 5 + [1.0] * 25, [1.0] * 20 + [0.0] * 5 + [1.0] * 25
    found = paired.right_or_wrong(a, b)
    middle = 15 / 52
    half = 1.959964 * math.sqrt(26 - 15**2 / 52) / 52
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert found.difference == pytest.approx(0.3) and (found.gained, found.lost) == (20, 5)


def test_the_interval_keeps_its_promise() -> None:
    """In 95 of 100 series of few samples the true difference lies within."""
    dice = random.Random(1)  # noqa: S311
    inside = 0
    for _ in range(2000):
        draws = [dice.random() for _ in range(40)]
        a = [1.0 if u < 0.10 or u >= 0.5 else 0.0 for u in draws]  # lost: 0.10, gained: 0.20
        b = [1.0 if 0.10 <= u < 0.30 or u >= 0.5 else 0.0 for u in draws]
        found = paired.right_or_wrong(a, b)
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.10 <= found.high
    assert 0.93 <= inside / 2000 <= 0.98


@pytest.mark.parametrize(("n", "shift"), [(30, 0.0), (200, 0.1), (1000, 0.3)])
def test_the_bootstrap_is_scipys(n: int, shift: float) -> None:
    rng = numpy.random.default_rng(n)
    a = rng.gamma(2.0, 1.0, n)
    b = a + rng.normal(shift, 0.7, n)
    found = paired.numbers(list(a), list(b))
    theirs = stats.bootstrap(
        (b - a,),
        numpy.mean,
        n_resamples=10_000,
        method="percentile",
        rng=numpy.random.default_rng(0),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)
    assert found.difference == pytest.approx(float(numpy.mean(b - a)))
    t = stats.ttest_rel(b, a).pvalue  # for samples as many as these the two agree
    assert found.p == pytest.approx(t, abs=0.02)


def test_the_same_numbers_give_the_same_verdict() -> None:
    a, b = [0.1, 0.5, 0.9, 0.2], [0.2, 0.4, 0.8, 0.9]
    assert paired.numbers(a, b) == paired.numbers(a, b)


def test_many_samples_take_little_time_and_are_normal() -> None:
    rng = numpy.random.default_rng(3)
    a = list(rng.normal(0, 1, 10_000))
    b = list(rng.normal(0.05, 1, 10_000))
    begun = time.process_time()
    found = paired.numbers(a, b)
    assert time.process_time() - begun < 10 and found.test == "bootstrap"
    more = paired.numbers(a * 3, b * 3)
    expected = stats.norm.interval(
        0.95, loc=more.difference, scale=stats.sem(numpy.array(b * 3) - numpy.array(a * 3))
    )
    assert more.test == "normal" and (more.low, more.high) == pytest.approx(expected)


def test_one_sample_and_no_difference() -> None:
    assert paired.numbers([0.5], [0.7]).p is None
    same = paired.numbers([0.5, 0.2], [0.5, 0.2])
    assert (same.difference, same.p) == (0, 1.0)


def test_standard_errors_alone() -> None:
    found = paired.unpaired(0.5, 0.6, 0.03, 0.04, 100)
    z = 0.1 / 0.05
    assert found.p == pytest.approx(2 * stats.norm.sf(z))
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, loc=0.1, scale=0.05))
    assert paired.unpaired(0.5, 0.6, None, 0.04, 100).p is None
    assert paired.unpaired(0.5, 0.6, 0.0, 0.0, 100).p is None


def test_the_least_difference_has_the_power_it_says() -> None:
    spread = 0.02
    least = paired.unpaired(0.5, 0.6, spread, 0.0, 10).least
    assert least is not None
    power = stats.norm.sf(stats.norm.isf(0.025) - least / spread)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_the_mean_of_tasks() -> None:
    parts = [paired.unpaired(0.5, 0.6, 0.03, 0.04, 10), paired.unpaired(0.5, 0.4, 0.06, 0.08, 10)]
    found = paired.together(parts)
    assert found.difference == pytest.approx(0.0)
    error = math.hypot(0.05, 0.10) / 2
    assert found.high == pytest.approx(paired.Z * error)


def test_holm_as_scipy_adjusts_step_by_step() -> None:
    ps = [0.01, 0.04, None, 0.03, 0.5]
    assert paired.holm(ps) == pytest.approx([0.04, 0.09, None, 0.09, 0.5])
    assert paired.holm([]) == [] and paired.holm([None]) == [None]


def test_quantiles_are_numpys() -> None:
    values = sorted(numpy.random.default_rng(0).normal(size=57))
    for share in (0.0, 0.025, 0.5, 0.975, 1.0):
        assert paired.quantile(values, share) == pytest.approx(float(numpy.quantile(values, share)))
