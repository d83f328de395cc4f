"""Rows of make bench: the measurements of each round, their median and spread, the target."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class Broken(Exception):
    """Raised if the setup does not match the description of its row, or a command fails."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    ours, bare: one value per round in `unit`; bare is the tool without benchy, or a bound. ratios:
    one per round, ours / bare unless the name says otherwise. within: given the medians of ours,
    bare and ratios, whether the target is met; None without a target. load: 1-minute load average.
    """

    name: str
    ours: Sequence[float] = ()
    bare: Sequence[float] = ()
    ratios: Sequence[float] = ()
    target: str = "-"
    within: Callable[[float, float, float], bool] | None = None
    unit: str = "s"
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def met(self) -> bool | None:
        medians = (middle(self.ours), middle(self.bare), middle(self.ratios))
        return self.within(*medians) if self.within else None

    def cells(self) -> tuple[str, ...]:
        verdict = "-" if self.met is None else "met" if self.met else "MISSED"
        ours, bare = (shown(values, f" {self.unit}") for values in (self.ours, self.bare))
        return self.name, ours, bare, shown(self.ratios), self.target, verdict


def beside(
    name: str,
    rounds: Sequence[Sequence[float]],
    target: str,
    within: Callable[[float, float, float], bool],
) -> Row:
    """Return a row from [ours, bare] of each round."""
    ours, bare = ([pair[n] for pair in rounds] for n in (0, 1))
    return Row(name, ours, bare, [a / b for a, b in rounds], target, within)


def alone(name: str, ours: Sequence[float], bound: float, unit: str = "s") -> Row:
    """Return a row whose value must not exceed a bound."""
    return Row(name, ours, (), (), f"<= {bound:g} {unit}", lambda mine, _, __: mine <= bound, unit)


def middle(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def shown(values: Sequence[float], unit: str = "") -> str:
    """Format the median, with min - max in parentheses if there are several values."""
    if not values:
        return "-"
    spread = f" ({number(min(values))} - {number(max(values))})" if len(values) > 1 else ""
    return f"{number(middle(values))}{unit}{spread}"


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def in_turn(*ways: Callable[[], float], repeats: int) -> list[list[float]]:
    """Call each of `ways` once per round and return the seconds they report."""
    return [[way() for way in ways] for _ in range(repeats)]


HEAD = ("row", "benchy", "bare", "ratio", "target", "verdict")


def text(rows: Sequence[Row]) -> str:
    """Format a table for a terminal."""
    table = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[n]) for line in table) for n in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def markdown(rows: Sequence[Row]) -> str:
    """Format a table for docs/benchmarks.md, with the load of the machine in each row."""
    lines = [f"| {' | '.join((*HEAD, 'load'))} |", "|---" * (len(HEAD) + 1) + "|"]
    for row in rows:
        cells = [cell.strip() for cell in (*row.cells(), f"{row.load:.1f}")]
        cells[-2] = "**missed**" if cells[-2] == "MISSED" else cells[-2]
        lines.append(f"| {' | '.join(cells)} |".replace("<=", "≤").replace(">=", "≥"))
    return "\n".join(lines)
