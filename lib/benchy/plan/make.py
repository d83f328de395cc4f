"""Queries Make's graph of the configured results, and runs its goals.

mk/graph.mk answers; nothing here decides what is stale.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.core.errors import Failure
from benchy.core.specs import PlanIndex, read_plan
from benchy.display.messages import say

# Lines that Make adds to a mistake in a config: it stops, and it has no rules.
MAKES = re.compile(r"^(make(\[\d+\])?: \*\*\* |mk/graph\.mk:\d+: ).*\n?", re.M)


@contextmanager
def passing_signals(child: subprocess.Popen[Any]) -> Iterator[None]:
    """While a child runs, pass signals that would end this process to it and let it clean up.

    Always send TERM: make passes TERM on to its recipes, but keeps INT to itself.
    """

    def hand_on(number: int, frame: object) -> None:
        child.send_signal(signal.SIGTERM)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, hand_on) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def call(command: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Run a command to its end, whatever signal comes. Keeps make's job server reachable."""
    sys.stdout.flush()  # print what is buffered before the command prints
    child = subprocess.Popen(command, env=env, close_fds=False)
    with passing_signals(child):
        return child.wait()


def alone() -> dict[str, str]:
    """Return the environment variables for a make that is not a sub-make."""
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


@dataclass(frozen=True)
class Graph:
    """Make's graph for one plan.

    Attributes:
        directory: Where the plan is.
        single: Whether it is the plan of a single config.
        reported: Mistakes already reported.
        parsed: plan.json by its version, as read() parsed it.
    """

    directory: str
    single: bool = False
    reported: set[str] = field(default_factory=set, compare=False)
    parsed: dict[tuple[int, ...], PlanIndex] = field(default_factory=dict, compare=False)

    def command(self, *words: str, frozen: bool = False) -> list[str]:
        """Return the command that calls Make for goals.

        frozen: use the existing plan, even if it is out of date.
        """
        scope = [f"dir={self.directory}", *(["one=1"] if self.single else [])]
        scope += ["frozen=1"] if frozen else []
        if os.environ.get("V") not in ("1", "2"):
            scope.append("-s")  # otherwise make reports each target that is up to date
        return ["make", "-f", "mk/graph.mk", "--no-print-directory", *scope, *words]

    def make(self, *words: str) -> int:
        return call(self.command(*words))

    def plan(self) -> PlanIndex:
        """Bring the plan up to date and return it. Exit if the configs have mistakes.

        BENCHY_PLAN carries the answer that mk/results.mk just got from Make, so that Make is not
        queried twice.
        """
        rules = Path(self.directory, "rules.mk")
        if rules.exists() and rules.stat().st_mtime > time.time() + 1:
            rules.unlink()  # the clock was ahead: new edits would look older
        known = os.environ.pop("BENCHY_PLAN", "")
        if known == "1" and self.directory == "build":
            return self.read()
        if known == "2" and self.directory == "build":
            from benchy.plan import incremental  # noqa: PLC0415 - reads the whole schema

            incremental.renew(Path(self.directory))
            return self.read()
        if (done := self.renew()) and done.returncode:
            sys.exit(done.returncode)
        return self.read()

    def refresh(self) -> PlanIndex:
        """Bring the plan up to date during a run and return it.

        If the configs have mistakes now, report them and return the existing plan.
        """
        if (done := self.renew(show=False)) and done.returncode:
            self._report(done.stderr)
        return self.read()

    def renew(self, show: bool = True) -> subprocess.CompletedProcess[str] | None:
        """Bring the plan up to date; return how bin/plan ended, None if it was not needed.

        Make only says whether the plan is old. If it called bin/plan itself, it would add lines of
        its own to every mistake. show: pass bin/plan's messages on to stderr.
        """
        if not self._ask(self.command("look=1", "planned")).returncode:
            return None
        command = ["bin/plan", "--dir", self.directory]
        command += ["--config", os.environ.get("CONFIG", "")] if self.single else []
        env = alone() | {"BENCHY_KNOBS": self.knobs()}
        if not show:
            return self._ask(command, env)
        return subprocess.run(command, env=env, stdout=subprocess.DEVNULL, text=True)

    def knobs(self) -> str:
        """Return the knobs of this plan, spelled as in mk/command.mk, which compares them."""
        shaping = ["LIMIT", "TASKS", "SET", "FALLBACK", *(["CONFIG"] if self.single else [])]
        return " ".join(f"{name}={os.environ.get(name, '')}" for name in shaping)

    def _report(self, mistakes: str) -> None:
        """Report mistakes once per run, because every model queries the plan."""
        if not self.reported:
            say("PLAN", "the configs have mistakes now; this run continues with its plan")
            print(MAKES.sub("", mistakes).rstrip(), file=sys.stderr)
        self.reported.add(mistakes)

    def _ask(
        self, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=alone() if env is None else env,
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process and breaks no answer
        )

    def read(self) -> PlanIndex:
        """Return the existing plan; the caller must not change it. Parse it only if the file has
        changed since the last call: a plan is rewritten only if it changes."""
        path = Path(self.directory, "plan.json")
        facts = path.stat()
        version = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if version not in self.parsed:
            plan = read_plan(path)
            self.parsed.clear()
            self.parsed[version] = plan
        return self.parsed[version]

    def stale(self, targets: Sequence[str]) -> list[str]:
        """Return the targets, and the files that they depend on, that Make would build.

        If the configs have mistakes now, use the existing plan. Raise Failure if Make fails.
        """
        if not targets:
            return []
        words = ("-n", "question=1", *targets)
        done = self._ask(self.command(*words))
        if done.returncode:
            before = self._ask(self.command(*words, frozen=True))
            if not before.returncode:
                self._report(done.stderr)
                done = before
        if done.returncode:
            raise Failure("make can't tell what is stale", lines=done.stderr.splitlines()[-6:])
        lines = done.stdout.splitlines()
        return [line[6:] for line in lines if line.startswith("stale ")]
