"""bin/doctor: check what this machine lacks."""

from __future__ import annotations

import argparse
import json
import sys
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
    findings = []
    for part in doctor.PARTS:
        for finding in part():
            findings.append(finding)
            if args.format == "json":
                continue
            shade = {doctor.OK: "32", doctor.WARNING: "33", doctor.ERROR: "31"}[finding.state]
            state = colour(f"{finding.state:<8}", shade, sys.stdout)
            print(f"{state} {printable(finding.what)}", flush=True)
            if finding.hint:
                print(f"         {printable(finding.hint)}")
    if args.format == "json":
        # Scripts read the hint under its former name.
        rows = [{"mend" if k == "hint" else k: v for k, v in asdict(f).items()} for f in findings]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return int(any(finding.state == doctor.ERROR for finding in findings))
