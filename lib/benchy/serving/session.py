"""bin/serve: starts a model's server, runs a command beside it, and stops everything.

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
import datetime
import json
import os
import secrets
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchy.cluster import job_folder, multi_node
from benchy.core import paths, temporary_files
from benchy.core.errors import Failure, FailureKind
from benchy.core.specs import ServerRecord, ServerSpec
from benchy.devices import allocation, leases, waiting_line
from benchy.display import activity
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import health, usage_locks
from benchy.process.signals import Signals, Stopped, guarded
from benchy.serving.preparation import Plan, commit, environment, noted, ready_environment

TAG = "SERVE"


def take(spec: ServerSpec) -> tuple[leases.Lease, list[str]]:
    """Return the lease and its devices in the form of CUDA_VISIBLE_DEVICES.

    Uses the lease that the parent process passed on, or waits for a new one.
    """
    if found := allocation.handed(spec):
        return found

    def waiting(words: str) -> None:
        say("WAIT", f"{spec['model']}: {words}")

    need = allocation.need(spec)
    held = waiting_line.acquire(allocation.desk(), need.want, waiting, parent_check())
    return held, need.visible(held)


def parent_check() -> Any:
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


@contextmanager
def run_directory(model: str) -> Iterator[Path]:
    """Create a directory of run/ with mode 0700 and remove it at exit.

    Also removes directories of killed runs. In a launcher's job, the directory is among the node's
    own temporary files.
    """
    if os.environ.get("BENCHY_LAUNCHED"):
        with job_folder.made(model) as folder:
            yield folder
        return
    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    path = temporary_files.aside(paths.RUN / model)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        temporary_files.remove(path)


def serve(
    plan: Plan, command: Sequence[str], signals: Signals, step: Step, node: multi_node.Node | None
) -> int:
    """Take the devices, start the server, run `command`, stop everything.

    Without a command, tests the server. `node` is this node, the first of a job with several; None
    otherwise. Returns the exit status.
    """
    spec = plan.spec
    held, cards = take(spec)
    from benchy.devices import ports  # noqa: PLC0415 - after the wait, to save memory
    from benchy.serving import endpoint  # noqa: PLC0415
    from benchy.serving import server as servers  # noqa: PLC0415

    if not endpoint.loopback(spec["host"]):
        say("WARNING", f"{spec['model']} listens on {spec['host']}: others can reach it")
    try:
        for attempt in range(servers.RETRY_PORT):
            # The guardian holds the environment too, so a rebuild waits for its last process.
            with (
                settled(plan, signals) as use,
                ports.taken(spec, allocation.owner(spec), allocation.desk()) as port,
                guarded(signals, (*held.descriptors, *port.descriptors, use)) as guardian,
                joined(plan, node) as more,
            ):
                key = secrets.token_urlsafe(32)
                end = endpoint.Endpoint(spec["host"], port.number, key, guardian.pid, port.pinned)
                one = servers.Server(
                    end, new_log(spec["model"]), guardian, spec["model"], plan.served
                )
                try:
                    return attend(plan, one, cards, command, step, more)
                except Failure as failure:
                    lost = failure.kind is FailureKind.PORT_IN_USE
                    again = lost and not port.pinned and not node
                    if not again or attempt == servers.RETRY_PORT - 1:
                        raise
                    what = f"somebody took port {port.number} first; another one"
                    say("AGAIN", f"{spec['model']}: {what}")
        raise AssertionError("the last attempt returns or raises")
    finally:
        held.release()


@contextmanager
def settled(plan: Plan, signals: Signals) -> Iterator[int]:
    """Protect the environment from being replaced, and yield the descriptor of that lock.

    Rebuilds the environment first if it was removed during the wait for a device.
    """
    while True:
        with usage_locks.used(plan.place.name) as descriptor:
            if health.well(plan.place.name):
                yield descriptor
                return
        ready_environment(plan.spec, signals)


@contextmanager
def joined(plan: Plan, node: multi_node.Node | None) -> Iterator[list[str]]:
    """Let the other nodes of the job join this server, and yield the engine's arguments for that.

    Yields no arguments if the job has one node.
    """
    if not node:
        yield []
        return
    from benchy.devices import ports  # noqa: PLC0415 - as in serve()

    port = ports.free_port("", None)
    with node.meet(port) as address:
        yield node.arguments(plan.spec["nodes"], address, port)


def attend(
    plan: Plan,
    one: Any,
    cards: Sequence[str],
    command: Sequence[str],
    step: Step,
    more: Sequence[str] = (),
) -> int:
    """Start one server, check it, run `command`, and return its exit status.

    `more` are arguments of the engine besides those of the plan.
    """
    from benchy.serving import engine_log  # noqa: PLC0415 - as in serve()

    spec = plan.spec
    env = environment(spec, one.endpoint.key, cards)
    started = datetime.datetime.now(datetime.timezone.utc)
    argv = [*plan.argv(spec["host"], one.endpoint.port), *more]
    one.start(argv, env)
    if os.environ.get("V") not in (None, "", "0"):
        say(TAG, shlex.join(argv))
    ready = one.wait_ready(float(spec["startup_timeout"]), step)
    version, length = one.identity(plan.expected())
    where = f"GPU {','.join(cards)}" if cards else "cpu"
    place = plan.place.name
    say(TAG, f"{spec['model']}  {place} on {where}, port {one.endpoint.port} (ready in {ready} s)")
    numbers = one.scored()
    if not command or spec["chat"]:
        answer = one.said(spec["chat"])
    if not command:
        print(f"release   {version}\nmodel     {plan.served}, {length} tokens")
        print(f"{'chat' if spec['chat'] else 'completion':<10}{answer!r}")
        shown = " ".join(f"{number:.3f}" for number in numbers[:8])
        print(f"logprobs  {shown} … ({len(numbers)} tokens, sum {sum(numbers):.3f})", flush=True)
        return 0
    with run_directory(spec["model"]) as run:
        told: ServerRecord = {
            "model": spec["model"],
            "version": version,
            "served_model": plan.served,
            "max_model_len": length,
            "max_num_seqs": plan.at_once(),
            "dtype": engine_log.dtype(one.log.text()),
            "commit": commit(spec),
            "arguments": argv[1:],
            "variables": noted(env, spec),
            "gpus": [int(c) if c.isdecimal() else c for c in cards] if cards else "cpu",
            "pid": one.pid,
            "guardian": one.guardian.pid,
            "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds_to_ready": {**one.log.times, "total": ready},
            "environment": place,
            "package": spec["package"],
            "package_version": plan.place.json("check.json").get("version"),
            "lock_sha256": lock_sha256(place),
            "fallback": spec["fallback"],
            "spec": spec,
        }
        if "nodes" in spec:
            told["nodes"] = spec["nodes"]["count"]
        text = json.dumps(told, indent=1, sort_keys=True)
        temporary_files.write(run / "server.json", text, mode=0o600)
        begun = time.monotonic()
        step.enter(activity.SERVING)
        try:
            one.guardian.start("command", command, command_environment(one.endpoint, plan, run))
        except OSError as error:
            raise Failure(f"the command can't be started: {error}") from None
        status = int(one.watch("command", step))
        if status < 0:
            say(TAG, f"{spec['model']}  command killed by signal {-status}")
            return 128 - status
        if status == 0:
            say(TAG, f"{spec['model']}  done in {time.monotonic() - begun:.1f} s")
        return status


def lock_sha256(name: str) -> str | None:
    """Return the hash of the lock that the environment was built from."""
    from benchy.environments import health  # noqa: PLC0415

    return health.lock_sha256(name)


def command_environment(end: Any, plan: Plan, run: Path) -> dict[str, str]:
    """Return the environment variables of COMMAND: ours, the server's, and no proxy to the server.

    BENCHY_MODEL is the model's name in benchy (that of its config). BENCHY_SERVED_MODEL is the name
    for requests.
    """
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), end.address, "localhost"]))
    return {
        **os.environ,
        "BENCHY_URL": end.url,
        "BENCHY_KEY": end.key,
        "BENCHY_MODEL": plan.spec["model"],
        "BENCHY_SERVED_MODEL": plan.served,
        "BENCHY_RUN": str(run),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }
