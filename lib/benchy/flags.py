"""bin/flags: what the options of an engine's releases are.

    bin/flags diff A B [--engine E] [--format json]  what B adds, lacks and takes otherwise
    bin/flags table FOLDER [--engine E]              FOLDER/<release>.json into docs/options.json

Reads flags.json of environments that are built, docs/options.json for releases that are not, and
the engine's file for what does the work of an option that went.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from benchy import config, content, engine, options, optiontable, paths, schema
from benchy.errors import UsageError, say

Change = tuple[Any, Any]  # what it was, what it is; None for none


@dataclass(frozen=True)
class Difference:
    """From one release to another, by option. removed: what does its work there (or why none)."""

    added: dict[str, optiontable.About]
    removed: dict[str, schema.Gone | None]
    changed: dict[str, dict[str, Change]]


def difference(
    before: engine.Flags, after: engine.Flags, gone: Mapping[str, schema.Gone]
) -> Difference:
    one = {engine.option_of(flag): about for flag, about in before.items()}
    two = {engine.option_of(flag): about for flag, about in after.items()}
    changed = {}
    for option in sorted(one.keys() & two.keys()):
        facts = {
            fact: (one[option].get(fact), two[option].get(fact))
            for fact in optiontable.FACTS
            if one[option].get(fact) != two[option].get(fact)
        }
        if facts:
            changed[option] = facts
    return Difference(
        {option: _facts(two[option]) for option in sorted(two.keys() - one.keys())},
        {option: gone.get(option) for option in sorted(one.keys() - two.keys())},
        changed,
    )


def _facts(about: Mapping[str, Any]) -> optiontable.About:
    return {fact: about.get(fact) for fact in optiontable.FACTS}


def told(found: Difference, after: engine.Flags) -> str:
    """The difference as text."""
    width = max(map(len, [*found.added, *found.removed, *found.changed, ""])) + 2
    lines = []
    if found.removed:
        lines.append(f"removed ({len(found.removed)})")
        for option, gone in found.removed.items():
            lines.append(f"  {option:<{width}}{instead(gone, after)}".rstrip())
    if found.added:
        lines.append(f"added ({len(found.added)})")
        lines += [f"  {o:<{width}}{shape(a)}".rstrip() for o, a in found.added.items()]
    if found.changed:
        lines.append(f"changed ({len(found.changed)})")
        for option, facts in found.changed.items():
            text = "; ".join(change(fact, *both) for fact, both in facts.items())
            lines.append(f"  {option:<{width}}{text}")
    return "\n".join(lines or ["the same options"]) + "\n"


def instead(gone: schema.Gone | None, after: engine.Flags) -> str:
    """What a person does about an option that is gone."""
    if gone is None:
        return ""
    use = " or ".join(each for each in gone.use if engine.flag_of(each) in after)
    return ": ".join(filter(None, [f"use {use}" if use else "leave it out", gone.why]))


def shape(about: Mapping[str, Any]) -> str:
    """What an option takes: "int = 16", "true/false = false", "auto|fp8 = auto"."""
    action = str(about.get("action"))
    kind = "|".join(map(str, about["choices"])) if about.get("choices") else about.get("type")
    if action in engine.TWO_SIDED or "True" in action or "StoreBoolean" in action:
        kind = "true/false"
    default = about.get("default")
    return f"{kind or 'text'}" + ("" if default is None else f" = {short(default)}")


def change(fact: str, before: Any, after: Any) -> str:
    if fact == "choices" and before and after:
        less = [f"-{each}" for each in before if each not in after]
        more = [f"+{each}" for each in after if each not in before]
        return "choices " + (" ".join(less + more) or "in another order")
    return f"{fact} {short(before)} → {short(after)}"


def short(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def flags_of(name: str, made: schema.Engine, version: str, known: options.Known) -> engine.Flags:
    """A release's flags. Raises UsageError where nobody knows them."""
    try:
        version = schema.canonical(version)
    except ValueError:
        raise UsageError(f"{version!r} is no release", "write e.g. A=0.8.5 B=0.10.2") from None
    _, flags = known.flags(name, paths.env_name(name, version), version)
    if flags:
        return flags
    of = "" if made.main else f" ENGINE={name}"
    raise UsageError(
        f"the options of {made.title or made.package} {version} are not known: it is not built "
        f"here, and {optiontable.FILE} does not have it",
        f"make venv VERSION={version}{of}",
    )


def diff(name: str, made: schema.Engine, one: str, two: str, form: str) -> int:
    known = options.Known()
    before, after = (flags_of(name, made, each, known) for each in (one, two))
    gone = made.gone_options()
    found = difference(before, after, gone)
    if form == "json":
        plain = {
            "engine": name, "from": one, "to": two, "added": found.added,
            "removed": {
                option: {"use": each.use if each else [], "why": each.why if each else ""}
                for option, each in found.removed.items()
            },
            "changed": {
                option: {fact: {"from": a, "to": b} for fact, (a, b) in facts.items()}
                for option, facts in found.changed.items()
            },
        }  # fmt: skip
        print(content.canonical(plain), end="")
    else:
        print(f"{made.title or made.package} {one} → {two}")
        print(told(found, after), end="")
    return 0


def table(name: str, made: schema.Engine, folder: Path) -> int:
    """Fold a folder of flags into docs/options.json, and say what the engine's file misses."""
    seen = {}
    for path in sorted(folder.glob("*.json")):
        try:
            Version(path.stem)
            seen[path.stem] = engine.read_flags(path)
        except (InvalidVersion, ValueError, OSError) as error:
            raise UsageError(f"{path} is no release's flags: {error}") from None
    if not seen:
        raise UsageError(f"{folder} holds no RELEASE.json", "bin/survey --deep all writes them")
    tables = optiontable.with_seen(optiontable.read(optiontable.FILE), name, seen)
    changed = optiontable.write(optiontable.FILE, tables)
    say("FLAGS" if changed else "", f"{optiontable.FILE}: {len(tables[name]['releases'])} releases")
    for line in unsaid(tables[name], made):
        say("", f"configs/engines/{name}.yaml: gone: {line}")
    return 0


def unsaid(made: optiontable.Table, of: schema.Engine) -> list[str]:
    """What an engine's `gone` and the table of its options say differently."""
    releases = made["releases"]
    gone = of.gone_options()
    out = []
    for flag, entries in made["options"].items():
        option, last = engine.option_of(flag), releases.index(entries[-1]["last"])
        if last + 1 == len(releases):
            if option in gone and not gone[option].back:
                out.append(f"{option} is there in {releases[-1]}")
            continue
        since = releases[last + 1]
        if option not in gone:
            out.append(f"{option} is not named: the first release without it is {since}")
        elif Version(gone[option].since) <= Version(releases[last]):
            out.append(f"{option} is said to be gone since {gone[option].since}, not {since}")
        elif Version(gone[option].since) > Version(since):
            out.append(f"{option} was gone in {since}, before {gone[option].since}")
    return out


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/flags", description="the options of an engine's releases"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    one = verbs.add_parser("diff", help="options added, removed and changed between two releases")
    one.add_argument("a", metavar="A", help="a release, such as 0.8.5")
    one.add_argument("b", metavar="B", help="another, such as 0.10.2")
    one.add_argument("--format", choices=["text", "json"], default="text")
    two = verbs.add_parser("table", help=f"fold FOLDER/<release>.json into {optiontable.FILE}")
    two.add_argument("folder", type=Path, metavar="FOLDER", help="build/survey/flags/ENGINE")
    for each in (one, two):
        each.add_argument("--engine", help="an engine (default: the main one, vllm)")
    args = parser.parse_args(argv)
    engines = {n: e for n, e in config.load_engines(paths.ROOT).items() if e.kind == "engine"}
    name = args.engine or next((n for n, e in engines.items() if e.main), "vllm")
    if name not in engines:
        raise UsageError(
            f"no engine is named {name!r}", f"known are: {', '.join(sorted(engines))}", "ENGINE"
        )
    if args.verb == "table":
        return table(name, engines[name], args.folder)
    for knob, value in (("A", args.a), ("B", args.b)):
        if not value:
            raise UsageError("is missing", "write make flags-diff A=0.8.5 B=0.10.2", knob)
    return diff(name, engines[name], args.a, args.b, args.format)
