"""bin/gc: remove what no config refers to."""

from __future__ import annotations

import argparse
import shutil

from benchy.core import temporary_files
from benchy.display.messages import agreed, say, tell
from benchy.display.units import human
from benchy.maintenance import garbage
from benchy.maintenance.garbage import Waste


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/gc",
        description="List results, logs and interrupted work of models and tasks that are not in "
        "the configs any more, and remove them after a confirmation (YES=1: without one).",
    )
    parser.parse_args(argv)
    wanted = garbage.planned()
    known = [*garbage.results(wanted), *garbage.work(wanted)]
    tops = {one.path for one in known}
    half = (Waste(path, "of a process that was killed") for path in temporary_files.left())
    found = [*known, *(one for one in half if not tops & set(one.path.parents))]
    if not found:
        print("gc: everything is referred to")
        return 0
    for waste in found:
        tell(f"{human(waste.size):>8}  {waste.path}  {waste.why}")
    total = human(sum(waste.size for waste in found))
    if agreed(f"Remove these {len(found)} ({total})?"):
        for waste in found:
            try:
                if waste.path.is_dir() and not waste.path.is_symlink():
                    shutil.rmtree(waste.path)
                else:
                    waste.path.unlink()
            except OSError as error:
                error.filename = str(waste.path)  # otherwise only the name of a file in it
                raise
        say("REMOVED", f"{len(found)}, {total}")
    return 0
