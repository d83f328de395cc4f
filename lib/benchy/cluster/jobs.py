"""A job of a launcher: its row in the queue, and the comment by which a run finds its own jobs.

The comment names the checkout, the host and the process of the run, and the model.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from benchy.core import hashing, paths, process_info
from benchy.display import activity

UNKNOWN = "UNKNOWN"  # state of a job that the queue no longer lists


@dataclass(frozen=True)
class QueuedJob:
    """One row of the queue. `run` is the comment without the model."""

    id: str
    state: str
    node: str
    reason: str
    run: str
    model: str

    @property
    def number(self) -> int:
        """The number in its id. Later jobs have higher numbers."""
        digits = re.match(r"\d+", self.id)
        return int(digits[0]) if digits else 0

    @property
    def text(self) -> str:
        """The job's id, state and reason, for messages about waiting."""
        why = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"job {self.id}: {self.state}{why}"

    @property
    def full_text(self) -> str:
        """The same with the job's node."""
        return f"{self.text} on {self.node}" if self.node else self.text


def checkout() -> str:
    """Return the part of a job's comment that identifies this checkout."""
    return hashing.of_text(str(paths.ROOT.resolve()))[:10]


def own_mark() -> str:
    """Return the comment prefix that identifies the jobs of this process."""
    pid = os.getpid()
    return f"benchy:{checkout()}:{process_info.host()}:{pid}.{process_info.born(pid)}"


def parse(text: str) -> list[QueuedJob]:
    """Return benchy's jobs in the output of a launcher's `queue`. Ignores all other rows."""
    jobs = []
    for line in text.splitlines():
        cells = line.strip().split("|", 4)
        comment = cells[4].split(":") if len(cells) == 5 else []
        if len(comment) == 5 and comment[0] == "benchy":
            run, model = ":".join(comment[:4]), comment[4]
            number, state, node, reason = cells[:4]
            jobs.append(QueuedJob(number, state, node, reason, run, model))
    return jobs


def orphaned(job: QueuedJob) -> bool:
    """Return whether the run of a job of this checkout is dead.

    A run of this host is dead if its process is gone. The processes of another host or pid
    namespace are not visible here, so such a run is dead if its note on the board has not been
    renewed for long.
    """
    _, checkout_id, host, process = job.run.split(":")
    pid, _, ticks = process.partition(".")
    if checkout_id != checkout() or not pid.isdecimal() or not ticks.isdecimal():
        return False
    lives = process_info.lives(host, int(pid), int(ticks))
    return (host, int(pid), int(ticks)) in activity.silent() if lives is None else not lives
