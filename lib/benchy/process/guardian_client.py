"""The wrapper's side of a guardian: starts it, sends it orders, and reads its reports."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchy.process import guardian


class Lost(Exception):
    """The guardian ended without a request to finish."""


class Guard:
    """A guardian and its processes: a context manager that ends everything it started at exit.

    leases: descriptors that both sides hold until the end.
    """

    def __init__(self, leases: Iterable[int] = ()) -> None:
        import subprocess  # noqa: PLC0415 - costs 10 ms

        guardian.become_subreaper()
        self.socket, theirs = socket.socketpair()
        inherited = [theirs.fileno(), *leases]
        try:
            for descriptor in inherited:
                os.set_inheritable(descriptor, True)
            # close_fds=False: a child make finds the job server through inherited descriptors.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, *map(str, inherited)],
                start_new_session=True,
                close_fds=False,
            )
        finally:
            for descriptor in inherited:
                os.set_inheritable(descriptor, False)
        theirs.close()
        self.pid = self.process.pid
        self.unread = b""
        self.ended: dict[str, int] = {}
        self.impatient = False

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _send(self, message: Mapping[str, object]) -> None:
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise Lost("the guardian of the processes was killed") from error

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: str = "") -> int:
        """Start argv under the guardian. Return its pid.

        log: file for its output, made with mode 0600; the program then gets no input. With "", it
        inherits this process's input and output. Raises OSError if it cannot be started, or Lost.
        """
        self._send({"start": name, "argv": list(argv), "env": dict(env), "log": log})
        while True:
            message = self._message(None)
            if message and message.get("started") == name:
                return int(message["pid"])
            if message and message.get("failed") == name:
                raise OSError(message["why"])

    def _message(self, timeout: float | None) -> dict[str, Any] | None:
        """Return the next message, or None after timeout seconds. Raises Lost."""
        while b"\n" not in self.unread:
            if not select.select([self.socket], [], [], timeout)[0]:
                return None
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise Lost("the guardian of the processes was killed")
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "ended" in message:
            self.ended[message["ended"]] = message["status"]
        return message

    def wait(self, timeout: float) -> dict[str, int]:
        """Wait up to timeout seconds for a message. Return name → status of all that have ended."""
        self._message(timeout)
        return self.ended

    def finish(self, grace: float = guardian.GRACE) -> None:
        """End everything; leases are released last. Safe to call twice.

        Setting self.impatient meanwhile makes the guardian KILL at once.
        """
        if self.socket.fileno() < 0:
            return
        try:
            self._send({"finish": grace})
            hurried = False
            while True:
                self._message(0.1)
                if self.impatient and not hurried:
                    hurried = True
                    self._send({"finish": 0})
        except Lost:
            self.socket.close()
        status = self.process.wait()
        if status < 0:  # killed: its orphans are now our children
            guardian.sweep(grace, lambda: self.impatient)
