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
from benchy.core.errors import ConfigError, Failure
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import health
from benchy.evaluation import (
    harness,
    harness_output,
    harness_questions,
    output_checks,
    preflight,
    provenance,
    result_writer,
    task_checks,
    tokenizer_checks,
)
from benchy.evaluation.harness import RunFiles
from benchy.evaluation.job import (
    Another,
    EvaluationJob,
    asker,
    check_alive,
    check_endpoint,
    check_not_dying,
    check_server,
    request_fields,
    tokenized,
)
from benchy.evaluation.result_writer import FinishedRun
from benchy.evaluation.scored_result import ScoredResult
from benchy.hub import tokens
from benchy.process import runner

TAG = "EVAL"


def evaluate(job: EvaluationJob, step: Step) -> None:
    """Make the result. Raises Failure or ConfigError, and then leaves the target unchanged."""
    check_server(job)
    check_endpoint(job)
    check_environment(job)
    hub = tokens.of(job.server["spec"])
    base = dict(os.environ) | ({"HF_TOKEN": hub} if hub else {})  # a tokenizer may be gated
    if wrong := preflight.mistakes(job.specs, job.endpoint.files, base):
        raise ConfigError(wrong)
    check_tokenizer(job, base)
    cache = _cache(job)
    directory = job.target.parent
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_files.aside(directory)
    aside.mkdir()
    facts = (cache or aside) / "facts.jsonl"
    try:
        files = RunFiles(aside / "output", aside / "settings.json", facts, cache)
        run = run_harness(job, step, files, base)
        made = result_writer.make_result(job, run, hidden=[job.key, hub])
        result_writer.publish(job, made, run.output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(job.cache, ignore_errors=True)
    say(TAG, f"{job.title}: {ScoredResult(job.target, made, job.run['metric']).summary}")


def run_harness(
    job: EvaluationJob, step: Step, files: RunFiles, base: Mapping[str, str]
) -> FinishedRun:
    """Run the harness and return what it produced. Raises Failure, ConfigError.

    Args:
        job: The job.
        step: The step that shows its progress.
        files: The files of the run.
        base: Environment variables to build the harness's from.
    """
    output_checks.forget_refusals(files.facts)
    client = asker(job)
    settings = harness.settings(
        job.spec,
        files.facts,
        request_fields(job),
        (client.address, client.port),
        job.server["guardian"],
    )
    temporary_files.write(files.settings, json.dumps(settings))
    env = harness.environment(job.spec, job.run, job.server["spec"], files.cache, base)
    command = harness.command(job.spec, job.run, job.endpoint, files)
    start = datetime.now(timezone.utc)
    _run(job, step, command, env, files)
    end = datetime.now(timezone.utc)
    _check_end(job, files.cache)
    output = harness_output.read_output(files.output, job.log)
    return FinishedRun(output, output_checks.read_facts(files.facts), start, end)


def _cache(job: EvaluationJob) -> Path | None:
    """Return the directory that keeps the answers of an interrupted run, created if missing.

    Deletes leftovers from other specs of this task. Returns None if answers are sampled.
    """
    if harness.samples_answers(job.spec):
        return None
    made_by = [
        health.lock_sha256(job.server["environment"]) or "",
        *provenance.made_by(job.spec["task"]["harness_environment"]),
        *map(hashing.sha256, harness.WRAPPER_FILES),
        job.server["version"],
        # The spec of a model of the hub says only which files were requested.
        *filter(None, [job.server["commit"], job.server.get("folder")]),
    ]
    args = harness.model_args(job.spec, job.run, job.endpoint)
    cache = job.cache / harness.cache_digest(job.spec_bytes, args, made_by)
    for other in job.cache.glob("*"):
        if other != cache:
            shutil.rmtree(other, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def check_environment(job: EvaluationJob) -> None:
    """Raise Failure if the harness's files were edited after its environment was built.

    Marks the environment as broken, so that the next make rebuilds it.
    """
    name = job.spec["task"]["harness_environment"]
    if why := health.condemn(name, health.edited):
        raise Failure(f"{job.title}: {name}: {why}", f"bin/venv create {name}   rebuilds it")


def check_tokenizer(job: EvaluationJob, base: Mapping[str, str]) -> None:
    """Raise ConfigError unless server and harness tokenize the probe texts to the same ids."""
    if job.spec["chat"]:
        return  # the server applies its chat template and tokenizes
    if harness_questions.needs_tokenizer(job.spec):
        env = harness.environment(job.spec, job.run, job.server["spec"], None, base)
        facts = harness_questions.tokenizer_facts(job.spec, job.endpoint.files, env)
        if not facts:
            return
        for special, probes in ((False, facts["plain"]), (True, facts["special"])):
            for text, ours in zip(harness_questions.PROBE, probes, strict=True):
                theirs = tokenized(job, text, special)
                if theirs is not None and theirs != ours:
                    wrong = tokenizer_checks.difference(job.run, text, ours, theirs)
                    raise ConfigError([wrong])
    elif job.spec["task"]["tokenizer_backend"] == "none":
        plain, with_specials = (tokenized(job, "word", special) for special in (False, True))
        if plain and with_specials and with_specials[-len(plain) :] != plain:
            raise ConfigError([tokenizer_checks.appended(job.run, with_specials[-1])])


def _run(
    job: EvaluationJob, step: Step, command: list[str], env: dict[str, str], files: RunFiles
) -> None:
    """Run a command of the harness to its end. Raises Failure, ConfigError."""
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
        lines = harness_output.significant_lines_of(job.log)
        refused = output_checks.read_facts(files.facts).refused
        if not refused and files.cache and any("sqlite3." in line for line in lines):
            shutil.rmtree(files.cache, ignore_errors=True)  # damaged: the next run starts over
        raise explained(job, ended, refused, lines) from ended
    except OSError as error:
        env_name = job.spec["task"]["harness_environment"]
        raise Failure(
            f"{job.title}: the harness cannot be started: {error}", f"bin/venv create {env_name}"
        ) from error


def explained(
    job: EvaluationJob, ended: runner.Ended, refused: Mapping[str, str] | None, lines: list[str]
) -> Failure | ConfigError:
    """Return why a run of the harness failed.

    Args:
        job: The job.
        ended: How the harness ended.
        refused: Why the wrapper refused the task, or None.
        lines: Lines of the harness's log that explain the failure.
    """
    if refused:
        return ConfigError([task_checks.refusal(job.run["source"], refused)])
    if any(harness_output.CHAT_CANNOT in line for line in lines):
        subtasks = job.spec["task"]["task_name"]
        return ConfigError([task_checks.chat_mistake(job.server["spec"], job.task, subtasks)])
    killed = ended.status == -signal.SIGKILL
    hint = "Another process killed it; out of memory? (dmesg, free -h)\n" if killed else ""
    return Failure(
        f"{job.title}: the harness {ended.words()}",
        f"{hint}Run it alone: bin/serve {job.model} -- bin/eval {job.model} {job.task}",
        job.log,
        lines,
    )


def _check_end(job: EvaluationJob, cache: Path | None) -> None:
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
