"""bin/doctor: check what this machine lacks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from benchy.core.errors import printable
from benchy.display.messages import colour
from benchy.maintenance import doctor


def main(argv: list[str]) -> int:
    """Run `bin/doctor [--format json]`, and return 1 if a check reports an error."""
    parser = argparse.ArgumentParser(
        prog="bin/doctor", description="report what this machine lacks, with a fix for each problem"
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
            if one.hint:
                print(f"         {printable(one.hint)}")
    if args.format == "json":
        # Scripts read the hint under its former name.
        rows = [{"mend" if k == "hint" else k: v for k, v in asdict(f).items()} for f in found]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return int(any(one.state == doctor.ERROR for one in found))
