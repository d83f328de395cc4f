"""Tests of aligned tables."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from benchy.display import text_table

ROWS: list[tuple[str, ...]] = [
    ("task", "score", ""),
    ("arc", "0.5", "stale"),
    ("gsm8k", "12.25", ""),
]
# Name: (rows, columns at the right, lines).
TABLES: dict[str, tuple[list[tuple[str, ...]], Collection[int], list[str]]] = {
    "left": (ROWS, (), ["task   score", "arc    0.5    stale", "gsm8k  12.25"]),
    "right": (ROWS, {1}, ["task   score", "arc      0.5  stale", "gsm8k  12.25"]),
    "first column at the right": (ROWS[:2], {0}, ["task  score", " arc  0.5    stale"]),
    "one column": ([("a",), ("bcd",)], (), ["a", "bcd"]),
    "empty cells": ([("", ""), ("", "")], (), ["", ""]),
    "no rows": ([], (), []),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_aligned(name: str) -> None:
    rows, right, lines = TABLES[name]
    assert list(text_table.aligned(rows, right)) == lines
    assert max(map(len, lines), default=0) <= text_table.width(rows)


def test_colors_do_not_count_as_width() -> None:
    def paint(row: int, column: int, text: str) -> str:
        return f"<{text}>" if (row, column) == (1, 1) else text

    lines = list(text_table.aligned(ROWS, {1}, paint))
    assert lines == ["task   score", "arc    <  0.5>  stale", "gsm8k  12.25"]
    assert text_table.width(ROWS) == len("gsm8k  12.25  stale")
