"""Tests of what the notes on the board say about the results at work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchy.display import activity
from benchy.maintenance import activity_check


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("model", "m", ("m", "")),
        ("task", "m/t", ("m", "t")),
        ("task", "limit-5/m/t", ("m", "t")),
        ("task", "m/limit-5", ("m", "limit-5")),
        ("model", "limit-x", ("limit-x", "")),
        ("task", "limit-x/t", ("limit-x", "t")),
    ],
)
def test_results_at_work_are_protected_whatever_their_names(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, expected: tuple[str, str]
) -> None:
    note = SimpleNamespace(kind=kind, name=name, state=activity.RUNNING)
    monkeypatch.setattr(activity, "notes", lambda: [note])
    assert list(activity_check.at_work()) == [expected]
