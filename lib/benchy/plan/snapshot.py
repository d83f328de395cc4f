"""A separate plan of the current files during a run, for commands that only read.

A run uses its own plan and the specs that all plans share. A plan made with other knobs, or from a
config that is being edited, must not affect it. So the specs are copied to build/beside/specs, with
their ages, and the plan is made there.
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
    """Make the plan again in FOLDER and return its graph.

    This process uses that plan's specs from then on. Exit if the configs have mistakes.
    """
    specs = FOLDER / "specs"
    with files.locked(paths.RUN / "beside"):
        if not paths.apart() and paths.SPECS.is_dir():
            # The plan writes any file that is replaced during the copy.
            with contextlib.suppress(shutil.Error):
                shutil.copytree(
                    paths.SPECS, specs, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True
                )
        os.environ["BENCHY_SPECS"] = str(specs)
        paths.SPECS = specs
        snapshot = Graph(str(FOLDER / Path(graph.directory).relative_to(paths.BUILD)), graph.single)
        # The copied specs are the run's, so an earlier plan in FOLDER does not match them.
        Path(snapshot.directory, "rules.mk").unlink(missing_ok=True)
        snapshot.plan()
    return snapshot
