"""Directories of a launcher's job on its node: the leases of the job, and the data of its server.

They are among the node's temporary files and are removed at the end.

Leases protect processes that share a machine without a scheduler. A launcher with `leases: job` in
its file gives each job its own devices, so two jobs on one node must not wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchy.core import temporary_files

LEASES = "BENCHY_OWN_LEASES"  # set in a job that has its own leases


@contextmanager
def leased(model: str) -> Iterator[None]:
    """Keep leases in a directory of the job, if its launcher's file has `leases: job`."""
    if not os.environ.pop(LEASES, ""):
        yield
        return
    with made(model) as folder:
        os.environ["BENCHY_LEASES"] = str(folder)
        yield


@contextmanager
def made(model: str) -> Iterator[Path]:
    """Create a temporary directory and remove it at exit."""
    with temporary_files.folder(model) as folder:
        yield folder
