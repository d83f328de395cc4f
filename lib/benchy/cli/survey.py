"""bin/survey: check which releases of an engine resolve, install and work."""

from __future__ import annotations

import argparse
import os

from packaging.version import InvalidVersion, Version

from benchy.config import loader
from benchy.core import files, knobs, paths
from benchy.core.errors import UsageError
from benchy.display.messages import say
from benchy.environments import removal, resolver
from benchy.maintenance import survey, survey_report


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/survey",
        description="check that each release of an engine installs and works",
    )
    parser.add_argument("--engine", default="vllm", help="an engine (default: vllm)")
    parser.add_argument("--from", dest="since", default="0.6.0", metavar="RELEASE")
    parser.add_argument("--to", dest="until", metavar="RELEASE")
    parser.add_argument(
        "--deep",
        choices=["all", "some"],
        help="build and check all of them, or some: the last of each minor release and both ends "
        "of each repair's range",
    )
    parser.add_argument(
        "--disk",
        type=float,
        default=25.0,
        metavar="GB",
        help="disk space for builds (default: 25)",
    )
    args = parser.parse_args(argv)
    if not args.deep and os.environ.get("DEEP") in ("all", "some"):
        args.deep = os.environ["DEEP"]
    elif not args.deep and knobs.on("DEEP"):
        args.deep = "all"
    engine = loader.load_engines(paths.ROOT).get(args.engine)
    if engine is None:
        raise UsageError(f"no engine is named {args.engine!r}", "see configs/engines", "ENGINE")
    try:
        since, until = Version(args.since), Version(args.until) if args.until else None
    except InvalidVersion as error:
        raise UsageError(str(error), "write e.g. FROM=0.8.0 TO=0.10.2") from None
    if args.deep and args.disk < 2 * survey.LARGEST_GB:
        raise UsageError(
            f"{args.disk:g} GB are not enough",
            f"an environment and its cache take up to {2 * survey.LARGEST_GB:g}", "--disk",
        )  # fmt: skip
    for leftover in paths.VENVS.glob(f"{survey.PREFIX}*"):  # left by a killed survey
        if leftover.is_dir():
            removal.remove(leftover.name)
    package = engine.package.partition("[")[0]
    releases = survey.releases(
        package, since, until, resolver.log_path(survey.PREFIX + args.engine)
    )
    deep = (
        set(releases)
        if args.deep == "all"
        else survey.chosen(releases, engine)
        if args.deep
        else set()
    )
    say("SURVEY", f"{len(releases)} releases of {package}, {len(deep)} to build")
    for version in releases:
        row = survey.survey(args.engine, engine, version, args.disk if version in deep else None)
        say("", f"{version}: {survey.summary(row)}")
    # Keep rows from other machines or from before a `make clean` until they are surveyed again.
    known = survey_report.read(args.engine)
    for path in (survey.FOLDER / args.engine).glob("*.json"):
        known[path.stem] = survey.renewed(known.get(path.stem, {}), files.read_json(path))
    rows = sorted(known.values(), key=lambda row: Version(row["release"]))
    survey_report.write(args.engine, package, rows)
    bad = [row for row in rows if not row.get("deep", {"works": True})["works"]]
    return 1 if bad else 0
