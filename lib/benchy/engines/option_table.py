"""docs/options.json: which options each release of an engine has, as bin/survey saw them.

{"vllm": {"releases": [oldest, …, newest], "options": {"--task": [{"first", "last", "action",
"type", "nargs", "default", "choices"}, …]}}}. An entry holds for those of the releases from first
to last in which the option was the same; what is null is left out. No help texts: with them it
would be a file of megabytes.
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
FACTS = ("action", "type", "nargs", "default", "choices")  # of what flags.json says of an option

About = dict[str, Any]
Flags = Mapping[str, Mapping[str, Any]]
Table = dict[str, Any]
Tables = dict[str, Table]


def read(path: Path) -> Tables:
    """Engine → table; {} if there is no file. Raises ValueError."""
    try:
        found: Tables = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def releases(tables: Tables, engine: str) -> list[str]:
    return list(tables.get(engine, {}).get("releases", []))


def flags(tables: Tables, engine: str, release: str) -> dict[str, About]:
    """The flags of a release, as flags.json has them; {} if the table does not have the release."""
    known = releases(tables, engine)
    if release not in known:
        return {}
    place = {each: n for n, each in enumerate(known)}
    out = {}
    for flag, entries in tables[engine]["options"].items():
        for entry in entries:
            if place[entry["first"]] <= place[release] <= place[entry["last"]]:
                out[flag] = {fact: entry.get(fact) for fact in FACTS}
    return out


def came(tables: Tables, engine: str, release: str, flag: str) -> str:
    """The first release of the table with an option, where it is newer than this one; else ""."""
    entries = tables.get(engine, {}).get("options", {}).get(flag)
    first = str(entries[0]["first"]) if entries else ""
    try:
        return first if first and Version(first) > Version(release) else ""
    except InvalidVersion:
        return ""


def fold(seen: Mapping[str, Flags]) -> Table:
    """The table of an engine from release → flags."""
    known = sorted(seen, key=Version)
    names: Iterable[str] = sorted({flag for each in seen.values() for flag in each})
    return {"releases": known, "options": {flag: _entries(flag, known, seen) for flag in names}}


def _entries(flag: str, known: list[str], seen: Mapping[str, Flags]) -> list[About]:
    """One option's entries, one for each run of releases in which it is the same."""

    def facts(release: str) -> str:
        about = seen[release].get(flag)
        kept = about and {f: about[f] for f in FACTS if about.get(f) is not None}
        return json.dumps(kept, sort_keys=True)

    out = []
    for text, run in itertools.groupby(known, facts):
        inside = list(run)
        if text != "null":
            out.append({"first": inside[0], "last": inside[-1], **json.loads(text)})
    return out


def with_seen(tables: Tables, engine: str, seen: Mapping[str, Flags]) -> Tables:
    """The tables with more releases of an engine; one that is there already is seen anew."""
    before = {each: flags(tables, engine, each) for each in releases(tables, engine)}
    return {**tables, engine: fold({**before, **seen})}


def text(tables: Tables) -> str:
    """The file: an entry to a line, so that a difference can be read."""
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
    """Whether it changed."""
    return files.write(path, text(tables))
