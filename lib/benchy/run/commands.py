"""The commands of a run, which end with it, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Iterator, Mapping, Sequence

from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.process import guardian


class Commands:
    """The commands that a run has started.

    Attributes:
        environ: Their environment variables.
        screen: Where they write, None for stderr of this process.
        children: Those that have not ended.
        signal: The signal that ended the run, 0 for none.
    """

    def __init__(self, environ: Mapping[str, str], screen: Screen | None = None) -> None:
        self.environ, self.screen = environ, screen
        self.children: set[asyncio.subprocess.Process] = set()
        self.signal = 0

    def pids(self) -> list[int]:
        return [child.pid for child in self.children]

    async def run(
        self, argv: Sequence[str], more: Mapping[str, str] | None = None, keep: Sequence[int] = ()
    ) -> int:
        """Run a command and return its exit status. Terminate it if this run ends.

        A command that is killed cannot say why it fails, so that is reported here.

        The command has a session of its own: Ctrl-C at a terminal reaches only this process, which
        sends the command TERM once. more: additional environment variables. keep: file descriptors
        that the command inherits.
        """
        parent = os.getpid()
        child = await asyncio.create_subprocess_exec(
            *argv,
            env={**self.environ, **(more or {})},
            pass_fds=keep,
            stdout=self.screen.writer if self.screen else None,
            stderr=self.screen.writer if self.screen else None,
            start_new_session=True,
            preexec_fn=lambda: guardian.die_with_parent(signal.SIGTERM, parent),
        )
        self.children.add(child)
        try:
            status = await child.wait()
            if status < 0 and not self.signal:
                words = " ".join(argv[:2])
                say("WARNING", f"{words} was killed by {signal.Signals(-status).name}")
            return status
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            await _uncancelled(child.wait())
            raise
        finally:
            self.children.discard(child)

    @contextlib.contextmanager
    def signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Cancel the current task at a signal; a second signal sends the commands TERM again."""
        main = asyncio.current_task()
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        numbers = [n for n in guardian.STOPS if not (nohup and n == signal.SIGHUP)]

        def stop(number: int) -> None:
            if not self.signal:
                self.signal = number
                assert main
                main.cancel()
            else:
                for child in self.children:
                    with contextlib.suppress(ProcessLookupError):
                        child.terminate()

        for number in numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


async def _uncancelled(waiting: Awaitable[int]) -> None:
    """Wait even if canceled: a child that was sent TERM must be waited for."""
    task = asyncio.ensure_future(waiting)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
