"""bin/idle: fail if anything is under way in this checkout."""

from __future__ import annotations

import argparse

from benchy.maintenance import activity_check


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/idle", description="fail and report the activity if anything is running here"
    )
    parser.add_argument("goal", nargs="?", help="the goal to name in the message")
    activity_check.refuse(parser.parse_args(argv).goal or "")
    return 0
