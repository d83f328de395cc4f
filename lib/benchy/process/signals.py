"""What a signal does to a command that has started processes: it ends them first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from benchy.core.errors import Failure
from benchy.process import guardian


class Stopped(BaseException):
    """A signal asks us to stop. No Exception, so that nobody handles it as one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def end_once() -> None:
    """The first INT, TERM or HUP raises KeyboardInterrupt or SystemExit, so that `finally` cleans
    up; what comes after it changes nothing: Ctrl-C under make is an INT from the terminal and then
    a TERM from make. What is ignored stays so (&, nohup)."""
    numbers = [n for n in guardian.STOPS if signal.getsignal(n) is not signal.SIG_IGN]
    came: list[int] = []

    def end(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if len(came) == 1:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    for number in numbers:
        signal.signal(number, end)


class Signals:
    """The first INT, TERM or HUP raises Stopped, while a guardian finishes only after that; a
    second one makes the guardian KILL at once."""

    def __init__(self) -> None:
        self.finishing: guardian.Guard | None = None
        self.came = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first, self.came = not self.came, self.came or signum
        if self.finishing:
            self.finishing.impatient = not first
        elif first:
            raise Stopped(signum)

    def install(self) -> None:
        """Take the signals. HUP stays ignored under nohup."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        for signum in guardian.STOPS:
            if not (nohup and signum == signal.SIGHUP):
                signal.signal(signum, self)
        # Killing make must end us; a shell that ends after `nohup bin/serve … &` must not.
        if "MAKELEVEL" in os.environ or not nohup:
            guardian.die_with_parent(signal.SIGTERM)


@contextmanager
def guarded(signals: Signals, leases: Sequence[int] = ()) -> Iterator[guardian.Guard]:
    """A guardian that is finished at the end, whatever comes."""
    with guardian.Guard(leases) as guard:
        try:
            yield guard
        finally:
            before, signals.finishing = signals.came, guard
            guard.finish()
            signals.finishing = None
            if signals.came and not before:
                raise Stopped(signals.came)


def run_quietly(signals: Signals, name: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a helper to its end under a guardian; its status."""
    with guarded(signals) as guard:
        try:
            guard.start(name, argv, env)
        except OSError as error:
            raise Failure(f"{name} can't be started: {error}") from None
        while name not in guard.wait(60):
            pass
        return guard.ended[name]
