"""Report of a survey: docs/releases.json with the rows, and docs/releases.md for people.

Engines other than the main one have docs/releases-<engine>.*.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchy.core import files, hashing

Row = dict[str, Any]
NO = "does not resolve"


def summary(package: str, rows: Sequence[Row]) -> str:
    """Summarize the rows in a few sentences."""
    resolving = [r for r in rows if r["benchy"]["resolves"]]
    plain = [r for r in rows if r["plain"]["resolves"]]
    deep = [r for r in rows if "deep" in r]
    working = [r for r in deep if r["deep"]["works"]]
    dates = sorted({r["date"] for r in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    text = [
        f"Surveyed {when}: {len(rows)} releases of `{package}` are on the index.",
        f"{len(resolving)} of {len(rows)} resolve benchy's way, {len(plain)} plainly.",
    ]
    if deep:
        text.append(
            f"{len(deep)} were built on a machine with no GPU and checked "
            f"(import, options, a tokenizer, a model's class): {len(working)} work."
        )
    return "\n".join(text)


def _packages(part: Row) -> list[str]:
    versions = part.get("packages", {})
    return [versions.get(name, "-") for name in ("transformers", "torch", "numpy")]


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with a line for each release."""
    head = (
        "release", "cutoff", "Python", "transformers", "torch", "numpy", "plain transformers",
        "plain torch", "repairs", "built", "size",
    )  # fmt: skip
    out = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        ours, deep = row["benchy"], row.get("deep")
        plain = _packages(row["plain"])[:2] if row["plain"]["resolves"] else [NO, ""]
        mine = _packages(ours) if ours["resolves"] else [NO, "", ""]
        cutoff = str(ours.get("cutoff") or "-")[:10]
        tried = "-"
        if deep:
            tried = f"{deep['seconds']:.0f} s" if deep["works"] else "**fails**"
        size = f"{deep['bytes'] / 1e9:.1f} GB" if deep and deep["works"] else "-"
        cells = [
            row["release"], cutoff, ours.get("python", "-"), *mine, *plain,
            str(len(ours.get("repairs", [])) or "-"), tried, size,
        ]  # fmt: skip
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def reasons(rows: Sequence[Row]) -> str:
    """List why releases do not resolve or work, and which repairs are no longer needed."""
    out: list[str] = []
    for row in rows:
        ours, deep = row["benchy"], row.get("deep", {"works": True})
        if not ours["resolves"]:
            out.append(f"- **{row['release']}** does not resolve: {ours['why']}")
        if not deep["works"]:
            out.append(f"- **{row['release']}** does not work: {deep['why']}")
        for why in row.get("unneeded", []):
            out.append(f"- **{row['release']}** no longer needs the repair: {why}")
    return "\n".join(out)


def repairs(rows: Sequence[Row]) -> str:
    """List each repair with the releases that it applies to."""
    held: dict[str, list[str]] = {}
    for row in rows:
        for why in row["benchy"].get("repairs", []):
            held.setdefault(why, []).append(row["release"])
    out = []
    for why, names in held.items():
        span = names[0] if len(names) == 1 else f"{names[0]} - {names[-1]} ({len(names)})"
        out.append(f"- {span}: {why}")
    return "\n".join(out)


def page(engine: str, package: str, rows: Sequence[Row]) -> str:
    """Return the text of docs/releases.md."""
    parts = [
        f"# Releases of {package}",
        f"Made by `make survey{'' if engine == 'vllm' else f' ENGINE={engine}'} DEEP=…`; "
        "edits are lost.",
        summary(package, rows),
        "Plain is what `uv pip install` of the release gets on that day; benchy's way is as of the "
        "cutoff, with the repairs of the engine's file. *Built* is the time from a lock to a "
        "checked environment, downloads included; *size* is on the disk, byte code included.",
        table(rows),
    ]
    if repairs(rows):
        parts += ["## Repairs in force", repairs(rows)]
    if reasons(rows):
        parts += ["## What stands out", reasons(rows)]
    return "\n\n".join(parts) + "\n"


def file_of(engine: str) -> Path:
    return Path("docs") / ("releases.json" if engine == "vllm" else f"releases-{engine}.json")


def read(engine: str) -> dict[str, Row]:
    """Return the rows of the last report by release, {} if there is none."""
    try:
        rows: list[Row] = json.loads(file_of(engine).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {row["release"]: row for row in rows}


def write(engine: str, package: str, rows: Sequence[Row]) -> None:
    published = [{k: v for k, v in row.items() if k != "key"} for row in rows]
    file = file_of(engine)
    files.write(file, hashing.canonical(published))
    files.write(file.with_suffix(".md"), page(engine, package, rows))
