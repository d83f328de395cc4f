"""Tests of a release's date and Python versions, which real uv queries from a local HTTP index."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from benchy.core.errors import UsageError
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
    ("1 day 12 hours", NOW - timedelta(days=1, hours=12)),
    ("1 week, 3 days ago", NOW - timedelta(days=10)),
    ("1d12h30min", NOW - timedelta(days=1, hours=12, minutes=30)),
    ("P1W3D", NOW - timedelta(days=10)),
    ("P1DT12H", NOW - timedelta(days=1, hours=12)),
    ("PT90M", NOW - timedelta(minutes=90)),
    ("PT5S", NOW - timedelta(seconds=5)),
    # uv refuses these, too.
    ("P1M", None),
    ("1 month", None),
    ("12 hours 1 day", None),
    ("P", None),
    ("PT", None),
    ("ago", None),
    ("7", None),
    ("", None),
    ("99999999999 days", None),
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
    ("a duration of two units", "2026-11-23T00:00:00Z", "1 day 12 hours", "2026-11-22T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("cutoff", "machine", "expected"), [row[1:] for row in EARLIER], ids=[row[0] for row in EARLIER]
)
def test_earlier_cutoff_is_used(
    cutoff: str | None, machine: str | None, expected: str | None
) -> None:
    assert release_date.earlier(cutoff, machine, NOW) == expected


@pytest.mark.parametrize("machine", ["P1M", "1 month", "soon"])
def test_unreadable_machine_cutoff_is_refused(machine: str) -> None:
    with pytest.raises(UsageError, match=f"UV_EXCLUDE_NEWER: '{machine}' is not a cutoff") as told:
        release_date.earlier("2026-01-02T00:00:00Z", machine, NOW)
    assert 'write a day (2025-04-01), a time (2025-04-01T12:00:00Z), "7 days" or P7D' in str(
        told.value
    )
    assert release_date.earlier(None, machine, NOW) == machine, "uv itself reports it"
