"""How the jobs of a launcher end, and whether another job may succeed.

Only files count as success, never an exit status. A job that ends without its files is repeated if
the cause is not the program in it: a node that failed, or an allocation that was revoked.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchy.cluster.jobs import UNKNOWN, QueuedJob
from benchy.core.errors import Died
from benchy.display.messages import say

if TYPE_CHECKING:  # the launcher imports the schema
    from benchy.cluster.launcher import JobLauncher
    from benchy.config import launcher_schema

PAUSE = 3.0  # seconds before a refused job is submitted again; tripled with each try
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class End:
    """The end of a job that left work undone.

    job: the job in its last state, None if the command never became a job. repeat: whether another
    job may succeed. explains: whether the job's state explains more than the program's messages.
    """

    job: QueuedJob | None
    repeat: bool
    explains: bool

    @property
    def text(self) -> str:
        return self.job.full_text if self.job else "no job was created"


async def ending(name: str, launcher: JobLauncher, status: int, own: bool = True) -> End:
    """Determine how a job ended whose command left work undone, and whether to repeat it.

    status: exit status of the command. own: whether it is that of the program itself.
    """
    queue = launcher.queue
    job = await queue.ended(name)
    stray = bool(job and job.id in queue.strays)
    queue.forget(name)
    if job:
        say("JOB", f"{name}: {job.full_text}")
    return judge(job, status, launcher.config, own=own, stray=stray)


def judge(
    job: QueuedJob | None,
    status: int,
    says: launcher_schema.Launcher,
    *,
    own: bool = True,
    stray: bool = False,
) -> End:
    """Decide whether to repeat a job that left work undone.

    Args:
        job: Its last state, None if the queue never reported it.
        status: Exit status of its command.
        says: The launcher's file.
        own: Whether `status` is that of the program itself, not of a process terminated with it.
        stray: Whether this run canceled the job, since its command had been killed.
    """
    never_queued = job is None and bool(says.queue)
    # If the state leaves the reason to the program, the status gives it: 143 means that something
    # sent it TERM. This run did not, as it would no longer be here.
    program_decides = job is None or job.state in says.by_itself
    terminated = program_decides and (status == TERMINATED or (not own and status > 128))
    by_state = job is not None and (job.state in says.again or job.state == UNKNOWN or stray)
    # Below 0: the command was killed on this machine, which may have canceled its job.
    by_status = status == Died.STATUS or status < 0
    repeat = never_queued or terminated or by_state or by_status
    return End(job, repeat, explains=not program_decides or never_queued)


async def wait_for_room(launcher: JobLauncher, end: End, tries: int) -> None:
    """Wait for room in the queue before the next try, if the last one never became a job."""
    if not end.job and launcher.config.queue:
        await launcher.queue.room(PAUSE * 3 ** (tries - 1))
