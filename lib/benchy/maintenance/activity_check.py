"""bin/idle: is anything under way in this checkout? Asked before a goal removes what a run uses.

Reads the board alone. Needs no package, so that a damaged .venv can be cleaned away.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.display import activity


def refuse(goal: str) -> None:
    """Raises Failure where something is under way, and OSError where another user's files are in
    the way. goal: what can't be done meanwhile."""
    for path in (paths.BUILD, paths.RUN, paths.LOGS) if goal else ():
        if path.exists() and not os.access(path, os.W_OK):
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            why = errno.EROFS if read_only else errno.EACCES
            raise OSError(why, os.strerror(why), str(path))
    found = list(under_way())
    if not found:
        return
    what = f"make {goal} would remove what is in use" if goal else "this checkout is in use"
    raise Failure(
        what, "wait until it is done, or stop it (Ctrl-C where it was started)", lines=found[:8]
    )


def under_way() -> Iterator[str]:
    """Each run of this checkout, on whichever host, and what works without one, in words."""
    runs = list(activity.runs())
    for run in runs:
        since = time.strftime("%H:%M", time.localtime(run.began))
        yield f"a run: pid {run.pid} on {run.host}, since {since}"
    known = {run.pid for run in runs}
    for note in activity.notes():
        if note.state != activity.FAILED and note.run not in known:
            yield f"{note.kind} {note.name}: {note.state}, pid {note.pid} on {note.host}"


def plans() -> Iterator[dict[str, Any]]:
    """The plans that the runs under way go by."""
    for run in activity.runs():
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(
                Path(run.plan, "plan.json").read_text(encoding="utf-8")
            )
            yield found


def at_work() -> Iterator[tuple[str, str]]:
    """(model, task) of what is under way, with a run or without; task: "" for a server."""
    for note in activity.notes():
        if note.kind in ("model", "task") and note.state != activity.FAILED:
            words = [word for word in note.name.split("/") if not word.startswith("limit-")]
            yield words[0] if words else "", words[1] if len(words) > 1 else ""
