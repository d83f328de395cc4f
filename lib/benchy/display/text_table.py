"""Aligns columns of text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

GAP = "  "  # between columns
Row = Sequence[str]


def widths(rows: Sequence[Row]) -> list[int]:
    """Return the width of each column. All rows have the same number of cells."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def width(rows: Sequence[Row]) -> int:
    """Return the width of the table in characters."""
    columns = widths(rows)
    return sum(columns) + len(GAP) * max(0, len(columns) - 1)


def aligned(
    rows: Sequence[Row],
    right: Collection[int] = (),
    paint: Callable[[int, int, str], str] = lambda row, column, text: text,
) -> Iterator[str]:
    """Yield the lines of a table, without spaces at their ends.

    Args:
        rows: The rows, the head among them.
        right: Columns to align at the right. The others are aligned at the left.
        paint: Adds colors to a padded cell. Called with its row, its column and its text.
    """
    columns = widths(rows)
    for row, cells in enumerate(rows):
        padded = (
            cell.rjust(columns[column]) if column in right else cell.ljust(columns[column])
            for column, cell in enumerate(cells)
        )
        yield GAP.join(paint(row, column, cell) for column, cell in enumerate(padded)).rstrip()
