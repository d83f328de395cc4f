"""bin/eval: one task on one model, from a running server to results/<model>/<task>/results.json.

Reads build/specs/result/[limit-N/]<model>/<task>.json, build/specs/task/<task>.json, and what
bin/serve put into the environment (BENCHY_URL, BENCHY_KEY, BENCHY_RUN/server.json); without a
server it starts itself again under bin/serve. Writes the result and logs/eval/<model>/<task>.log.

The result's directory only ever holds a whole result: the harness writes aside, its files (whose
names carry the time, so that no two runs' are alike) are moved in, results.json is renamed last,
and only then are the files of an older result removed.
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
    check_server,
    request_fields,
    tokenized,
)
from benchy.evaluation.scored_result import Entry
from benchy.hub import tokens
from benchy.process import runner

TAG = "EVAL"


def evaluate(job: Job, step: Step) -> None:
    """Make the result. Raises Failure, ConfigError; then nothing at the target has changed."""
    check_server(job)
    check_endpoint(job)
    check_environment(job)
    hub = tokens.of(job.server["spec"])
    base = dict(os.environ) | ({"HF_TOKEN": hub} if hub else {})  # for a gated tokenizer
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
    say(TAG, f"{job.title}: {Entry(job.target, made, job.run.get('metric')).said}")


def _cache(job: Job) -> Path | None:
    """The directory of what an interrupted run of this result left, made if there is none. What
    was left by this task under another spec goes."""
    if harness.samples_answers(job.spec):
        return None
    made_by = [
        health.lock_sha256(job.server["environment"]) or "",
        *provenance.made_by(job.spec["task"]["harness_environment"]),
        hashing.sha256(harness.WRAPPER),  # prompts and answers go through its corrections
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
    """Stop if somebody has changed the harness since its environment was built: the next make
    builds it anew. Raises Failure."""
    name = job.spec["task"]["harness_environment"]
    if why := health.edited(name):
        health.condemn(name, why)
        raise Failure(f"{job.title}: {name}: {why}", f"bin/venv create {name}   builds it anew")


def check_tokenizer(job: Job, base: Mapping[str, str]) -> None:
    """Stop unless the server and the harness tokenize the probe texts alike, to the last id. Raises
    ConfigError."""
    if job.spec["chat"]:
        return  # the server tokenizes, after its chat template
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
        check_alive(job)
        if refused := output_checks.read_facts(facts).refused:
            raise ConfigError([_refusal(job, refused)]) from ended
        lines = harness_output.telling_of(job.log)
        if any(harness_output.CHAT_CANNOT in line for line in lines):
            named = job.spec["task"]["task_name"]
            raise ConfigError(
                [preflight.chat_mistake(job.server["spec"], job.task, named)]
            ) from ended
        if cache and any("sqlite3." in line for line in lines):
            shutil.rmtree(cache, ignore_errors=True)  # damaged: the next run begins afresh
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
    """That the server is still what it was before the task. Raises Failure."""
    try:
        check_endpoint(job)
    except Another:
        if cache:  # whose answers they are, nobody knows
            shutil.rmtree(cache, ignore_errors=True)
        raise
    except Failure:
        check_alive(job)
        raise


def _refusal(job: Job, refused: Mapping[str, str]) -> Mistake:
    task = f"{refused['task']}: " if refused["task"] else ""
    return Mistake(job.run["source"], 0, "", f"{task}{refused['what']}", refused["hint"])
