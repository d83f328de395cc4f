"""Durations and sizes as text."""

from __future__ import annotations


def human(size: float) -> str:
    """Return a size in bytes as text: 412 MB, 7.1 GB (powers of 1000, as disks are sold)."""
    if size < 1e6:
        return "-" if not size else f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def duration(seconds: float) -> str:
    """Return a duration as text: 3.5 s, 12 min 4 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def span(seconds: float) -> str:
    """Return a rounded duration as text: 12 s, 3 min, 2 h 05 min, 3 d 4 h."""
    seconds = max(0, round(seconds))
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
