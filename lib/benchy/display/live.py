"""The display of a run on a terminal: finished work scrolls by above one live line for each job.

The run's commands write to one pipe instead of the terminal, so that lines stay whole. Their state
is read from the board (activity.py). Without a terminal there is no screen.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from benchy.core.errors import printable
from benchy.display import activity, progress

if TYPE_CHECKING:
    from rich.console import Group

REFRESH = 0.5  # seconds
TAGS = {
    activity.BUILDING: "VENV", activity.FETCHING: "FETCH", activity.STARTING: "SERVE",
    activity.SERVING: "SERVE", activity.RUNNING: "EVAL",
}  # fmt: skip


class Screen:
    """The display of a run; it needs a running event loop.

    `words` returns the progress for the last line. Inside shown(), commands write to the descriptor
    `writer`.
    """

    def __init__(self, words: Callable[[], str]) -> None:
        from rich.console import Console  # noqa: PLC0415 - takes 0.1 s, needed only on a terminal
        from rich.live import Live  # noqa: PLC0415

        self.words = words
        self.console = Console(stderr=True)
        self.live = Live(
            console=self.console, auto_refresh=False, transient=True, get_renderable=self.lines
        )
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.rest = ""

    @contextlib.contextmanager
    def shown(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        loop.add_reader(self.reader, self.read)
        self.loop = loop
        with self.live:
            # A killed run cannot restore a hidden cursor.
            self.console.show_cursor(True)
            self.tick()
            try:
                yield
            finally:
                self.timer.cancel()
                loop.remove_reader(self.reader)
                os.close(self.writer)
                self.read()
                if self.rest:
                    self.say(self.rest)
                os.close(self.reader)

    def tick(self) -> None:
        self.live.refresh()
        self.timer = self.loop.call_later(REFRESH, self.tick)

    def read(self) -> None:
        """Print the new output of the commands, line by line."""
        while True:
            try:
                data = os.read(self.reader, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self.rest = (self.rest + self.decode(data)).split("\n")
            for line in lines:
                self.say(line.rstrip("\r"))

    def say(self, line: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        self.console.print(Text.from_ansi(line), soft_wrap=True)

    def lines(self) -> Group:
        """Return the live lines at the bottom."""
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        now, mine = time.time(), os.getpid()
        notes = [n for n in activity.notes() if n.run == mine and n.state in TAGS]
        busy = {note.name.split("/")[-2] for note in notes if note.kind == "task"}
        shown = [n for n in notes if n.state != activity.SERVING or n.name not in busy]
        lines = [
            f"  {TAGS[note.state]:<7} {note.name}: {progress.words(note, now)}" for note in shown
        ]
        room = max(3, self.console.height - 4)
        if len(lines) > room:
            lines[room - 1 :] = [f"  …       and {len(lines) - room + 1} more jobs"]
        lines.append(f"  {'':<7} {self.words()}")
        shown_lines = (printable(line) for line in lines)
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in shown_lines))
