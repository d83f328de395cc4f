"""Statistics of paired samples, compared with SciPy on the same numbers."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import numpy
import pytest
from scipy import stats

from benchy.reporting import paired_tests


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 1), (5, 5), (1, 9), (12, 30), (300, 361), (5000, 5400), (0, 2000)]
)
def test_mcnemar_equals_scipys_exact_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(min(gained, lost), gained + lost, 0.5).pvalue
    assert paired_tests.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_no_flips_are_no_difference() -> None:
    found = paired_tests.right_or_wrong([1, 0, 1], [1, 0, 1])
    assert (found.difference, found.p, found.gained, found.lost) == (0, 1.0, 0, 0)
    assert found.low is not None and found.high is not None and found.low < 0 < found.high


def test_interval_of_right_or_wrong_is_agresti_and_mins() -> None:
    # 20 of 50 samples flip to right and 5 to wrong. Calculated by hand from the paper's formula.
    a, b = [0.0] * 20 + [1.0] * 5 + [1.0] * 25, [1.0] * 20 + [0.0] * 5 + [1.0] * 25
    found = paired_tests.right_or_wrong(a, b)
    middle = 15 / 52
    half = 1.959964 * math.sqrt(26 - 15**2 / 52) / 52
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert found.difference == pytest.approx(0.3) and (found.gained, found.lost) == (20, 5)


def test_interval_of_right_or_wrong_has_95_percent_coverage() -> None:
    """The interval contains the true difference in 95 of 100 series of few samples."""
    dice = random.Random(1)  # noqa: S311
    inside = 0
    for _ in range(2000):
        draws = [dice.random() for _ in range(40)]
        a = [1.0 if u < 0.10 or u >= 0.5 else 0.0 for u in draws]  # lost: 0.10, gained: 0.20
        b = [1.0 if 0.10 <= u < 0.30 or u >= 0.5 else 0.0 for u in draws]
        found = paired_tests.right_or_wrong(a, b)
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.10 <= found.high
    assert 0.93 <= inside / 2000 <= 0.98


@pytest.mark.parametrize(("n", "shift"), [(4, 0.5), (12, 0.2), (30, 0.0), (200, 0.1), (1000, 0.3)])
def test_interval_is_scipys_bootstrap_widened_like_students_t(n: int, shift: float) -> None:
    rng = numpy.random.default_rng(n)
    a = rng.gamma(2.0, 1.0, n)
    b = a + rng.normal(shift, 0.7, n)
    found = paired_tests.numbers(list(a), list(b))
    mean = float(numpy.mean(b - a))
    theirs = stats.bootstrap(
        (b - a,),
        numpy.mean,
        n_resamples=10_000,
        method="percentile",
        rng=numpy.random.default_rng(0),
    ).confidence_interval
    wide = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * math.sqrt(n / (n - 1))
    low, high = (mean + (end - mean) * wide for end in (theirs.low, theirs.high))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert found.difference == pytest.approx(mean)


SERIES = [
    [0.1, 0.2], [0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.3, -0.1, 0.2, 0.2, -0.1], [0.1] * 10,
    [0.0, 0.0, 0.4, -0.2, 0.1, 0.3, 0.5, 0.2, -0.05, 0.0, 0.7],
    [0.05 * k - 0.2 for k in range(14)], [0.3 - 0.1 * k for k in range(17)], [0.1, -0.1, 0.2, -0.1],
]  # fmt: skip


@pytest.mark.parametrize("differences", SERIES)
def test_p_value_equals_scipys_exact_permutation_test(differences: list[float]) -> None:
    a = [1.0] * len(differences)
    b = [1.0 + d for d in differences]
    theirs = stats.permutation_test(
        (b, a),
        lambda x, y, axis: numpy.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10**6,
    )
    assert paired_tests.numbers(a, b).p == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize(("n", "shift"), [(40, 0.25), (200, 0.1), (300, 0.05)])
def test_p_value_of_many_samples_is_close_to_scipys_random_permutations(
    n: int, shift: float
) -> None:
    rng = numpy.random.default_rng(n)
    a = rng.normal(0, 1, n)
    b = a + rng.normal(shift, 0.7, n)
    theirs = stats.permutation_test(
        (b, a),
        lambda x, y, axis: numpy.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=numpy.random.default_rng(0),
    )
    assert paired_tests.numbers(list(a), list(b)).p == pytest.approx(theirs.pvalue, abs=0.015)


KINDS: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda dice: dice.gauss(0, 1),
    "of F1": lambda dice: dice.random() - dice.random(),
    "few of them": lambda dice: dice.uniform(-1, 1) if dice.random() < 0.3 else 0.0,
    "halves": lambda dice: dice.choice([-1, -0.5, 0, 0, 0.5, 1]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_noise_shows_a_difference_in_at_most_5_percent_of_series(
    n: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_tests, "LEAST", 500)
    monkeypatch.setattr(paired_tests, "MOST", 500)  # much faster, and hardly less precise
    dice = random.Random(n)  # noqa: S311
    rounds = 400
    wrong = inside = 0
    for _ in range(rounds):
        found = paired_tests.numbers([0.0] * n, [KINDS[kind](dice) for _ in range(n)])
        assert found.p is not None
        wrong += found.p < paired_tests.LEVEL
        inside += found.low is None or found.high is None or found.low <= 0 <= found.high
    error = math.sqrt(0.05 * 0.95 / rounds)
    assert wrong / rounds <= (0 if n < paired_tests.FEWEST else 0.05 + 2.5 * error)
    assert inside == rounds - wrong, "the interval says what p says"


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_interval_of_few_samples_has_95_percent_coverage(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_tests, "LEAST", 500)
    monkeypatch.setattr(paired_tests, "MOST", 500)
    dice = random.Random(100 + n)  # noqa: S311
    rounds = 400
    inside = 0
    for _ in range(rounds):
        found = paired_tests.numbers([0.0] * n, [dice.gauss(0.5, 1) for _ in range(n)])
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.5 <= found.high
    assert inside / rounds >= 0.95 - 2.5 * math.sqrt(0.05 * 0.95 / rounds)


SMALL = [
    ("two samples", [0.0, 0.0], [0.1, 0.2]),
    ("four of twelve, one by half", [0.0] * 12, [1.0, 1.0, 1.0, 0.5] + [0.0] * 8),
    ("four of many", [0.0] * 20_000, [0.5] * 4 + [0.0] * 19_996),
    ("five alike", [0.0] * 5, [0.1] * 5),
]


@pytest.mark.parametrize(("name", "a", "b"), SMALL, ids=[name for name, _, _ in SMALL])
def test_too_few_differing_samples_show_no_difference(
    name: str, a: list[float], b: list[float]
) -> None:
    found = paired_tests.numbers(a, b)
    assert found.few and found.p is not None and found.p > paired_tests.LEVEL
    assert found.low is not None and found.high is not None and found.low <= 0 < found.high


def test_too_few_flips_show_no_difference_in_right_or_wrong() -> None:
    found = paired_tests.right_or_wrong(
        [0.0] * 5 + [1.0] * 15, [1.0] * 20
    )  # Agresti and Min's interval alone would be above 0
    assert found.few and found.p == pytest.approx(0.0625) and found.low is not None
    assert found.low <= 0
    four = paired_tests.right_or_wrong([0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0])
    assert four.least is None, "no accuracy differs by 1.2"


def test_equal_differences_still_have_an_interval() -> None:
    found = paired_tests.numbers([0.2] * 10, [0.3] * 10)
    share = stats.binomtest(0, 10).proportion_ci(method="exact").high
    assert (found.low, found.high) == pytest.approx((0.1 - 0.1 * share, 0.1 + 0.1 * share))
    same = paired_tests.numbers([0.5, 0.2] * 5, [0.5, 0.2] * 5)
    assert (same.low, same.high) == pytest.approx((-0.5 * share, 0.5 * share))
    assert found.least is None and same.least is None


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30, 101, 19_999])
def test_students_t_quantile_equals_scipys(degrees: int) -> None:
    for share in (0.8, 0.975):
        assert paired_tests.student(share, degrees) == pytest.approx(stats.t.ppf(share, degrees))


def test_the_same_numbers_give_the_same_verdict() -> None:
    a, b = [0.1, 0.5, 0.9, 0.2], [0.2, 0.4, 0.8, 0.9]
    assert paired_tests.numbers(a, b) == paired_tests.numbers(a, b)


def test_many_samples_are_fast_and_use_the_normal_distribution() -> None:
    rng = numpy.random.default_rng(3)
    a = list(rng.normal(0, 1, 10_000))
    b = list(rng.normal(0.05, 1, 10_000))
    begun = time.process_time()
    found = paired_tests.numbers(a, b)
    assert time.process_time() - begun < 10 and found.test == "bootstrap"
    more = paired_tests.numbers(a * 3, b * 3)
    expected = stats.norm.interval(
        0.95, loc=more.difference, scale=stats.sem(numpy.array(b * 3) - numpy.array(a * 3))
    )
    assert more.test == "normal" and (more.low, more.high) == pytest.approx(expected)


def test_one_sample_or_no_difference_has_a_p_value_of_one() -> None:
    one = paired_tests.numbers([0.5], [0.7])
    assert (one.p, one.low, one.high, one.few) == (1.0, None, None, True)
    same = paired_tests.numbers([0.5, 0.2], [0.5, 0.2])
    assert (same.difference, same.p) == (0, 1.0)


def test_unpaired_test_uses_standard_errors() -> None:
    found = paired_tests.unpaired(0.5, 0.6, 0.03, 0.04, 100)
    z = 0.1 / 0.05
    assert found.p == pytest.approx(2 * stats.norm.sf(z))
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, loc=0.1, scale=0.05))
    assert paired_tests.unpaired(0.5, 0.6, None, 0.04, 100).p is None
    assert paired_tests.unpaired(0.5, 0.6, 0.0, 0.0, 100).p is None


def test_least_difference_has_a_power_of_80_percent() -> None:
    spread = 0.02
    least = paired_tests.unpaired(0.5, 0.6, spread, 0.0, 10).least
    assert least is not None
    power = stats.norm.sf(stats.norm.isf(0.025) - least / spread)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_mean_of_tasks_combines_their_errors() -> None:
    parts = [
        paired_tests.unpaired(0.5, 0.6, 0.03, 0.04, 10),
        paired_tests.unpaired(0.5, 0.4, 0.06, 0.08, 10),
    ]
    found = paired_tests.together(parts)
    assert found.difference == pytest.approx(0.0)
    error = math.hypot(0.05, 0.10) / 2
    assert found.high == pytest.approx(paired_tests.Z * error)


def test_holm_adjusts_p_values_and_skips_missing_ones() -> None:
    ps = [0.01, 0.04, None, 0.03, 0.5]
    assert paired_tests.holm(ps) == pytest.approx([0.04, 0.09, None, 0.09, 0.5])
    assert paired_tests.holm([]) == [] and paired_tests.holm([None]) == [None]


def test_quantiles_equal_numpys() -> None:
    values = sorted(numpy.random.default_rng(0).normal(size=57))
    for share in (0.0, 0.025, 0.5, 0.975, 1.0):
        assert paired_tests.quantile(values, share) == pytest.approx(
            float(numpy.quantile(values, share))
        )
