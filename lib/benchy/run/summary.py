"""Report the end of a run: what was made, what failed and why, and what it cost.

Writes run/summary.json and passes the summary to the command in NOTIFY.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchy.core import paths, temporary_files
from benchy.core.errors import printable
from benchy.core.result_files import ResultId
from benchy.core.specs import ModelEntry
from benchy.display import activity
from benchy.display.messages import say
from benchy.display.units import span
from benchy.environments.failures import failure_of
from benchy.run.accounting import RunStats
from benchy.run.machine import Devices
from benchy.run.outcome import Outcome

NOTIFY_SECONDS = 60.0
PATH = paths.RUN / "summary.json"


@dataclass(frozen=True)
class Failed:
    """A result that was not made. what: the reason in one line; log: its path, "" for none."""

    target: str
    what: str
    log: str


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        verb: The verb of `bin/run`.
        status: The exit status.
        outcome: What became of the requested results.
        failed: Results that were tried and not made, with reasons.
        stats: Waiting times and device time.
        devices: The devices of the run.
        stop_signal: Number of the signal that ended the run, 0 for none.
    """

    verb: str
    status: int
    outcome: Outcome
    failed: tuple[Failed, ...]
    stats: RunStats
    devices: Devices
    stop_signal: int = 0

    @property
    def untried(self) -> int:
        """Number of results that were not tried because a signal ended the run."""
        return len(self.outcome.not_made) - len(self.failed)

    def head(self) -> str:
        """Return the counts and the duration in one line."""
        counts = [f"{self.outcome.made} made", f"{self.outcome.unchanged} up to date"]
        if self.failed:
            counts.append(f"{len(self.failed)} failed")
        if self.outcome.edited:
            counts.append(f"{len(self.outcome.edited)} stale again")
        how = "in"
        if self.stop_signal:
            counts.append(f"{self.untried} left")
            how = f"stopped ({signal.Signals(self.stop_signal).name}) after"
        return f"{self.verb}: {', '.join(counts)} {how} {span(self.stats.seconds)}"

    def cost(self) -> str:
        """Return the device hours and the waiting times, "" if no model was served."""
        if not self.stats.served:
            return ""
        most = self.devices.count * self.stats.seconds
        share = f" ({100 * self.stats.used / most:.0f} % of those available)" if most else ""
        words = f"{self.devices.noun}-hours: {self.stats.used / 3600:.2f}{share}"
        waits = [(k, s) for k, s in sorted(self.stats.waited.items()) if s >= 1]
        if waits:
            words += "; models waited " + ", ".join(f"{span(s)} for {k}" for k, s in waits)
        return words

    def lines(self) -> list[str]:
        """Return the lines besides the head. Failures with one reason are grouped above it."""
        lines: list[str] = []
        for (what, log), group in groupby(self.failed, key=lambda f: (f.what, f.log)):
            lines += [f"  {'FAILED':<7} {failed.target}" for failed in group]
            lines += [f"  {'':<7} {printable(what)}"] if what else []
            lines += [f"  {'':<7} log: {log}"] if log else []
        edited = self.outcome.edited
        lines += [f"  {'STALE':<7} {target}, edited during the run" for target in edited]
        cost = self.cost()
        return [*lines, *([f"  {'COST':<7} {cost}"] if cost else [])]

    def data(self) -> dict[str, Any]:
        """Return the content of run/summary.json."""
        return {
            "verb": self.verb,
            "status": self.status,
            "made": self.outcome.made,
            "up_to_date": self.outcome.unchanged,
            "left": self.untried,
            "stale_again": list(self.outcome.edited),
            "failed": [{"result": f.target, "why": f.what, "log": f.log} for f in self.failed],
            "seconds": round(self.stats.seconds, 1),
            "device": self.devices.noun,
            "devices": self.devices.count,
            "device_hours": round(self.stats.used / 3600, 4),
            "waited_seconds": {k: round(s, 1) for k, s in sorted(self.stats.waited.items())},
        }


def failures(
    targets: Sequence[str], models: Mapping[str, ModelEntry], stats: RunStats
) -> list[Failed]:
    """Return why each of these results was not made, "" if unknown.

    Failures of this run take precedence over those that an earlier run left on the board. models:
    the models of the plan.
    """
    pinned = {
        (note.kind, note.name): note for note in activity.notes() if note.state == activity.FAILED
    }
    failed = []
    for target in targets:
        result = ResultId.parse(target)
        model = result.model
        notes = [pinned.get(("task", result.name)), pinned.get(("model", model))]
        known = sorted(filter(None, notes), key=lambda note: note.began < stats.began)
        if model in stats.reasons:
            what, log = stats.reasons[model]
        elif known:
            what, log = known[0].text, known[0].log
        else:
            marker = failure_of(models[model]["asked"]) if model in models else {}
            what, log = str(marker.get("what", "")), str(marker.get("log", ""))
        failed.append(Failed(target, what, log))
    return failed


def failed_in_run(targets: Sequence[str], stats: RunStats) -> list[str]:
    """Return which of these results failed during the run, before it was stopped."""
    failed = {
        note.name
        for note in activity.notes()
        if note.state == activity.FAILED and note.began >= stats.began
    }
    failed_targets = []
    for target in targets:
        result = ResultId.parse(target)
        if result.model in stats.reasons or {result.name, result.model} & failed:
            failed_targets.append(target)
    return failed_targets


def publish(summary: Summary) -> None:
    """Print the summary, write run/summary.json, and pass it to the command in NOTIFY."""
    for line in summary.lines():
        print(line, file=sys.stderr)
    print(summary.head(), flush=True)
    PATH.parent.mkdir(mode=0o700, exist_ok=True)
    temporary_files.write(PATH, json.dumps(summary.data(), indent=1) + "\n", mode=0o600)
    if command := os.environ.get("NOTIFY", ""):
        notify(command, summary)


def notify(command: str, summary: Summary) -> None:
    """Run the user's command with the summary on its stdin. A failure is only printed."""
    env = {**os.environ, "BENCHY_STATUS": str(summary.status), "BENCHY_SUMMARY": str(PATH)}
    try:
        done = subprocess.run(  # the knob is a shell command line
            ["bash", "-c", command],
            input="\n".join([summary.head(), *summary.lines()]) + "\n",
            env=env, text=True, stdout=sys.stderr, timeout=NOTIFY_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        say("NOTIFY", f"{printable(command)}: {error}")
        return
    if done.returncode:
        say("NOTIFY", f"{printable(command)}: ended with status {done.returncode}")
