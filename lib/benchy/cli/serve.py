"""bin/serve: start a model's server and run a command next to it."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence

from benchy.cli import entry
from benchy.cluster import job_folder, multi_node
from benchy.core.errors import Died, UsageError
from benchy.display import activity
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.process import guardian_client
from benchy.process.signals import Signals, Stopped
from benchy.serving import session
from benchy.serving.preparation import TAG, prepare


def main(argv: list[str]) -> int:
    """Run `bin/serve MODEL -- COMMAND…` or `bin/serve MODEL --test`.

    Raise UsageError unless exactly one of COMMAND and --test is given.
    """
    at = argv.index("--") if "--" in argv else len(argv)
    command = argv[at + 1 :]
    parser = argparse.ArgumentParser(
        prog="bin/serve",
        usage="bin/serve MODEL -- COMMAND…\n       bin/serve MODEL --test",
        description="Start a model's server, run COMMAND with it, then stop both. COMMAND finds "
        "it in BENCHY_URL, BENCHY_KEY, BENCHY_SERVED_MODEL (the model of a request), BENCHY_MODEL "
        "(its name here) and BENCHY_RUN/server.json.",
        epilog="CPU_SLOTS=n: servers at once on the CPU (1). GPU_BUSY=wait|skip|ignore: what to do "
        "about a GPU that another program uses. CUDA_VISIBLE_DEVICES: the GPUs to choose from.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of `make plan`")
    parser.add_argument("--test", action="store_true", help="query the server and show its answers")
    options = parser.parse_args(argv[:at])
    if options.test == bool(command):
        raise UsageError("bin/serve takes either -- COMMAND or --test", "see bin/serve -h")
    signals = Signals()
    signals.install()
    node = multi_node.here()
    with job_folder.leased(options.model):
        if node:  # entry.run() gives a status to report for every exception
            return node.record(entry.run(lambda _: work(options.model, command, signals, node), []))
        return work(options.model, command, signals, node)


def work(model: str, command: Sequence[str], signals: Signals, node: multi_node.Node | None) -> int:
    """Serve on this node and return the exit status. node: this node of a job over several nodes;
    None for a single machine. Raise Died if the guardian is lost."""
    try:
        if node and node.rank:  # only the first node reports its activity
            from benchy.serving import worker_node  # noqa: PLC0415 - builds on this module

            return worker_node.follow(prepare(model, signals), node, signals)
        with Step(TAG, model, "model", model, activity.STARTING) as step:
            return session.serve(prepare(model, signals), command, signals, step, node)
    except Stopped as stopped:
        with contextlib.suppress(OSError):
            say(TAG, f"{model}  stopped ({signal.Signals(stopped.signum).name})")
        return 128 + stopped.signum
    except guardian_client.Lost as lost:
        raise Died(
            f"{model}: {lost}; everything that it started was terminated", "start again"
        ) from None
    finally:
        sys.stdout.flush()
