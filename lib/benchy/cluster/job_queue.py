"""The jobs of a launcher: which there are, what became of them, how they are called off.

A job is told from others by its comment, which names checkout, host and process of the run that it
belongs to, and the model: so a run finds its own, and leftovers of runs that are dead. One question
every few seconds serves all jobs of a run, those that end as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.display import activity
from benchy.display.messages import say

if TYPE_CHECKING:  # reads pydantic
    from benchy.config import schema

POLL = 3.0  # seconds between two questions about the queue
PATIENCE = 60.0  # seconds for an answer
ENDING = 600.0  # seconds for a job to be over once its command has ended: epilogs, a queue away
UNKNOWN = "UNKNOWN"  # state of a job of which the queue tells no more


@dataclass(frozen=True)
class Job:
    """One row of the queue. run: of its comment, all but the model."""

    id: str
    state: str
    node: str
    reason: str
    run: str
    model: str

    @property
    def number(self) -> int:
        """Of its id; later jobs have higher ones."""
        digits = re.match(r"\d+", self.id)
        return int(digits[0]) if digits else 0

    @property
    def words(self) -> str:
        """For who waits for it."""
        why = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"job {self.id}: {self.state}{why}"

    @property
    def whole(self) -> str:
        """With its node."""
        return f"{self.words} on {self.node}" if self.node else self.words


def checkout() -> str:
    """Marks the jobs of this checkout."""
    return hashlib.sha256(str(paths.ROOT.resolve()).encode()).hexdigest()[:10]


def own_mark() -> str:
    """Marks the jobs of this process."""
    pid = os.getpid()
    return f"benchy:{checkout()}:{activity.host()}:{pid}.{activity.ticks(pid)}"


class Commands(Protocol):
    """What a queue needs of its launcher: the file's templates, and the mark of this run's jobs."""

    mark: str

    @property
    def says(self) -> schema.Launcher: ...

    def filled(self, templates: Sequence[str], known: Mapping[str, Any]) -> list[str]:
        """The words of a command line, templates filled in."""


@dataclass
class Queue:
    """jobs: model → its newest job, as the queue had it last; over: numbers of jobs whose end was
    dealt with; strays: ids of those that were called off because their command had ended. answers:
    how often the queue has answered. refused: who waits until there is room for one more job."""

    launcher: Commands
    jobs: dict[str, Job] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    answers: int = 0
    refused: list[asyncio.Future[None]] = field(default_factory=list)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    # --- questions ----------------------------------------------------------------------------

    def ask(self) -> list[Job]:
        """The queue now. Raises Failure if it can't be had."""
        return self.parse(self.answer(self.launcher.says.queue))

    def answer(self, templates: Sequence[str], job: str = "") -> str:
        """What a command about the queue, or one job of it, prints; "" if there is no command.
        Raises Failure."""
        words = self.launcher.filled(templates, {"id": job, "user": getpass.getuser()})
        if not words:
            return ""
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=PATIENCE, start_new_session=True
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure(f"{words[0]} can't be asked: {error}") from None
        if done.returncode:
            raise Failure(f"{words[0]} says: {done.stderr.strip()[-300:]}")
        return done.stdout

    def parse(self, text: str) -> list[Job]:
        """The jobs of benchy in what `queue` printed; other rows are others' jobs."""
        found = []
        for line in text.splitlines():
            cells = line.strip().split("|", 4)
            comment = cells[4].split(":") if len(cells) == 5 else []
            if len(comment) == 5 and comment[0] == "benchy":
                run, model = ":".join(comment[:4]), comment[4]
                number, state, node, reason = cells[:4]
                found.append(Job(number, state, node, reason, run, model))
        return found

    async def look(self) -> None:
        """Ask once, and wake who waits for an answer. A queue that does not answer is asked
        again."""
        with contextlib.suppress(Failure):
            rows = await asyncio.to_thread(self.ask)
            # In the order of their numbers: of a model that was tried again the newest counts.
            mine = sorted(
                (j for j in rows if j.run == self.launcher.mark and j.number not in self.over),
                key=lambda job: job.number,
            )
            found = {job.model: job for job in mine}
            gone = self.jobs.keys() - found.keys()
            self.jobs = found | {m: replace(self.jobs[m], state=UNKNOWN) for m in gone}
            self.answers += 1
        self.looked.set()
        self.looked = asyncio.Event()

    async def watch(self) -> None:
        """Ask for ever."""
        while True:
            await self.look()
            await asyncio.sleep(POLL)

    # --- what becomes of a job ----------------------------------------------------------------

    def running(self, model: str) -> bool:
        job = self.jobs.get(model)
        return bool(job and job.state in self.launcher.says.running) or not self.launcher.says.queue

    async def ended(self, model: str) -> Job | None:
        """What became of the job of a model whose command has ended; None if the queue has never
        told of one. Waits for the watch: a job may be on its way out for minutes, and the queue be
        away. One that goes on without its command, which somebody killed, is called off."""
        says, first = self.launcher.says, self.answers
        end = time.monotonic() + ENDING
        while says.queue and (left := end - time.monotonic()) > 0:
            job, since = self.jobs.get(model), self.answers - first
            if job and job.state == UNKNOWN:
                return await asyncio.to_thread(self.past, job)
            if job and job.state in says.ended:
                return job
            # The first answer may be of a moment before the command's end.
            if not job and since >= 2:
                return None
            live = job and since >= 3 and job.state not in says.ending
            if job and live and job.id not in self.strays:
                self.strays.add(job.id)
                await asyncio.to_thread(self.call_off, job, "whose command has ended")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.looked.wait(), left)
        found = self.jobs.get(model)
        return replace(found, state=UNKNOWN) if found else None

    def past(self, job: Job) -> Job:
        """A job that the queue has forgotten, by its launcher's records where there are some."""
        with contextlib.suppress(Failure):
            for line in self.answer(self.launcher.says.past, job.id).splitlines():
                cells = line.strip().split("|")
                if len(cells) >= 4 and cells[0] == job.id:
                    state = cells[1].partition(" ")[0]  # "CANCELLED by 1000"
                    if state in self.launcher.says.ended:
                        return replace(job, state=state, node=cells[2], reason=cells[3])
        return replace(job, reason="")

    def forget(self, model: str) -> None:
        """A model's job is over: the next one counts. There is room for one that was refused."""
        if job := self.jobs.pop(model, None):
            self.over.add(job.number)
        if self.refused:
            self.refused.pop(0).set_result(None)

    async def room(self, seconds: float) -> None:
        """Wait before a job that was refused is asked for again: for the end of one of ours, as a
        site may limit how many stand in the queue; where there is none, so many seconds."""
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
        """Does a job of this run stand in the queue?"""
        over = {*self.launcher.says.ended, *self.launcher.says.ending, UNKNOWN}
        return any(job.state not in over for job in self.jobs.values())

    # --- what has to go -----------------------------------------------------------------------

    def finish(self) -> None:
        """At the end of a run, however it came: call off what is left of it. Its commands have
        ended, but not each of them may have been able to take its job along."""
        try:
            rows = self.ask()
        except Failure as failure:
            if self.living():
                say("WARNING", f"jobs of this run may be left: {failure.what}")
            return
        says = self.launcher.says
        for job in rows:
            if job.run == self.launcher.mark and job.state not in (*says.ended, *says.ending):
                self.call_off(job, "left by this run")

    def sweep(self) -> list[Job]:
        """Call off the jobs of this checkout's runs that are dead; which. Nobody else's are
        touched."""
        says = self.launcher.says
        gone = [
            job for job in self.ask()
            if job.state not in (*says.ended, *says.ending) and self.left(job)
        ]  # fmt: skip
        for job in gone:
            self.call_off(job, "left by a run that was killed")
        return gone

    def left(self, job: Job) -> bool:
        """Is a job's run dead? One of this host has no process; one of another host, whose
        processes can't be seen from here, has left its note on the board alone for long."""
        _, whose, host, process = job.run.split(":")
        pid, _, ticks = process.partition(".")
        if whose != checkout() or not pid.isdecimal() or not ticks.isdecimal():
            return False
        if host != activity.host():
            return (host, int(pid), int(ticks)) in activity.silent()
        return str(activity.ticks(int(pid))) != ticks

    def call_off(self, job: Job, why: str) -> None:
        """Tells of it, and if it can't be done."""
        if not self.launcher.says.cancel:
            return
        what = f"job {job.id} of {job.model}"
        try:
            self.answer(self.launcher.says.cancel, job.id)
        except Failure as failure:
            say("CANCEL", f"{what} can't be called off: {failure.what}")
        else:
            say("CANCEL", f"{what}, {why}")
