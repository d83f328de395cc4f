"""What a process in a launcher's job keeps on its node: leases of the job's own, and what a server
tells its tasks. Folders in the node's own place for temporary files, removed at the end.

Leases are for those who share a machine unasked. Where a launcher gives each job devices of its
own (`leases: job` of its file), two jobs on one node must not wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchy.core import temporary_files

LEASES = "BENCHY_OWN_LEASES"  # of a job: set if it has leases of its own


@contextmanager
def leased(model: str) -> Iterator[None]:
    """While inside, leases are the job's own, where its launcher says so."""
    if not os.environ.pop(LEASES, ""):
        yield
        return
    with made(model) as folder:
        os.environ["BENCHY_LEASES"] = str(folder)
        yield


@contextmanager
def made(model: str) -> Iterator[Path]:
    """A folder, gone afterwards."""
    with temporary_files.folder(model) as folder:
        yield folder
