"""Where servers run, if not here: a launcher puts each model's server and tasks into one job.

configs/launchers/NAME.yaml says how a command is run there, how jobs are asked about and called
off; nothing here knows Slurm. A job is told from others by its comment, which names checkout, host
and process of the run that it belongs to, and the model: so a run finds its own, and leftovers of
runs that are dead. One question every few seconds serves all jobs of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from benchy import board, names, nodes, paths, schema, scratch
from benchy.config import load_launcher
from benchy.errors import Failure, UsageError, say

POLL = 3.0  # seconds between two questions about the queue
PATIENCE = 60.0  # seconds for an answer
LAUNCHED = "BENCHY_LAUNCHED"  # of a command that runs in a job: the launcher's name


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


def checkout() -> str:
    """Marks the jobs of this checkout."""
    return hashlib.sha256(str(paths.ROOT.resolve()).encode()).hexdigest()[:10]


def own_mark() -> str:
    """Marks the jobs of this process."""
    pid = os.getpid()
    return f"benchy:{checkout()}:{board.host()}:{pid}.{board.ticks(pid)}"


@dataclass
class Launcher:
    """name: of its file, and what it says. jobs: model → its newest job, as the queue had it last;
    over: numbers of jobs whose end was dealt with. mark: how the comments of this run's jobs
    begin."""

    name: str
    says: schema.Launcher
    mark: str = field(default_factory=own_mark)
    jobs: dict[str, Job] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def command(self, model: str, spec: Mapping[str, Any], words: Sequence[str]) -> list[str]:
        """What runs `words` there, for a server spec."""
        known = self.facts(model, spec)
        extra = known["extra"] or []
        return [*self.filled(self.says.command, known), *extra, *words]

    def scratch(self, spec: Mapping[str, Any]) -> str:
        """The folder on a node's own disk for environments; "" for none."""
        return os.environ.get("SCRATCH") or spec.get("resources", {}).get("scratch") or ""

    def environ(
        self, model: str, spec: Mapping[str, Any], environments: Sequence[str] = ()
    ) -> dict[str, str]:
        """Variables of the command besides the run's own. environments: those that it needs."""
        known = self.facts(model, spec)
        given = {name: self.word(text, known) for name, text in self.says.environment.items()}
        if spec.get("nodes"):
            # Each start has a file of its own: what an earlier one left says nothing.
            name = f"{model}-{secrets.token_hex(4)}.json"
            given |= {nodes.MEETING: str(paths.RUN / "nodes" / name)}
            given |= {nodes.RANK: self.says.rank or ""}
        if where := self.scratch(spec):
            given |= {scratch.SCRATCH: where, scratch.NAMED: " ".join(environments)}
        return {**given, LAUNCHED: self.name}

    def facts(self, model: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What a template knows."""
        asked = schema.Resources(**spec.get("resources", {})).model_dump()
        gpus = int(spec.get("gpus") or 0)
        count = spec["nodes"]["count"] if spec.get("nodes") else 1
        return {
            **asked,
            "model": model,
            "gpus": gpus,
            "nodes": count,
            "gpus_per_node": gpus // count,
            "comment": f"{self.mark}:{model}",
            "user": getpass.getuser(),
            "tmp": tempfile.gettempdir(),
        }

    def filled(self, templates: Sequence[str], known: Mapping[str, Any]) -> list[str]:
        words = (self.word(text, known) for text in templates)
        return [word for word in words if word]

    def word(self, text: str, known: Mapping[str, Any]) -> str:
        try:
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - words, no HTML
            return environment.from_string(text).render(known)
        except jinja2.TemplateError as error:
            raise UsageError(
                f"configs/launchers/{self.name}.yaml: {text!r}: {error}",
                "docs/configuration.md says what a template knows",
            ) from None

    # --- the queue --------------------------------------------------------------------------

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

    def ask(self) -> list[Job]:
        """The queue now. Raises Failure if it can't be had."""
        if not self.says.queue:
            return []
        words = self.filled(self.says.queue, {"user": getpass.getuser()})
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=PATIENCE, start_new_session=True
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure(f"{words[0]} can't be asked: {error}") from None
        if done.returncode:
            raise Failure(f"{words[0]} says: {done.stderr.strip()[-300:]}")
        return self.parse(done.stdout)

    async def look(self) -> None:
        """Ask once, and wake who waits for an answer. A queue that does not answer is asked
        again."""
        with contextlib.suppress(Failure):
            # In the order of their numbers: of a model that was tried again the newest counts.
            for job in sorted(await asyncio.to_thread(self.ask), key=lambda job: job.number):
                if job.run == self.mark and job.number not in self.over:
                    self.jobs[job.model] = job
        self.looked.set()
        self.looked = asyncio.Event()

    async def watch(self) -> None:
        """Ask for ever."""
        while True:
            await self.look()
            await asyncio.sleep(POLL)

    def running(self, model: str) -> bool:
        job = self.jobs.get(model)
        return bool(job and job.state in self.says.running) or not self.says.queue

    async def ended(self, model: str) -> Job | None:
        """The job of a model whose command has ended: what became of it, None where the queue does
        not tell. It says so a moment after the command ended."""
        for _ in range(4):
            await self.look()
            job = self.jobs.get(model)
            if job is None or job.state in self.says.ended or not self.says.queue:
                return job
            await asyncio.sleep(0.5)
        return self.jobs.get(model)

    def forget(self, model: str) -> None:
        """A model's job is over: the next one counts."""
        if job := self.jobs.pop(model, None):
            self.over.add(job.number)

    # --- what earlier runs left -------------------------------------------------------------

    def sweep(self) -> list[Job]:
        """Call off the jobs of this checkout's runs on this host that are dead; which. Nobody
        else's are touched, nor those of another host, whose processes can't be seen from here."""
        gone = [job for job in self.ask() if job.state not in self.says.ended and self.left(job)]
        for job in gone:
            self.call_off(job)
        return gone

    def left(self, job: Job) -> bool:
        _, whose, host, process = job.run.split(":")
        pid, _, ticks = process.partition(".")
        if whose != checkout() or host != board.host() or not pid.isdecimal():
            return False
        return str(board.ticks(int(pid))) != ticks

    def call_off(self, job: Job) -> None:
        words = self.filled(self.says.cancel, {"id": job.id, "user": getpass.getuser()})
        if words:
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
            what = f"job {job.id} of {job.model}"
            if done.returncode:
                say("CANCEL", f"{what} can't be called off: {done.stderr.strip()[-200:]}")
            else:
                say("CANCEL", f"{what}, left by a run that was killed")


def load(name: str) -> Launcher:
    """A launcher by its name. Raises UsageError, ConfigError; Failure if its program is missing."""
    folder = paths.CONFIGS / "launchers"
    path = folder / f"{name}.yaml"
    if not names.good(name) or not path.is_file():
        known = sorted(["local", *(p.stem for p in folder.glob("*.yaml"))])
        raise UsageError(f"there is no launcher {name!r}", f"known: {', '.join(known)}", "LAUNCHER")
    return Launcher(name, load_launcher(Path(), path))


def begun(name: str) -> Launcher:
    """A launcher made ready for a run: leftovers of earlier runs are called off."""
    launcher = load(name)
    try:
        launcher.sweep()
    except Failure as failure:
        print(f"  {failure}", file=sys.stderr)
        raise Failure(
            f"the launcher {name} does not work here", "LAUNCHER=local runs on this machine"
        ) from None
    return launcher
