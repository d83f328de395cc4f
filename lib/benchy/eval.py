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
import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from benchy import (
    board,
    checks,
    child,
    content,
    harness,
    health,
    hubtoken,
    modelcard,
    order,
    output,
    paths,
    preflight,
    provenance,
    taskfiles,
    temporary,
    usage,
)
from benchy import result as document
from benchy.entries import Entry
from benchy.errors import ConfigError, Failure, Mistake, UsageError, say
from benchy.job import (
    Another,
    Job,
    asker,
    check_alive,
    check_endpoint,
    check_server,
    load,
    request_fields,
    tokenized,
)
from benchy.progress import Step
from benchy.signals import end_once

TAG = "EVAL"


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
        os.execv(serve[0], serve)  # noqa: S606
    # Between bin/serve and us stands make, which may be killed without a word to us.
    child.die_with_parent()
    end_once()
    job = load(args.model, args.task, args.limit)
    with _only_one(job) as waited:
        if waited and _made_since(job, waited):
            say(TAG, f"{job.title}: made by another run")
        else:
            name = board.name(job.model, job.task, job.limit)
            with (
                Step(TAG, job.title, "task", name, board.RUNNING) as step,
                usage.used(job.spec["task"]["harness_environment"]),
            ):
                evaluate(job, step)
    return 0


@contextmanager
def _only_one(job: Job) -> Iterator[float | None]:
    """Let one process at a time make this result; yields when we began to wait (time.time()), or
    None if nobody else was at it."""
    path = paths.RUN / f"eval-{paths.limit_dir(job.limit) or 'whole'}-{job.model}-{job.task}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:  # close-on-exec: the harness does not inherit it
        waited = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.time()
            say(TAG, f"{job.title}: another run is making it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


def _made_since(job: Job, since: float) -> bool:
    try:
        fresh = job.target.stat().st_mtime >= since
        spec = hashlib.sha256(job.spec_bytes).hexdigest()
        return fresh and document.read(job.target).spec_sha256 == spec
    except (OSError, Failure):
        return False


def evaluate(job: Job, step: Step) -> None:
    """Make the result. Raises Failure, ConfigError; then nothing at the target has changed."""
    check_server(job)
    check_endpoint(job)
    check_environment(job)
    hub = hubtoken.of(job.server["spec"])
    base = dict(os.environ) | ({"HF_TOKEN": hub} if hub else {})  # for a gated tokenizer
    if wrong := _preflight(job, base):
        raise ConfigError(wrong)
    check_tokenizer(job, base)
    cache = _cache(job)
    env = harness.environment(job.spec, job.run, job.server["spec"], cache, base)
    directory = job.target.parent
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary.aside(directory)
    aside.mkdir()
    written, settings = aside / "output", aside / "settings.json"
    facts = (cache or aside) / "facts.jsonl"
    try:
        checks.forget_refusals(facts)
        where, guardian = asker(job), job.server["guardian"]
        told = harness.settings(
            job.spec, facts, request_fields(job), (where.address, where.port), guardian
        )
        temporary.write(settings, json.dumps(told))
        start = datetime.now(timezone.utc)
        command = harness.command(job.spec, job.run, job.endpoint, written, cache, settings)
        _run(job, step, command, env, cache, facts)
        end = datetime.now(timezone.utc)
        _check_end(job, cache)
        left = output.read_output(written, job.log)
        seen = checks.read_facts(facts)
        made = make_result(job, left, seen, start, end, hidden=[job.key, hub])
        publish(job, made, left)
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
        provenance.lock_sha256(job.server["environment"]) or "",
        *provenance.made_by(job.spec["task"]["harness_environment"]),
        content.sha256(harness.WRAPPER),  # prompts and answers go through its corrections
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
        child.run(
            command,
            env,
            job.log,
            step=step,
            progress=output.progress,
            check=lambda: check_alive(job),
            timeout=job.run["timeout"],
            stall=job.run["stall_timeout"],
        )
    except child.Ended as ended:
        check_alive(job)
        if refused := checks.read_facts(facts).refused:
            raise ConfigError([_refusal(job, refused)]) from ended
        lines = output.telling_of(job.log)
        if any(output.CHAT_CANNOT in line for line in lines):
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


def make_result(
    job: Job,
    left: output.Output,
    seen: checks.Facts,
    start: datetime,
    end: datetime,
    hidden: Sequence[str] = (),
) -> document.Result:
    """The result document. seen: what the wrapper of the harness observed. hidden: secrets, which
    it does not show. Raises Failure on a metric that is missing or no finite number, on fewer
    documents than the task has, and where the harness did something else than the spec says."""
    spec, server, data = job.spec, job.server, left.data
    samples = output.check_counts(left, spec["limit"], job.run["log_samples"], job.log)
    if wrong := checks.differences(spec, left):
        raise Failure(
            f"{job.title}: the harness did not do what was requested; no result is written",
            f"Change {job.run['source']} to what the harness's own task file allows",
            job.log,
            wrong,
        )
    used = checks.shots(left)
    try:
        metrics = output.metrics(data, list(samples))
        groups = output.metrics(data, [g for g in data.get("groups", {}) if g not in samples])
        empty = sorted(name for name, found in metrics.items() if not found)
        if empty:
            raise ValueError(f"{', '.join(empty[:5])}: no metric")
        score = document.main_score(spec["task"]["task_name"], metrics, groups)
    except ValueError as error:
        raise Failure(f"{job.title}: {error}; no result is written", log=job.log) from error
    fallback = server["spec"]["fallback"]
    harness_env = spec["task"]["harness_environment"]
    return document.Result(
        schema=document.SCHEMA,
        model=_model(job),
        engine=document.Engine(
            name=server["spec"]["engine"],
            package=server["package"],
            asked=fallback["version"] if fallback else spec["engine"]["version"],
            answered=server["version"],
            environment=server["environment"],
            lock_sha256=provenance.lock_sha256(server["environment"]),
            dtype=server.get("dtype"),
        ),
        fallback=bool(fallback),
        fallback_reason=document.FallbackReason(
            fallback["environment"], fallback["version"], str(fallback.get("error", ""))
        )
        if fallback
        else None,
        harness=document.Harness(
            "lm_eval",
            str(data.get("lm_eval_version")),
            harness_env,
            provenance.lock_sha256(harness_env),
        ),
        task=document.Task(
            name=job.task,
            task_name=spec["task"]["task_name"],
            versions={k: str(v) for k, v in sorted(data.get("versions", {}).items())},
            num_fewshot=checks.requested_shots(spec, used),
            shots=used,
            gen_kwargs=spec["task"]["gen_kwargs"],
            max_length=harness.max_length(spec, job.endpoint),
            files=taskfiles.hashes(spec["task"], job.run["include_path"], paths.ROOT),
            content=taskfiles.content_of(spec["task"]),
        ),
        limit=spec["limit"],
        seed=spec["task"]["seed"],
        chat=spec["chat"],
        gpus=server["gpus"],
        nodes=server.get("nodes", 1),
        source=server["spec"].get("source"),
        set=" ".join(provenance.without_secrets(server["spec"].get("set", "").split(), hidden)),
        arguments=provenance.without_secrets(server["arguments"], hidden),
        options=spec["options"],
        variables=provenance.public(server["variables"]),
        times=document.Times(
            (server.get("seconds_to_ready") or {}).get("total"),
            start.isoformat(timespec="seconds"),
            end.isoformat(timespec="seconds"),
            math.ceil((end - start).total_seconds() * 10) / 10,
        ),
        counts=document.Counts(samples, left.requests),
        git=provenance.git(provenance.deciding(server["spec"], job.run, spec["task"])),
        inputs=provenance.inputs(server["spec"], job.run),
        spec_sha256=hashlib.sha256(job.spec_bytes).hexdigest(),
        harness_output=[str(Path(job.run["subdirectory"]) / f) for f in left.files],
        metrics=metrics,
        groups=groups,
        score=score,
        checks=checks.of(left, seen),
    )


def _model(job: Job) -> document.Model:
    """Which model answered, and what its files say of it."""
    asked, server = job.spec["model"], job.server
    path, name, cache = asked["path"], asked["name"], server["spec"].get("hf_cache")
    used = None
    if not path:
        used = server.get("commit") or provenance.revision_used(
            name, asked["revision"], cache, os.environ
        )
    hub = order.hub_cache(cache, os.environ), order.folder_name(name)
    card = modelcard.of(Path(path) if path else modelcard.snapshot(*hub, used))
    return document.Model(
        config=job.model,
        name=name,
        path=path,
        revision=asked["revision"],
        revision_used=used,
        digest=provenance.digest(Path(path)) if path and Path(path).is_dir() else None,
        parameters=card.parameters,
        dtype=card.dtype,
        license=card.license,
    )


def publish(job: Job, made: document.Result, left: output.Output) -> None:
    """Move the harness's files in, then results.json, then drop what belonged to an older one."""
    directory = job.target.parent
    inside = directory / job.run["subdirectory"]
    for file in left.files:
        (inside / file).parent.mkdir(parents=True, exist_ok=True)
        (left.directory / file).replace(inside / file)
    # What it was made from, field by field and package by package: bin/why compares with it. Killed
    # in between, a result may lack them, but never has another's beside it.
    envs = {
        "engine": job.server["environment"],
        "harness": job.spec["task"]["harness_environment"],
    }
    packages = {part: provenance.packages(env) for part, env in envs.items()}
    beside = {
        "spec.json": job.spec_bytes,
        "packages.json": json.dumps(packages, sort_keys=True, indent=1).encode(),
    }
    with contextlib.ExitStack() as stack:
        for name, data in beside.items():
            stack.enter_context(temporary.replacing(directory / name)).write_bytes(data)
            (directory / name).unlink(missing_ok=True)
        document.write(made, job.target)
    content.not_older(job.target, [paths.result_spec(job.model, job.task, job.limit), *job.locks])
    ours = {directory / name for name in made.harness_output}
    for path in sorted(inside.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in ours:
            path.unlink()
