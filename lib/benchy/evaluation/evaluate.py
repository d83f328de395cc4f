"""bin/eval: runs one task on one running server and writes results/<model>/<task>/results.json.

Reads build/specs/result/[limit-N/]<model>/<task>.json, build/specs/task/<task>.json, and what
bin/serve provides (BENCHY_URL, BENCHY_KEY, BENCHY_RUN/server.json). Without a server, it restarts
itself under bin/serve. Writes the result and logs/eval/<model>/<task>.log.

The result's directory always holds a complete result. The harness writes to a temporary directory;
its files are moved in (their names contain the time, so they never clash), results.json is renamed
last, and then the files of the previous result are removed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from benchy.core import hashing, temporary_files
from benchy.core.errors import ConfigError, Failure, Mistake
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import health
from benchy.evaluation import (
    harness,
    harness_output,
    output_checks,
    preflight,
    provenance,
    result_writer,
)
from benchy.evaluation.job import (
    Another,
    Job,
    asker,
    check_alive,
    check_endpoint,
    check_not_dying,
    check_server,
    request_fields,
    tokenized,
)
from benchy.evaluation.scored_result import Entry
from benchy.hub import tokens
from benchy.process import runner

TAG = "EVAL"


def evaluate(job: Job, step: Step) -> None:
    """Make the result. Raises Failure or ConfigError, and then leaves the target unchanged."""
    check_server(job)
    check_endpoint(job)
    check_environment(job)
    hub = tokens.of(job.server["spec"])
    base = dict(os.environ) | ({"HF_TOKEN": hub} if hub else {})  # a tokenizer may be gated
    if wrong := _preflight(job, base):
        raise ConfigError(wrong)
    check_tokenizer(job, base)
    cache = _cache(job)
    env = harness.environment(job.spec, job.run, job.server["spec"], cache, base)
    directory = job.target.parent
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_files.aside(directory)
    aside.mkdir()
    written, settings = aside / "output", aside / "settings.json"
    facts = (cache or aside) / "facts.jsonl"
    try:
        output_checks.forget_refusals(facts)
        where, guardian = asker(job), job.server["guardian"]
        told = harness.settings(
            job.spec, facts, request_fields(job), (where.address, where.port), guardian
        )
        temporary_files.write(settings, json.dumps(told))
        start = datetime.now(timezone.utc)
        command = harness.command(job.spec, job.run, job.endpoint, written, cache, settings)
        _run(job, step, command, env, cache, facts)
        end = datetime.now(timezone.utc)
        _check_end(job, cache)
        left = harness_output.read_output(written, job.log)
        seen = output_checks.read_facts(facts)
        made = result_writer.make_result(job, left, seen, start, end, hidden=[job.key, hub])
        result_writer.publish(job, made, left)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(job.cache, ignore_errors=True)
    say(TAG, f"{job.title}: {Entry(job.target, made, job.run['metric']).said}")


def _cache(job: Job) -> Path | None:
    """Return the directory that keeps the answers of an interrupted run, created if missing.

    Deletes leftovers from other specs of this task. Returns None if answers are sampled.
    """
    if harness.samples_answers(job.spec):
        return None
    made_by = [
        health.lock_sha256(job.server["environment"]) or "",
        *provenance.made_by(job.spec["task"]["harness_environment"]),
        hashing.sha256(harness.WRAPPER),  # it corrects prompts and answers
        job.server["version"],
    ]
    args = harness.model_args(job.spec, job.run, job.endpoint)
    cache = job.cache / harness.cache_digest(job.spec_bytes, args, made_by)
    for other in job.cache.glob("*"):
        if other != cache:
            shutil.rmtree(other, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _preflight(job: Job, base: Mapping[str, str]) -> list[Mistake]:
    return preflight.mistakes(job.server["spec"], job.spec, job.run, job.endpoint.commit, base)


def check_environment(job: Job) -> None:
    """Raise Failure if the harness's files were edited after its environment was built.

    Marks the environment as broken, so that the next make rebuilds it.
    """
    name = job.spec["task"]["harness_environment"]
    if why := health.edited(name):
        health.condemn(name, why)
        raise Failure(f"{job.title}: {name}: {why}", f"bin/venv create {name}   builds it anew")


def check_tokenizer(job: Job, base: Mapping[str, str]) -> None:
    """Raise ConfigError unless server and harness tokenize the probe texts to the same ids."""
    if job.spec["chat"]:
        return  # the server applies its chat template and tokenizes
    if preflight.needs_tokenizer(job.spec):
        env = harness.environment(job.spec, job.run, job.server["spec"], None, base)
        ours = preflight.tokenizer_facts(job.spec, job.endpoint.commit, env)
        if not ours:
            return
        for special, ids in ((False, ours["plain"]), (True, ours["special"])):
            for text, wanted in zip(preflight.PROBE, ids, strict=True):
                found = tokenized(job, text, special)
                if found is not None and found != wanted:
                    raise ConfigError([preflight.tokenizer_differs(job.run, text, wanted, found)])
    elif job.spec["task"]["tokenizer_backend"] == "none":
        plain, whole = (tokenized(job, "word", special) for special in (False, True))
        if plain and whole and whole[-len(plain) :] != plain:
            raise ConfigError([preflight.ends_prompts(job.run, whole[-1])])


def _run(
    job: Job,
    step: Step,
    command: list[str],
    env: dict[str, str],
    cache: Path | None,
    facts: Path,
) -> None:
    try:
        runner.run(
            command,
            env,
            job.log,
            step=step,
            progress=harness_output.progress,
            check=lambda: check_alive(job),
            timeout=job.run["timeout"],
            stall=job.run["stall_timeout"],
        )
    except runner.Ended as ended:
        check_not_dying(job)
        if refused := output_checks.read_facts(facts).refused:
            raise ConfigError([_refusal(job, refused)]) from ended
        lines = harness_output.telling_of(job.log)
        if any(harness_output.CHAT_CANNOT in line for line in lines):
            named = job.spec["task"]["task_name"]
            raise ConfigError(
                [preflight.chat_mistake(job.server["spec"], job.task, named)]
            ) from ended
        if cache and any("sqlite3." in line for line in lines):
            shutil.rmtree(cache, ignore_errors=True)  # damaged: the next run starts over
        hint = (
            "Something else killed it; out of memory? (dmesg, free -h)\n"
            if ended.status == -signal.SIGKILL
            else ""
        )
        raise Failure(
            f"{job.title}: the harness {ended.words()}",
            f"{hint}Try it alone: bin/serve {job.model} -- bin/eval {job.model} {job.task}",
            job.log,
            lines,
        ) from ended
    except OSError as error:
        env_name = job.spec["task"]["harness_environment"]
        raise Failure(
            f"{job.title}: the harness cannot be started: {error}", f"bin/venv create {env_name}"
        ) from error


def _check_end(job: Job, cache: Path | None) -> None:
    """Raise Failure if the server is not the one that answered before the task."""
    try:
        check_endpoint(job)
    except Another:
        if cache:  # another server may have given these answers
            shutil.rmtree(cache, ignore_errors=True)
        raise
    except Failure:
        check_alive(job)
        raise


def _refusal(job: Job, refused: Mapping[str, str]) -> Mistake:
    task = f"{refused['task']}: " if refused["task"] else ""
    return Mistake(job.run["source"], 0, "", f"{task}{refused['what']}", refused["hint"])
