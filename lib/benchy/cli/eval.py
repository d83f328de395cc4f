"""bin/eval: evaluate one task on one model."""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchy.core import hashing, paths
from benchy.core.errors import Failure, UsageError
from benchy.display import activity
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import usage_locks
from benchy.evaluation import evaluate
from benchy.evaluation import result as document
from benchy.evaluation.job import EvaluationJob, load
from benchy.process import guardian
from benchy.process.signals import end_once


def main(argv: list[str]) -> int:
    """Run `bin/eval [--limit N] MODEL TASK`. Raise ConfigError or Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/eval",
        description="Evaluate one task on one model; write results/MODEL/TASK/results.json.",
        epilog="Without a server (BENCHY_URL) it starts one: bin/serve MODEL -- bin/eval …",
    )
    parser.add_argument("--limit", type=int, help="only the first N items of each subtask")
    parser.add_argument("model", help="a config's name, e.g. quickstart")
    parser.add_argument("task", help="a task's name, e.g. smoke")
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: a limit must be 1 or more")
    if not os.environ.get("BENCHY_URL"):
        serve = ["bin/serve", args.model, "--", "bin/eval", *argv]
        os.execv(serve[0], serve)  # noqa: S606
    # make runs between bin/serve and this process, and can be killed without notice.
    guardian.die_with_parent()
    end_once()
    job = load(args.model, args.task, args.limit)
    with _only_one(job) as waited:
        if waited and _made_since(job, waited):
            say(evaluate.TAG, f"{job.title}: made by another run")
        else:
            name = activity.name(job.model, job.task, job.limit)
            with (
                Step(evaluate.TAG, job.title, "task", name, activity.RUNNING) as step,
                usage_locks.used(job.spec["task"]["harness_environment"]),
            ):
                evaluate.evaluate(job, step)
    return 0


@contextmanager
def _only_one(job: EvaluationJob) -> Iterator[float | None]:
    """Let one process at a time make this result.

    Yield the time at which the wait for another process began (time.time()), or None without a
    wait.
    """
    folder = paths.RUN / "eval" / (paths.limit_dir(job.limit) or "whole") / job.model
    path = folder / f"{job.task}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:  # close-on-exec: the harness does not inherit it
        waited = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.time()
            say(evaluate.TAG, f"{job.title}: waiting: another run is making it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


def _made_since(job: EvaluationJob, since: float) -> bool:
    try:
        fresh = job.target.stat().st_mtime >= since
        spec = hashing.of_bytes(job.spec_bytes)
        return fresh and document.read(job.target).spec_sha256 == spec
    except (OSError, Failure):
        return False
