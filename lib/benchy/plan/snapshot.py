"""A plan beside that of a run under way: what the files say now, for who only looks.

A run goes by its own plan and by the specs that all plans share; one made with other knobs, or from
a config that is just being edited, is none of its business. So the specs are copied to
build/beside/specs, with their ages, and the plan is made there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from benchy.core import files, paths
from benchy.plan.make import Graph

FOLDER = paths.BUILD / "beside"


def plan(graph: Graph) -> Graph:
    """The same plan, made now in FOLDER; from here on this process goes by its specs. Ends the
    program where the configs are wrong."""
    specs = FOLDER / "specs"
    with files.locked(paths.RUN / "beside"):
        if not paths.apart() and paths.SPECS.is_dir():
            # A file that is being replaced meanwhile is written by the plan.
            with contextlib.suppress(shutil.Error):
                shutil.copytree(
                    paths.SPECS, specs, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True
                )
        os.environ["BENCHY_SPECS"] = str(specs)
        paths.SPECS = specs
        beside = Graph(str(FOLDER / Path(graph.directory).relative_to(paths.BUILD)), graph.one)
        # What was copied just now is of the run's plan, whatever was planned here before.
        Path(beside.directory, "rules.mk").unlink(missing_ok=True)
        beside.plan()
    return beside
