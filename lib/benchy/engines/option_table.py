"""Read and write docs/options.json, the options of each engine release that bin/survey found.

The format is {"vllm": {"releases": [oldest, …, newest], "options": {"--task": [{"first", "last",
"action", "type", "nargs", "default", "choices"}, …]}}}. An entry describes an option for the listed
releases from first to last, in which it is the same. Null values are left out, and so are help
texts, which would add megabytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from benchy.core import files

FILE = Path("docs/options.json")
FACTS = ("action", "type", "nargs", "default", "choices")  # the keys taken from flags.json

About = dict[str, Any]
Flags = Mapping[str, Mapping[str, Any]]
Table = dict[str, Any]
Tables = dict[str, Table]


def read(path: Path) -> Tables:
    """Read engine → table; {} if there is no file. Raises ValueError if it is not a JSON object."""
    try:
        tables: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(tables, dict):
        raise ValueError(f"{path} is not a JSON object")
    return tables


def releases(tables: Tables, engine: str) -> list[str]:
    return list(tables.get(engine, {}).get("releases", []))


def flags(tables: Tables, engine: str, release: str) -> dict[str, About]:
    """Return the flags of a release as flags.json has them; {} if the table lacks it."""
    known = releases(tables, engine)
    if release not in known:
        return {}
    position = {name: n for n, name in enumerate(known)}
    out = {}
    for flag, entries in tables[engine]["options"].items():
        for entry in entries:
            if position[entry["first"]] <= position[release] <= position[entry["last"]]:
                out[flag] = {fact: entry.get(fact) for fact in FACTS}
    return out


def added_in(tables: Tables, engine: str, release: str, flag: str) -> str:
    """Return the first release with an option, if it is newer than `release`; else ""."""
    entries = tables.get(engine, {}).get("options", {}).get(flag)
    first = str(entries[0]["first"]) if entries else ""
    try:
        return first if first and Version(first) > Version(release) else ""
    except InvalidVersion:
        return ""


def fold(seen: Mapping[str, Flags]) -> Table:
    """Build the table of an engine from release → flags."""
    known = sorted(seen, key=Version)
    names: Iterable[str] = sorted({flag for table in seen.values() for flag in table})
    return {"releases": known, "options": {flag: _entries(flag, known, seen) for flag in names}}


def _entries(flag: str, known: list[str], seen: Mapping[str, Flags]) -> list[About]:
    """Return an option's entries: one for each run of releases in which it is the same."""

    def facts(release: str) -> str:
        about = seen[release].get(flag)
        values = about and {f: about[f] for f in FACTS if about.get(f) is not None}
        return json.dumps(values, sort_keys=True)

    out = []
    for text, run in itertools.groupby(known, facts):
        inside = list(run)
        if text != "null":
            out.append({"first": inside[0], "last": inside[-1], **json.loads(text)})
    return out


def with_seen(tables: Tables, engine: str, seen: Mapping[str, Flags]) -> Tables:
    """Return the tables with releases of an engine added or replaced."""
    before = {release: flags(tables, engine, release) for release in releases(tables, engine)}
    return {**tables, engine: fold({**before, **seen})}


def text(tables: Tables) -> str:
    """Return the text of the file, with one entry per line for readable diffs."""
    out = []
    for engine, table in sorted(tables.items()):
        lines = [
            f"  {json.dumps(flag)}: [\n   "
            + ",\n   ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
            + "\n  ]"
            for flag, entries in table["options"].items()
        ]
        out.append(
            f'{json.dumps(engine)}: {{\n "releases": {json.dumps(table["releases"])},\n'
            ' "options": {\n' + ",\n".join(lines) + "\n }\n}"
        )
    return "{\n" + ",\n".join(out) + "\n}\n"


def write(path: Path, tables: Tables) -> bool:
    """Write the file if its text changed, and return whether it did."""
    return files.write(path, text(tables))
