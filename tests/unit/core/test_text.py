"""Tests of shortening text for messages."""

from __future__ import annotations

import pytest

from benchy.core.text import listed, shorten


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [("", 3, ""), ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("abcd", 1, "…")],
)
def test_a_long_text_is_cut_and_marked(text: str, most: int, shown: str) -> None:
    assert shorten(text, most) == shown


@pytest.mark.parametrize(
    ("words", "most", "shown"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (["a", "b", "c"], 1, "a and 2 more"),
    ],
)
def test_a_long_list_ends_with_the_number_of_the_others(
    words: list[str], most: int, shown: str
) -> None:
    assert listed(words, most) == shown
