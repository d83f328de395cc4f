"""The best numbers of a column, as far as standard errors can distinguish them."""

from __future__ import annotations

from collections.abc import Sequence

from benchy.reporting import paired_tests

BEST, TIED = "best", "tied"


def standing(numbers: Sequence[tuple[float, float | None]], better: int) -> list[str]:
    """Return BEST, TIED (not distinguishable from the best) or "" for each number.

    Two numbers differ if their difference is significant at 95 % by their standard errors, treated
    as independent measurements. Samples are not read, so `make compare`, which pairs them, can
    distinguish numbers that are tied here. A number without a standard error can only be tied with
    an equal one, and beside it no number is the best. A single number has no mark.

    Args:
        numbers: (value, standard error or None) of each number.
        better: 1 if higher is better, -1 if lower is better; 0 gives no marks.
    """
    out = [""] * len(numbers)
    if len(numbers) < 2 or not better:
        return out
    top = max(range(len(numbers)), key=lambda n: better * numbers[n][0])
    value, error = numbers[top]
    if error is None:
        return out
    unknown = False
    for n, (other, its_error) in enumerate(numbers):
        p = paired_tests.unpaired(value, other, error, its_error, 0).p
        if other == value or (p is not None and p >= paired_tests.LEVEL):
            out[n] = TIED
        unknown |= p is None and other != value
    if out.count(TIED) > 1:
        return out
    out[top] = "" if unknown else BEST
    return out
