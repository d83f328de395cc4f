"""The jobs of a launcher: lists them, finds out how they ended, and cancels them.

A run finds its own jobs and the leftovers of dead runs by their comments (jobs.py). One query every
few seconds covers all jobs of a run, ended ones included.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from benchy.cluster.jobs import UNKNOWN, QueuedJob, orphaned, parse
from benchy.core.errors import Failure
from benchy.display.messages import say

if TYPE_CHECKING:  # imports pydantic
    from benchy.config import launcher_schema

POLL = 3.0  # seconds between queries
PATIENCE = 60.0  # seconds until a query times out
ENDING = 600.0  # seconds a job may outlast its command: epilogs, a queue that is down


class QueueCommands(Protocol):
    """The part of a launcher that a queue needs.

    `mark` is the comment prefix of this run's jobs, `config` the launcher's file.
    """

    mark: str

    @property
    def config(self) -> launcher_schema.Launcher: ...

    def filled(self, templates: Sequence[str], known: Mapping[str, Any]) -> list[str]:
        """Return a command line from templates."""


@dataclass
class Queue:
    """The queue of a launcher.

    Attributes:
        launcher: The launcher.
        jobs: Model → its newest job, as last reported by the queue.
        over: Numbers of jobs whose end has been handled.
        strays: Ids of jobs cancelled because their command had ended.
        answers: How many queries have succeeded.
        refused: Waiters for room in the queue for one more job.
        looked: Set after each query.
    """

    launcher: QueueCommands
    jobs: dict[str, QueuedJob] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    answers: int = 0
    refused: list[asyncio.Future[None]] = field(default_factory=list)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    # --- queries ------------------------------------------------------------------------------

    def ask(self) -> list[QueuedJob]:
        """Query the queue and return benchy's jobs. Raises Failure if the query fails."""
        return parse(self.answer(self.launcher.config.queue))

    def answer(self, templates: Sequence[str], job: str = "") -> str:
        """Run a command about the queue, or about one job of it, and return its output.

        Returns "" if the launcher has no such command. Raises Failure if it fails or takes too
        long.
        """
        words = self.launcher.filled(templates, {"id": job, "user": getpass.getuser()})
        if not words:
            return ""
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=PATIENCE,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure(f"{words[0]} can't be queried: {error}") from None
        if done.returncode:
            raise Failure(f"{words[0]} says: {done.stderr.strip()[-300:]}")
        return done.stdout

    async def poll(self) -> None:
        """Query the queue once and wake all waiters. A failed query changes no jobs."""
        with contextlib.suppress(Failure):
            rows = await asyncio.to_thread(self.ask)
            # Sorted by number, so that the newest job of a retried model counts.
            mine = sorted(
                (j for j in rows if j.run == self.launcher.mark and j.number not in self.over),
                key=lambda job: job.number,
            )
            latest = {job.model: job for job in mine}
            missing = self.jobs.keys() - latest.keys()
            self.jobs = latest | {m: replace(self.jobs[m], state=UNKNOWN) for m in missing}
            self.answers += 1
        self.looked.set()
        self.looked = asyncio.Event()

    async def watch(self) -> None:
        """Query the queue forever. An unexpected error is reported once and does not end it."""
        reported = ""
        while True:
            try:
                await self.poll()
            except Exception as error:
                text = f"the launcher's queue can't be read: {type(error).__name__}: {error}"
                if text != reported:
                    say("WARNING", text)
                reported = text
            await asyncio.sleep(POLL)

    # --- the end of a job ---------------------------------------------------------------------

    def running(self, model: str) -> bool:
        job = self.jobs.get(model)
        return (
            bool(job and job.state in self.launcher.config.running)
            or not self.launcher.config.queue
        )

    async def ended(self, model: str) -> QueuedJob | None:
        """Return the last state of a model's job after its command has ended.

        Returns None if the queue never reported a job. Waits for `watch`, since a job may take
        minutes to end and the queue may be down for a while. Cancels a job that continues although
        its command was killed.
        """
        config, first = self.launcher.config, self.answers
        end = time.monotonic() + ENDING
        while config.queue and (remaining := end - time.monotonic()) > 0:
            job, since = self.jobs.get(model), self.answers - first
            if job and job.state == UNKNOWN:
                return await asyncio.to_thread(self.past, job)
            if job and job.state in config.ended:
                return job
            # The first answer may be older than the end of the command.
            if not job and since >= 2:
                return None
            live = job and since >= 3 and job.state not in config.ending
            if job and live and job.id not in self.strays:
                self.strays.add(job.id)
                await asyncio.to_thread(self.call_off, job, "whose command has ended")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.looked.wait(), remaining)
        last = self.jobs.get(model)
        return replace(last, state=UNKNOWN) if last else None

    def past(self, job: QueuedJob) -> QueuedJob:
        """Return the final state of a job that the queue no longer lists.

        It comes from the launcher's records. Without a record, the state stays UNKNOWN.
        """
        with contextlib.suppress(Failure):
            for line in self.answer(self.launcher.config.past, job.id).splitlines():
                cells = line.strip().split("|")
                if len(cells) >= 4 and cells[0] == job.id:
                    state = cells[1].partition(" ")[0]  # "CANCELLED by 1000"
                    if state in self.launcher.config.ended:
                        return replace(job, state=state, node=cells[2], reason=cells[3])
        return replace(job, reason="")

    def forget(self, model: str) -> None:
        """Drop the finished job of a model, and let one waiter submit the next job."""
        if job := self.jobs.pop(model, None):
            self.over.add(job.number)
        if self.refused:
            self.refused.pop(0).set_result(None)

    async def room(self, seconds: float) -> None:
        """Wait before a refused job is submitted again.

        A site may limit the number of jobs in its queue, so this waits until one of this run's jobs
        ends. If there is none, it waits `seconds`.
        """
        if not self.living():
            await asyncio.sleep(seconds)
            return
        ticket = asyncio.get_running_loop().create_future()
        self.refused.append(ticket)
        try:
            while self.living() and not ticket.done():
                look = asyncio.ensure_future(self.looked.wait())
                await asyncio.wait([ticket, look], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if ticket in self.refused:
                self.refused.remove(ticket)

    def living(self) -> bool:
        """Return whether a job of this run is in the queue and has not ended."""
        over = {*self.launcher.config.ended, *self.launcher.config.ending, UNKNOWN}
        return any(job.state not in over for job in self.jobs.values())

    # --- cleanup ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Cancel the remaining jobs of this run.

        Called at the end of a run, however it ended. The commands have ended by then, but some may
        not have been able to cancel their jobs.
        """
        try:
            rows = self.ask()
        except Failure as failure:
            if self.living():
                say("WARNING", f"jobs of this run may be left: {failure.what}")
            return
        config = self.launcher.config
        for job in rows:
            if job.run == self.launcher.mark and job.state not in (*config.ended, *config.ending):
                self.call_off(job, "left by this run")

    def sweep(self) -> list[QueuedJob]:
        """Cancel the jobs of dead runs of this checkout, and return them.

        Never touches other jobs. Raises Failure if the query fails.
        """
        config = self.launcher.config
        orphans = [
            job for job in self.ask()
            if job.state not in (*config.ended, *config.ending) and orphaned(job)
        ]  # fmt: skip
        for job in orphans:
            self.call_off(job, "left by a run that was killed")
        return orphans

    def call_off(self, job: QueuedJob, why: str) -> None:
        """Cancel a job, and report that or the error."""
        if not self.launcher.config.cancel:
            return
        what = f"job {job.id} of {job.model}"
        try:
            self.answer(self.launcher.config.cancel, job.id)
        except Failure as failure:
            say("CANCEL", f"{what} can't be canceled: {failure.what}")
        else:
            say("CANCEL", f"{what}, {why}")
