"""bin/doctor: check what this machine lacks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from benchy.core.errors import printable
from benchy.display.messages import colour
from benchy.maintenance import doctor


def main(argv: list[str]) -> int:
    """bin/doctor [--format json]; 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog="bin/doctor", description="what this machine lacks, with the mend for each"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    args = parser.parse_args(argv)
    found = []
    for part in doctor.PARTS:
        for one in part():
            found.append(one)
            if args.format == "json":
                continue
            shade = {doctor.OK: "32", doctor.WARNING: "33", doctor.ERROR: "31"}[one.state]
            print(f"{colour(f'{one.state:<8}', shade)} {printable(one.what)}", flush=True)
            if one.mend:
                print(f"         {printable(one.mend)}")
    if args.format == "json":
        print(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
    return int(any(one.state == doctor.ERROR for one in found))
