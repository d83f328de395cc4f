"""bin/serve: starts a model's server, runs a command while it is up, and stops everything.

    bin/serve MODEL -- COMMAND…     COMMAND finds the server in BENCHY_URL, BENCHY_KEY,
                                    BENCHY_SERVED_MODEL
    bin/serve MODEL --test          start the server, query it, print the answers, stop it

Reads build/specs/server/MODEL.json and the environment that it names. Writes
logs/serve/MODEL.log (the previous log becomes .log.1) and run/.MODEL~HOST~PID-…/server.json. Exit
status: that of COMMAND; 1 if the server cannot be started or dies; 2 for a configuration error;
128 + N for signal N.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchy.cluster import multi_node
from benchy.core import paths
from benchy.core.errors import Failure, FailureKind
from benchy.core.specs import ServerSpec
from benchy.devices import allocation, leases, waiting_line
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import health, usage_locks
from benchy.process.signals import Signals, Stopped, guarded
from benchy.serving.preparation import PreparedServer, ready_environment

PORT_ATTEMPTS = 3  # each on another port, if another process takes the free one first


def take(spec: ServerSpec) -> tuple[leases.Lease, list[str]]:
    """Return the lease and its devices in the form of CUDA_VISIBLE_DEVICES.

    Uses the lease that the parent process passed on, or waits for a new one.
    """
    if inherited := allocation.handed(spec):
        return inherited

    def waiting(words: str) -> None:
        say("WAIT", f"{spec['model']}: {words}")

    need = allocation.need(spec)
    held = waiting_line.acquire(allocation.desk(), need.want, waiting, parent_check())
    return held, need.visible(held)


def parent_check() -> Callable[[], None]:
    """Return a function that raises Stopped if Make started us and our parent has ended."""
    before = os.getppid()

    def check() -> None:
        if os.getppid() != before and "MAKELEVEL" in os.environ:
            raise Stopped(signal.SIGTERM)

    return check


def new_log(model: str) -> Path:
    """Create logs/serve/MODEL.log with mode 0600. The previous log becomes .log.1."""
    path = paths.LOGS / "serve" / f"{model}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_suffix(".log.1"))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    return path


def serve(
    prepared: PreparedServer,
    command: Sequence[str],
    signals: Signals,
    step: Step,
    node: multi_node.Node | None,
) -> int:
    """Take the devices, start the server, run `command`, stop everything.

    Without a command, tests the server. `node` is this node, the first of a job with several; None
    otherwise. Returns the exit status.
    """
    spec = prepared.spec
    held, devices = take(spec)
    from benchy.devices import ports  # noqa: PLC0415 - after the wait, to save memory
    from benchy.serving import endpoint, server, session_phases  # noqa: PLC0415

    if not endpoint.loopback(spec["host"]):
        say("WARNING", f"{spec['model']} listens on {spec['host']}: other machines can connect")
    try:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            # The guardian holds the environment too, so a rebuild waits for its last process.
            with (
                locked_environment(prepared, signals) as use,
                ports.taken(spec, allocation.owner(spec), allocation.desk()) as port,
                guarded(signals, (*held.descriptors, *port.descriptors, use)) as guardian,
                joined(prepared, node) as joining,
            ):
                key = secrets.token_urlsafe(32)
                address = endpoint.Endpoint(
                    spec["host"], port.number, key, guardian.pid, port.pinned
                )
                log = new_log(spec["model"])
                engine = server.Server(address, log, guardian, spec["model"], prepared.served)
                session = session_phases.Session(prepared, engine, devices, step, joining)
                try:
                    return session.run(command)
                except Failure as failure:
                    lost = failure.kind is FailureKind.PORT_IN_USE
                    retry = lost and not port.pinned and not node
                    if not retry or attempt == PORT_ATTEMPTS:
                        raise
                    what = f"another process took port {port.number}; trying another port"
                    say("AGAIN", f"{spec['model']}: {what}")
        raise AssertionError("the last attempt returns or raises")
    finally:
        held.release()


@contextmanager
def locked_environment(prepared: PreparedServer, signals: Signals) -> Iterator[int]:
    """Protect the environment from being replaced, and yield the descriptor of that lock.

    Rebuilds the environment first if it was removed during the wait for a device.
    """
    while True:
        with usage_locks.used(prepared.environment.name) as descriptor:
            if health.intact(prepared.environment.name):
                yield descriptor
                return
        ready_environment(prepared.spec, signals)


@contextmanager
def joined(prepared: PreparedServer, node: multi_node.Node | None) -> Iterator[list[str]]:
    """Let the other nodes of the job join this server, and yield the engine's arguments for that.

    Yields no arguments if the job has one node.
    """
    if not node:
        yield []
        return
    from benchy.devices import ports  # noqa: PLC0415 - as in serve()

    port = ports.free_port("", None)
    with node.meet(port) as address:
        yield node.arguments(prepared.spec["nodes"], address, port)
