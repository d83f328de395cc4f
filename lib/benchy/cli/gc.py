"""bin/gc: remove what no config refers to."""

from __future__ import annotations

import argparse
import shutil

from benchy.core import temporary_files
from benchy.display.messages import agreed, print_lines, say
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
    tasks_by_model = garbage.planned()
    known = [*garbage.results(tasks_by_model), *garbage.work(tasks_by_model)]
    tops = {waste.path for waste in known}
    half = (Waste(path, "of a process that was killed") for path in temporary_files.leftovers())
    entries = [*known, *(waste for waste in half if not tops & set(waste.path.parents))]
    if not entries:
        print("gc: everything is referred to")
        return 0
    for waste in entries:
        print_lines(f"{human(waste.size):>8}  {waste.path}  {waste.why}")
    total = human(sum(waste.size for waste in entries))
    if agreed(f"Remove these {len(entries)} ({total})?"):
        for waste in entries:
            try:
                if waste.path.is_dir() and not waste.path.is_symlink():
                    shutil.rmtree(waste.path)
                else:
                    waste.path.unlink()
            except OSError as error:
                error.filename = str(waste.path)  # otherwise only the name of a file in it
                raise
        say("REMOVED", f"{len(entries)}, {total}")
    return 0
