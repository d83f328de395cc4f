"""The progress of one long step: on the board, and to the eye where nobody else shows it.

Under a run's display (screen.py) the board is enough. Alone on a terminal the step is one line,
drawn anew in place. Elsewhere, and where several makes' jobs share a terminal, it is a line at each
new stage and one a minute.
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
BRIEF = 2.0  # seconds that a stage has to last to be told
_within: list[Step] = []


class Step:
    """A context manager. tag, title: how its lines begin. kind, name: of its note on the board,
    kind "" for none; state: of the note. A Failure that ends it is pinned to the board."""

    def __init__(
        self, tag: str, title: str, kind: str = "", name: str = "", state: str = ""
    ) -> None:
        self.tag, self.title = tag, title
        self.note = activity.Note(kind, name, state) if kind else None
        self.began = time.time()
        self.stage, self.shown = "", ""
        self.done = self.total = 0
        self.written = self.drawn_at = 0.0
        self.told = time.monotonic()
        self.stage_told, self.stage_began = True, self.told
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
        else:  # of an environment venvs/.failed tells
            activity.clear(self.note.kind, self.note.name)

    def enter(self, state: str) -> None:
        """The note's state from now on, for the board alone: others talk now."""
        self.wipe()
        self.displayed, self.live = True, False
        self.stage, self.done, self.total, self.shown = "", 0, 0, ""
        if self.note:
            self.note = activity.put(replace(self.note, state=state, stage="", since=time.time()))

    def at(self, stage: str, done: int = 0, total: int = 0, text: str = "") -> None:
        """Where the step is. text: what a person sees beside the stage. May be called as often as
        one likes, and is to be called at least every HEARTBEAT."""
        now = time.monotonic()
        moved = stage != self.stage
        same = (stage, done, total, text) == (self.stage, self.done, self.total, self.shown)
        self.stage, self.done, self.total, self.shown = stage, done, total, text
        if self.note and (moved or now - self.written >= (activity.HEARTBEAT if same else 1)):
            self.pin(moved)
            self.written = now
        if moved:
            self.stage_told, self.stage_began = False, now
        if self.live and (moved or now - self.drawn_at >= 0.1):
            self.draw(self.words())
            self.drawn_at = now
        elif not self.live and not self.displayed:
            late = now - self.told >= MINUTE
            if late or (not self.stage_told and now - self.stage_began >= BRIEF):
                say(self.tag, f"{self.title}: {self.words()}"[:160])
                self.told, self.stage_told = now, True

    def beat(self) -> None:
        """Nothing new, but still at it."""
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
        """The step as it is now: stage, how much of it, rate, time left; else seconds so far."""
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
    """What a note says, for a line. now: seconds since 1970."""
    counted = f" {note.done}/{note.total}" if note.total else ""
    parts = list(filter(None, [f"{note.stage or note.state}{counted}"]))
    if rate := note.rate(now):
        parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min")
    left = note.left(now)
    if left is not None:
        parts.append(f"{units.span(left)} left")
    elif not note.total:
        parts.append(units.span(now - note.began))
    if note.text:
        parts.append(note.text)
    return ", ".join(parts)


@contextmanager
def stage(label: str) -> Iterator[Step]:
    """The step that is under way, or where none is, one with this label as its title."""
    if _within:
        yield _within[-1]
    else:
        with Step("", label) as step:
            yield step


def redraws() -> bool:
    """Whether stderr is a terminal that can redraw lines."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def displayed() -> bool:
    """Whether a run's display shows what is on the board."""
    return bool(activity.run_of()) and os.environ.get("BENCHY_DISPLAY") == "1"


def shares_terminal() -> bool:
    """Whether other jobs of a make may draw on the same terminal: MAKEFLAGS has a -j."""
    flags = os.environ.get("MAKEFLAGS", "").partition(" -- ")[0]
    return bool(re.search(r"(^| )-j(?!1( |$))", flags))
