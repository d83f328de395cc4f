"""bin/publish: upload the leaderboard and the results to the hub."""

from __future__ import annotations

import argparse
import os
import re

from benchy.core import knobs
from benchy.core.errors import UsageError
from benchy.display.messages import say
from benchy.display.units import human
from benchy.process.signals import end_once
from benchy.reporting import publish


def main(argv: list[str]) -> int:
    """Run `bin/publish REPOSITORY`. Raise UsageError or Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/publish", description="Upload the leaderboard to a dataset repository on the hub."
    )
    parser.add_argument("repository", nargs="?", default=os.environ.get("REPO", ""))
    parser.add_argument(
        "--yes", action="store_true", help="upload (as YES=1), not only list the files"
    )
    parser.add_argument("--samples", action="store_true", help="include prompts and answers")
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    parser.add_argument("--check", action="store_true", help="only check the name REPOSITORY")
    args = parser.parse_args(argv)

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", args.repository):
        raise UsageError(
            f"{args.repository!r} is not a repository's name" if args.repository else "is missing",
            "write REPO=organisation/name",
            "REPO",
        )
    if args.check:
        return 0
    samples, really = args.samples or knobs.on("SAMPLES"), args.yes or knobs.on("YES")
    public = args.public or knobs.on("PUBLIC")
    end_once()
    chosen = publish.files(samples)
    results = sum(name.endswith(publish.RESULT) for name in chosen)
    size = human(sum(path.stat().st_size for path in chosen.values()))
    what = f"{len(chosen)} files, {size}: the leaderboard and {results} results"
    if not really:
        print("\n".join(chosen))
        with_samples = "" if samples else "; SAMPLES=1: with prompts and answers"
        say(publish.TAG, f"would upload {what} to {args.repository}")
        say("", f"YES=1: do it{with_samples}")
        return 0
    say(publish.TAG, f"{what} to {args.repository}")
    say(publish.TAG, publish.upload(args.repository, not public, chosen, samples))
    return 0
