"""Signal handling of commands that start processes: they end those first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from benchy.core.errors import Failure
from benchy.process import guardian, guardian_client


class Stopped(BaseException):
    """A signal asks this process to stop. `except Exception` does not catch it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def end_once() -> None:
    """Make the first INT, TERM or HUP raise KeyboardInterrupt or SystemExit.

    Either lets `finally` clean up. Later signals have no effect: under make, Ctrl-C sends an INT
    from the terminal and then a TERM from make. Signals that are ignored stay ignored (&, nohup).
    """
    numbers = [n for n in guardian.STOPS if signal.getsignal(n) is not signal.SIG_IGN]
    came: list[int] = []

    def end(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if len(came) == 1:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    for number in numbers:
        signal.signal(number, end)


class Signals:
    """Handler for INT, TERM and HUP.

    The first signal raises Stopped; if a guardian is finishing, Stopped is raised only after that.
    A second signal makes the guardian KILL at once.
    """

    def __init__(self) -> None:
        self.finishing: guardian_client.Guard | None = None
        self.came = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first, self.came = not self.came, self.came or signum
        if self.finishing:
            self.finishing.impatient = not first
        elif first:
            raise Stopped(signum)

    def install(self) -> None:
        """Install the handler. HUP stays ignored under nohup."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        for signum in guardian.STOPS:
            if not (nohup and signum == signal.SIGHUP):
                signal.signal(signum, self)
        # End with make, but not with a shell that ran `nohup bin/serve … &`.
        if "MAKELEVEL" in os.environ or not nohup:
            guardian.die_with_parent(signal.SIGTERM)


@contextmanager
def guarded(signals: Signals, leases: Sequence[int] = ()) -> Iterator[guardian_client.Guard]:
    """Yield a guardian and finish it at the end in every case."""
    with guardian_client.Guard(leases) as guard:
        try:
            yield guard
        finally:
            before, signals.finishing = signals.came, guard
            guard.finish()
            signals.finishing = None
            if signals.came and not before:
                raise Stopped(signals.came)


def run_quietly(signals: Signals, name: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a helper to its end under a guardian. Return its status. Raises Failure."""
    with guarded(signals) as guard:
        try:
            guard.start(name, argv, env)
        except OSError as error:
            raise Failure(f"{name} can't be started: {error}") from None
        while name not in guard.wait(60):
            pass
        return guard.ended[name]
