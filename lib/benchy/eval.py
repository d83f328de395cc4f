"""bin/eval: one task on one model, from a running server to results/<model>/<task>/results.json.

Reads build/specs/result/[limit-N/]<model>/<task>.json, build/specs/task/<task>.json, and what
bin/serve put into the environment (BENCHY_URL, BENCHY_KEY, BENCHY_RUN/server.json); without a
server it starts itself again under bin/serve. Writes the result and logs/eval/<model>/<task>.log.

The result's directory only ever holds a whole result: the harness writes aside, its files (whose
names carry the time, so that no two runs' are alike) are moved in, results.json is renamed last,
and only then are the files of an older result removed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
from packaging.version import InvalidVersion, Version

from benchy import child, harness, paths, provenance
from benchy import result as document
from benchy.errors import ConfigError, Failure, Mistake, UsageError, say
from benchy.harness import Spec

TAG = "EVAL"


@dataclass(frozen=True)
class Job:
    """One result to make. spec_bytes: the result spec as it lies on the disk; server: server.json;
    key: the server's."""

    model: str
    task: str
    limit: int | None
    spec_bytes: bytes
    spec: Spec
    run: Spec
    server: Spec
    url: str
    key: str

    @property
    def title(self) -> str:
        return f"{self.model}/{self.task}"

    @property
    def target(self) -> Path:
        return paths.result(self.model, self.task, self.limit)

    @property
    def log(self) -> Path:
        return paths.LOGS / "eval" / paths.limit_dir(self.limit) / self.model / f"{self.task}.log"

    @property
    def endpoint(self) -> harness.Endpoint:
        server = self.server
        return harness.Endpoint(self.url, server["served_model"], server["max_model_len"])


def main(argv: list[str]) -> int:
    """bin/eval [--limit N] MODEL TASK. Raises ConfigError and Failure."""
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
        raise UsageError(f"--limit {args.limit}: a limit is 1 or more")
    if not os.environ.get("BENCHY_URL"):
        serve = ["bin/serve", args.model, "--", "bin/eval", *argv]
        os.execv(serve[0], serve)
    # Between bin/serve and us stands make, which may be killed without a word to us.
    child.die_with_parent()
    signal.signal(signal.SIGTERM, _terminated)
    job = load(args.model, args.task, args.limit)
    with _only_one(job) as waited:
        if waited and _made_meanwhile(job, waited):
            say(TAG, f"{job.title}: made by another run")
            return 0
        evaluate(job)
    return 0


def _terminated(_signal: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def load(model: str, task: str, limit: int | None) -> Job:
    """The job from the spec files and bin/serve's environment. Raises Failure."""
    run = os.environ.get("BENCHY_RUN", "")
    spec_bytes = _read(paths.result_spec(model, task, limit))
    return Job(
        model,
        task,
        limit,
        spec_bytes,
        json.loads(spec_bytes),
        json.loads(_read(paths.task_spec(task))),
        json.loads(_read(Path(run) / "server.json")),
        os.environ["BENCHY_URL"].rstrip("/"),
        os.environ.get("BENCHY_KEY", ""),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(
            f"{path}: {error.strerror}", "Start it through make, which writes it first: make results"
        ) from error


@contextmanager
def _only_one(job: Job) -> Iterator[float | None]:
    """Let one process at a time make this result; yields when we began to wait (time.time()), or
    None if nobody else was at it."""
    path = paths.RUN / f"eval-{paths.limit_dir(job.limit) or 'whole'}-{job.model}-{job.task}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:  # close-on-exec: the harness does not inherit it
        waited = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.time()
            say(TAG, f"{job.title}: another run is making it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


def _made_meanwhile(job: Job, since: float) -> bool:
    try:
        fresh = job.target.stat().st_mtime >= since
        spec = hashlib.sha256(job.spec_bytes).hexdigest()
        return fresh and document.read(job.target).spec_sha256 == spec
    except (OSError, Failure):
        return False


def evaluate(job: Job) -> None:
    """Make the result. Raises Failure, ConfigError; then nothing at the target has changed."""
    check_server(job)
    check_endpoint(job)
    env_name = job.spec["task"]["harness_environment"]
    locks = [
        provenance.lock_sha256(job.server["environment"]) or "",
        provenance.lock_sha256(env_name) or "",
        job.server["version"],
    ]
    cache = None
    if not harness.samples_answers(job.spec):
        args = harness.model_args(job.spec, job.run, job.endpoint)
        cache = harness.cache_directory(job.spec_bytes, args, locks)
        cache.mkdir(parents=True, exist_ok=True)
    base = dict(os.environ) | _token(job)
    env = harness.environment(job.spec, job.run, job.server["spec"], cache, base)
    if job.spec["chat"]:
        check_chat(job, env)

    directory = job.target.parent
    aside = directory.parent / f".{job.task}.{os.getpid()}.tmp"
    directory.mkdir(parents=True, exist_ok=True)
    _clear_aside(job)
    aside.mkdir()
    try:
        command = harness.command(job.spec, job.run, job.endpoint, aside, cache)
        say(TAG, job.title)
        start = datetime.now(timezone.utc)
        run_harness(job, command, env, cache)
        end = datetime.now(timezone.utc)
        output = harness.read_output(aside, job.log)
        made = make_result(job, output, start, end)
        publish(job, made, output)
        if cache:
            shutil.rmtree(cache, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _remove_empty(directory)
    score = made.score
    error = f" ± {score.stderr:.4f}" if score.stderr is not None else ""
    say(TAG, f"{job.title}: {score.metric.split(',')[0]} {score.value:.4f}{error}")


def _token(job: Job) -> dict[str, str]:
    """HF_TOKEN from the provider file that the server spec names, for a gated tokenizer."""
    source = job.server["spec"].get("token_from")
    if not source or os.environ.get("HF_TOKEN"):
        return {}
    import yaml

    token = (yaml.safe_load(_read(Path(source))) or {}).get("hf_token")
    return {"HF_TOKEN": str(token)} if token else {}


def check_server(job: Job) -> None:
    """That the server was started for this very result. Raises Failure, naming each difference."""
    spec, asked, server = job.spec, job.server["spec"], job.server
    wrong: list[str] = []

    def same(what: str, wanted: object, found: object) -> None:
        if wanted != found:
            wrong.append(f"{what}: the result needs {wanted!r}, the server has {found!r}")

    same("model", job.model, server["model"])
    for key in ("name", "revision", "path"):
        same(f"model.{key}", spec["model"][key], asked[key])
    same("environment", spec["engine"]["environment"], server["environment"])
    same("package", spec["engine"]["package"], server["package"])
    for kind in ("options", "variables"):
        for key, value in spec[kind].items():
            same(f"{kind}.{key}", value, asked[kind].get(key))
    if spec["engine"]["version"] and not _one_release(spec["engine"]["version"], server["version"]):
        same("release", spec["engine"]["version"], server["version"])
    if wrong:
        raise Failure(
            f"{job.title}: the server at {job.url} is not the one that this result needs",
            f"Start it anew: bin/serve {job.model} -- bin/eval {job.model} {job.task}",
            lines=wrong,
        )


def _one_release(asked: str, answered: str) -> bool:
    """Whether two version strings name one release; a build's local part ("+cpu") is none of it
    unless it was asked for."""
    try:
        ours, theirs = Version(asked), Version(answered)
    except InvalidVersion:
        return asked == answered
    return ours == theirs if ours.local else ours.public == theirs.public


def check_endpoint(job: Job) -> None:
    """That it answers, takes our key, and serves the model and release it was started with."""
    try:
        version = _get(job, "/version").get("version")
        models = _get(job, "/v1/models")["data"]
    except (requests.RequestException, ValueError, KeyError, AttributeError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        what = "refuses our key (BENCHY_KEY)" if status in (401, 403) else f"does not answer: {error}"
        raise Failure(f"the server of {job.model} at {job.url} {what}", log=_serve_log(job)) from error
    if version != job.server["version"]:
        raise Failure(
            f"the server at {job.url} answers as release {version}, not {job.server['version']}",
            log=_serve_log(job),
        )
    served = [model["id"] for model in models]
    if job.server["served_model"] not in served:
        raise Failure(
            f"the server at {job.url} serves {', '.join(served)}, not {job.server['served_model']}",
            log=_serve_log(job),
        )


def _get(job: Job, path: str) -> Any:
    session = requests.Session()
    session.trust_env = False  # no proxy stands between us and our own server
    headers = {"Authorization": f"Bearer {job.key}"}
    answer = session.get(job.url + path, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


def _serve_log(job: Job) -> Path:
    return paths.LOGS / "serve" / f"{job.model}.log"
