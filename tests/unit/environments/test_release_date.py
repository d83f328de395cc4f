"""Tests of a release's date and Python versions, which real uv queries from a local HTTP index."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from benchy.environments import release_date

UTC = timezone.utc
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


MOMENTS = [
    ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
    ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ("P7D", NOW - timedelta(days=7)),
    ("PT24H", NOW - timedelta(days=1)),
    ("2 weeks", NOW - timedelta(days=14)),
    ("30 days", NOW - timedelta(days=30)),
    ("soon", None),
]


@pytest.mark.parametrize(("text", "expected"), MOMENTS)
def test_moment_parses_dates_and_durations(text: str, expected: datetime | None) -> None:
    assert release_date.moment(text, NOW) == expected


EARLIER = [
    ("no machine cutoff", "2026-01-02T00:00:00Z", None, "2026-01-02T00:00:00Z"),
    ("the machine's alone", None, "P7D", "P7D"),
    ("neither", None, None, None),
    ("the release's is earlier", "2026-01-02T00:00:00Z", "P7D", "2026-01-02T00:00:00Z"),
    ("the machine's is earlier", "2026-01-02T00:00:00Z", "2025-12-01", "2025-12-01T00:00:00Z"),
    ("the machine's cannot be read", "2026-01-02T00:00:00Z", "soon", "2026-01-02T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("cutoff", "machine", "expected"), [row[1:] for row in EARLIER], ids=[row[0] for row in EARLIER]
)
def test_earlier_cutoff_is_used(
    cutoff: str | None, machine: str | None, expected: str | None
) -> None:
    assert release_date.earlier(cutoff, machine, NOW) == expected
