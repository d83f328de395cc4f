"""bin/flags: show the options of an engine's releases."""

from __future__ import annotations

import argparse
from pathlib import Path

from packaging.version import InvalidVersion, Version

from benchy.config import engine_schema, loader
from benchy.core import hashing, paths
from benchy.core.errors import UsageError
from benchy.display.messages import say
from benchy.engines import option_check, option_diff, option_table, release_flags


def diff(name: str, engine: engine_schema.Engine, old: str, new: str, form: str) -> int:
    known = option_check.FlagsCache()
    before, after = (option_diff.flags_of(name, engine, release, known) for release in (old, new))
    retired = engine.gone_options()
    changes = option_diff.difference(before, after, retired)
    if form == "json":
        plain = {
            "engine": name, "from": old, "to": new, "added": changes.added,
            "removed": {
                option: {"use": note.use if note else [], "why": note.why if note else ""}
                for option, note in changes.removed.items()
            },
            "changed": {
                option: {fact: {"from": a, "to": b} for fact, (a, b) in facts.items()}
                for option, facts in changes.changed.items()
            },
        }  # fmt: skip
        print(hashing.canonical(plain), end="")
    else:
        print(f"{engine.title or engine.package} {old} → {new}")
        print(option_diff.as_text(changes, after), end="")
    return 0


def table(name: str, made: engine_schema.Engine, folder: Path) -> int:
    """Merge a folder of flags into docs/options.json, and print the removed options that the
    engine's file does not mention. Raise UsageError if a file is not the flags of a release, or if
    there is none."""
    seen = {}
    for path in sorted(folder.glob("*.json")):
        try:
            Version(path.stem)
            seen[path.stem] = release_flags.read_flags(path)
        except (InvalidVersion, ValueError, OSError) as error:
            raise UsageError(f"{path} is not a list of a release's options: {error}") from None
    if not seen:
        raise UsageError(f"{folder} contains no RELEASE.json", "bin/survey --deep all writes them")
    tables = option_table.with_seen(option_table.read(option_table.FILE), name, seen)
    changed = option_table.write(option_table.FILE, tables)
    say(
        "FLAGS" if changed else "", f"{option_table.FILE}: {len(tables[name]['releases'])} releases"
    )
    for line in option_diff.contradictions(tables[name], made):
        say("", f"configs/engines/{name}.yaml: gone: {line}")
    return 0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/flags", description="the options of an engine's releases"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    diff_parser = verbs.add_parser(
        "diff", help="options added, removed and changed between two releases"
    )
    diff_parser.add_argument("a", metavar="A", help="a release, such as 0.8.5")
    diff_parser.add_argument("b", metavar="B", help="another, such as 0.10.2")
    diff_parser.add_argument("--format", choices=["text", "json"], default="text")
    table_parser = verbs.add_parser(
        "table", help=f"fold FOLDER/<release>.json into {option_table.FILE}"
    )
    table_parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="build/survey/flags/ENGINE"
    )
    for sub in (diff_parser, table_parser):
        sub.add_argument("--engine", help="an engine (default: the main one, vllm)")
    args = parser.parse_args(argv)
    engines = {n: e for n, e in loader.load_engines(paths.ROOT).items() if e.kind == "engine"}
    name = args.engine or next((n for n, e in engines.items() if e.main), "vllm")
    if name not in engines:
        raise UsageError(
            f"no engine is named {name!r}", f"known engines: {', '.join(sorted(engines))}", "ENGINE"
        )
    if args.verb == "table":
        return table(name, engines[name], args.folder)
    for knob, value in (("A", args.a), ("B", args.b)):
        if not value:
            raise UsageError("is missing", "write make flags-diff A=0.8.5 B=0.10.2", knob)
    return diff(name, engines[name], args.a, args.b, args.format)
