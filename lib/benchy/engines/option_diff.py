"""bin/flags: compare the options of an engine's releases.

    bin/flags diff A B [--engine E] [--format json]  what B adds, removes and changes
    bin/flags table FOLDER [--engine E]              add FOLDER/<release>.json to docs/options.json

Reads flags.json of built environments, docs/options.json for other releases, and the engine's file
for the replacements of removed options. This module writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from benchy.config import engine_schema
from benchy.core import paths, versions
from benchy.core.errors import UsageError
from benchy.core.text import shorten
from benchy.engines import option_check, option_table, release_flags

Change = tuple[Any, Any]  # (before, after); None for no value


@dataclass(frozen=True)
class Difference:
    """The difference between two releases, by option.

    removed: the replacement and the reason, from the engine's file, or None.
    """

    added: dict[str, option_table.About]
    removed: dict[str, engine_schema.Gone | None]
    changed: dict[str, dict[str, Change]]


def difference(
    before: release_flags.Flags,
    after: release_flags.Flags,
    removals: Mapping[str, engine_schema.Gone],
) -> Difference:
    old = {release_flags.option_of(flag): about for flag, about in before.items()}
    new = {release_flags.option_of(flag): about for flag, about in after.items()}
    changed = {}
    for option in sorted(old.keys() & new.keys()):
        facts = {
            fact: (old[option].get(fact), new[option].get(fact))
            for fact in option_table.FACTS
            if old[option].get(fact) != new[option].get(fact)
        }
        if facts:
            changed[option] = facts
    return Difference(
        {option: _facts(new[option]) for option in sorted(new.keys() - old.keys())},
        {option: removals.get(option) for option in sorted(old.keys() - new.keys())},
        changed,
    )


def _facts(about: Mapping[str, Any]) -> option_table.About:
    return {fact: about.get(fact) for fact in option_table.FACTS}


def as_text(diff: Difference, after: release_flags.Flags) -> str:
    """Return a difference as text."""
    width = max(map(len, [*diff.added, *diff.removed, *diff.changed, ""])) + 2
    lines = []
    if diff.removed:
        lines.append(f"removed ({len(diff.removed)})")
        for option, removal in diff.removed.items():
            lines.append(f"  {option:<{width}}{replacement(removal, after)}".rstrip())
    if diff.added:
        lines.append(f"added ({len(diff.added)})")
        lines += [f"  {o:<{width}}{shape(a)}".rstrip() for o, a in diff.added.items()]
    if diff.changed:
        lines.append(f"changed ({len(diff.changed)})")
        for option, facts in diff.changed.items():
            text = "; ".join(change(fact, *both) for fact, both in facts.items())
            lines.append(f"  {option:<{width}}{text}")
    return "\n".join(lines or ["no differences"]) + "\n"


def replacement(removal: engine_schema.Gone | None, after: release_flags.Flags) -> str:
    """Return what to do about a removed option; "" if the engine's file does not say."""
    if removal is None:
        return ""
    use = " or ".join(option for option in removal.use if release_flags.flag_of(option) in after)
    return ": ".join(filter(None, [f"use {use}" if use else "leave it out", removal.why]))


def shape(about: Mapping[str, Any]) -> str:
    """Return an option's type and default: "int = 16", "true/false = false", "auto|fp8 = auto"."""
    action = str(about.get("action"))
    kind = "|".join(map(str, about["choices"])) if about.get("choices") else about.get("type")
    if action in release_flags.TWO_SIDED or "True" in action or "StoreBoolean" in action:
        kind = "true/false"
    default = about.get("default")
    return f"{kind or 'text'}" + ("" if default is None else f" = {short(default)}")


def change(fact: str, before: Any, after: Any) -> str:
    if fact == "choices" and before and after:
        less = [f"-{choice}" for choice in before if choice not in after]
        more = [f"+{choice}" for choice in after if choice not in before]
        return "choices " + (" ".join(less + more) or "in another order")
    return f"{fact} {short(before)} → {short(after)}"


def short(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return shorten(text, 60)


def flags_of(
    name: str, engine: engine_schema.Engine, version: str, known: option_check.FlagsCache
) -> release_flags.Flags:
    """Return the flags of a release. Raises UsageError if they are not known."""
    try:
        version = versions.normalized(version)
    except ValueError:
        raise UsageError(f"{version!r} is not a release", "write e.g. A=0.8.5 B=0.10.2") from None
    _, flags = known.flags(name, paths.env_name(name, version), version)
    if flags:
        return flags
    selector = "" if engine.main else f" ENGINE={name}"
    raise UsageError(
        f"the options of {engine.title or engine.package} {version} are not known: it is not built "
        f"here, and {option_table.FILE} does not contain it",
        f"make venv VERSION={version}{selector}",
    )


def contradictions(table: option_table.Table, engine: engine_schema.Engine) -> list[str]:
    """Return one line for each contradiction between an engine's `gone` and its option table."""
    releases = table["releases"]
    listed = engine.gone_options()
    out = []
    for flag, entries in table["options"].items():
        option, last = release_flags.option_of(flag), releases.index(entries[-1]["last"])
        if last + 1 == len(releases):
            if option in listed and not listed[option].back:
                out.append(f"{option} is listed as gone, but {releases[-1]} has it")
            continue
        since = releases[last + 1]
        if option not in listed:
            out.append(f"{option} is not listed: the first release without it is {since}")
        elif not Version(releases[last]) < Version(listed[option].since) <= Version(since):
            out.append(f"{option} is listed as gone since {listed[option].since}, not {since}")
    return out
