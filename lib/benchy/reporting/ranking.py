"""Which numbers of a column are the best, as far as their standard errors can tell."""

from __future__ import annotations

from collections.abc import Sequence

from benchy.reporting import paired_tests

BEST, TIED = "best", "tied"


def standing(numbers: Sequence[tuple[float, float | None]], better: int) -> list[str]:
    """For each (value, standard error): BEST, TIED (not apart from the best), or "".

    better: 1 higher, -1 lower; 0 gives no mark. A number is apart from the best if their difference
    is more than noise by the two errors alone, at 95 %, as of independent measurements: samples are
    not read, so `make compare`, which pairs them, may tell apart what is tied here. Without an
    error nothing can be told: such a number is never tied, and beside it there is no best. One
    number alone has no mark.
    """
    out = [""] * len(numbers)
    if len(numbers) < 2 or not better:
        return out
    top = max(range(len(numbers)), key=lambda n: better * numbers[n][0])
    value, error = numbers[top]
    if error is None:
        return out
    untold = False
    for n, (other, its_error) in enumerate(numbers):
        p = paired_tests.unpaired(value, other, error, its_error, 0).p
        if other == value or (p is not None and p >= paired_tests.LEVEL):
            out[n] = TIED
        untold |= p is None and other != value
    if out.count(TIED) > 1:
        return out
    out[top] = "" if untold else BEST
    return out
