"""Tests of which versions count as the same release, with the cases of every caller."""

from __future__ import annotations

import pytest

from benchy.core import versions


@pytest.mark.parametrize(
    ("asked", "found", "matches", "same_public"),
    [
        ("0.8.5", "0.8.5", True, True),
        ("0.8.5", "0.8.5+cpu", True, True),
        ("0.8.5+cpu", "0.8.5", False, True),
        ("0.8.5+cpu", "0.8.5+cpu", True, True),
        ("0.8.5+cpu", "0.8.5+cu128", False, True),
        ("0.10", "0.10.0", True, True),
        ("0.10", "0.10.0+cpu", True, True),
        ("v0.8.5", "0.8.5", True, True),
        ("0.8.5", "0.8.5.post1", False, False),
        ("0.8.5", "0.8.50", False, False),
        ("0.11.0rc2", "0.11.0", False, False),
        ("main", "main", True, True),
        ("main", "0.8.5", False, False),
    ],
)
def test_versions_match_with_and_without_local_part(
    asked: str, found: str, matches: bool, same_public: bool
) -> None:
    assert versions.matches(asked, found) is matches
    assert versions.same_public(asked, found) is same_public
