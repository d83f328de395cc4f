"""The progress of one long step: on the board and, if no run displays the board, on stderr.

Under the display of a run (live.py), the board is enough. Alone on a terminal, the step is one line
that is redrawn in place. Elsewhere, and if several jobs of make share a terminal, it prints a line
at each new stage and one a minute.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

from benchy.core.errors import ConfigError, Failure, printable
from benchy.display import activity, messages, units
from benchy.display.messages import say

MINUTE = 60.0
BRIEF = 2.0  # seconds that a stage must last to be printed
_within: list[Step] = []


class Step:
    """A context manager that shows the progress of one step.

    A Failure or ConfigError that ends the step is written to the board, except for environments.

    Args:
        tag: Tag of its lines.
        title: Title of its lines.
        kind: Kind of its note on the board, or "" for no note.
        name: Name of its note.
        state: State of its note.
    """

    def __init__(
        self, tag: str, title: str, kind: str = "", name: str = "", state: str = ""
    ) -> None:
        self.tag, self.title = tag, title
        self.note = activity.Note(kind, name, state) if kind else None
        self.began = time.time()
        self.stage, self.shown = "", ""
        self.done = self.total = 0
        self.written = self.drawn_at = 0.0
        self.reported_at = time.monotonic()
        self.stage_reported, self.stage_began = True, self.reported_at
        self.drawn = False
        self.displayed = displayed()
        self.live = not self.displayed and redraws() and not shares_terminal()

    def __enter__(self) -> Step:
        _within.append(self)
        messages.before_talk.append(self.wipe)
        if self.note:
            self.note = activity.put(self.note)
            self.written = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _within.remove(self)
        messages.before_talk.remove(self.wipe)
        self.wipe()
        if not self.note:
            return
        if isinstance(error, Failure | ConfigError) and self.note.kind != "environment":
            lines = str(error).splitlines()
            log = error.log if isinstance(error, Failure) else ""
            text = lines[0] if lines else type(error).__name__
            activity.put(replace(self.note, state=activity.FAILED, text=text[:500], log=log))
        else:  # venvs/.failed records failures of environments
            activity.clear(self.note.kind, self.note.name)

    def enter(self, state: str) -> None:
        """Set the state of the note. From now on only the board shows this step."""
        self.wipe()
        self.displayed, self.live = True, False
        self.stage, self.done, self.total, self.shown = "", 0, 0, ""
        if self.note:
            self.note = activity.put(replace(self.note, state=state, stage="", since=time.time()))

    def at(self, stage: str, done: int = 0, total: int = 0, text: str = "") -> None:
        """Report the progress of the step.

        May be called at any rate, and must be called at least every HEARTBEAT seconds.

        Args:
            stage: The current stage, in words.
            done: How much of it is done.
            total: How much it has to do, or 0 if not known.
            text: Text to show beside the stage.
        """
        now = time.monotonic()
        moved = stage != self.stage
        same = (stage, done, total, text) == (self.stage, self.done, self.total, self.shown)
        self.stage, self.done, self.total, self.shown = stage, done, total, text
        if self.note and (moved or now - self.written >= (activity.HEARTBEAT if same else 1)):
            self.pin(moved)
            self.written = now
        if moved:
            self.stage_reported, self.stage_began = False, now
        if self.live and (moved or now - self.drawn_at >= 0.1):
            self.draw(self.words())
            self.drawn_at = now
        elif not self.live and not self.displayed:
            late = now - self.reported_at >= MINUTE
            if late or (not self.stage_reported and now - self.stage_began >= BRIEF):
                say(self.tag, f"{self.title}: {self.words()}"[:160])
                self.reported_at, self.stage_reported = now, True

    def beat(self) -> None:
        """Report that the step still works, without new progress."""
        self.at(self.stage, self.done, self.total, self.shown)

    def pin(self, moved: bool) -> None:
        assert self.note
        if moved:
            self.note = replace(self.note, since=time.time(), at=self.done)
        self.note = activity.put(
            replace(
                self.note, stage=self.stage, done=self.done, total=self.total, text=self.shown[:200]
            )
        )

    def words(self) -> str:
        """Return the current stage, count, rate and time left, or the seconds so far."""
        note = self.note or activity.Note("", "", "", began=self.began, since=self.began)
        now = replace(note, stage=self.stage, done=self.done, total=self.total, text=self.shown)
        return words(now, time.time())

    def draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = printable(f"  {self.tag:<7} {self.title}: {text}")[:width]
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        self.drawn = True

    def wipe(self) -> None:
        if self.drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self.drawn = False


def words(note: activity.Note, now: float) -> str:
    """Return a note as text for one line. now: seconds since 1970."""
    counted = f" {note.done}/{note.total}" if note.total else ""
    parts = list(filter(None, [f"{note.stage or note.state}{counted}"]))
    if rate := note.rate(now):
        parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min")
    remaining = note.seconds_left(now)
    if remaining is not None:
        parts.append(f"{units.span(remaining)} left")
    elif not note.total:
        parts.append(units.span(now - note.began))
    if note.text:
        parts.append(note.text)
    return ", ".join(parts)


@contextmanager
def stage(label: str) -> Iterator[Step]:
    """Yield the current step, or a new one with this label as its title."""
    if _within:
        yield _within[-1]
    else:
        with Step("", label) as step:
            yield step


def redraws() -> bool:
    """Return whether stderr is a terminal that can redraw lines."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def displayed() -> bool:
    """Return whether the display of a run shows the board."""
    return bool(activity.run_of()) and os.environ.get("BENCHY_DISPLAY") == "1"


def shares_terminal() -> bool:
    """Return whether other jobs of make may draw on the same terminal (-j in MAKEFLAGS)."""
    flags = os.environ.get("MAKEFLAGS", "").partition(" -- ")[0]
    return bool(re.search(r"(^| )-j(?!1( |$))", flags))
