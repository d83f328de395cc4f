"""bin/idle: check that nothing is under way in this checkout before a goal removes files in use.

Reads only the board. Needs no package, so that a damaged .venv can be removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchy.core import paths, result_files
from benchy.core.errors import Failure
from benchy.core.specs import PlanIndex, read_plan
from benchy.display import activity


def refuse(goal: str) -> None:
    """Raise Failure if anything is under way, OSError if a folder to remove is not writable.

    goal: the goal that wants to remove files, "" for none.
    """
    for path in (paths.BUILD, paths.RUN, paths.LOGS) if goal else ():
        if path.exists() and not os.access(path, os.W_OK):
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            why = errno.EROFS if read_only else errno.EACCES
            raise OSError(why, os.strerror(why), str(path))
    activities = list(under_way())
    if not activities:
        return
    what = f"make {goal} would remove files in use" if goal else "this checkout is in use"
    raise Failure(
        what,
        "wait until it is done, or stop it (Ctrl-C where it was started)",
        lines=activities[:8],
    )


def under_way() -> Iterator[str]:
    """Describe each run of this checkout, on any host, and each activity outside a run."""
    runs = list(activity.runs())
    for run in runs:
        since = time.strftime("%H:%M", time.localtime(run.began))
        yield f"a run: pid {run.pid} on {run.host}, since {since}"
    known = {run.pid for run in runs}
    for note in activity.notes():
        if note.state != activity.FAILED and note.run not in known:
            yield f"{note.kind} {note.name}: {note.state}, pid {note.pid} on {note.host}"


def plans() -> Iterator[PlanIndex]:
    """Yield the plans of the runs under way."""
    for run in activity.runs():
        with contextlib.suppress(OSError, ValueError):
            yield read_plan(Path(run.plan, "plan.json"))


def at_work() -> Iterator[tuple[str, str]]:
    """Yield (model, task) of each activity, in a run or not. task is "" for a server."""
    for note in activity.notes():
        if note.kind in ("model", "task") and note.state != activity.FAILED:
            words = note.name.split("/")
            if len(words) > 1 and result_files.is_limit(words[0]):
                del words[0]
            yield words[0], words[1] if len(words) > 1 else ""
