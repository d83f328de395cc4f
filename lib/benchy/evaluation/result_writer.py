"""Makes a result document from the harness's output and publishes it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import benchy
from benchy.core import files, hashing, paths, temporary_files
from benchy.core.errors import Failure
from benchy.core.text import listed
from benchy.environments import health
from benchy.evaluation import harness, harness_output, output_checks, provenance
from benchy.evaluation import result as document
from benchy.evaluation.job import Job
from benchy.hub import local_cache, model_card
from benchy.plan import task_files


def make_result(
    job: Job,
    left: harness_output.Output,
    seen: output_checks.Facts,
    start: datetime,
    end: datetime,
    hidden: Sequence[str] = (),
) -> document.Result:
    """Return the result document.

    Args:
        job: The job.
        left: Output of the harness.
        seen: Observations of the harness's wrapper.
        start: Start of the harness.
        end: End of the harness.
        hidden: Secrets to leave out of the document.

    Raises:
        Failure: A metric is missing or not finite, the number of documents is wrong, or the harness
            did something other than the spec requests.
    """
    spec, server, data = job.spec, job.server, left.data
    samples = harness_output.check_counts(left, spec["limit"], job.run["log_samples"], job.log)
    if wrong := output_checks.differences(spec, left):
        raise Failure(
            f"{job.title}: the harness did not do what was requested; no result is written",
            f"Change {job.run['source']} to what the harness's own task file allows",
            job.log,
            wrong,
        )
    used = output_checks.shots(left)
    try:
        metrics = harness_output.metrics(data, list(samples))
        groups = harness_output.metrics(
            data, [g for g in data.get("groups", {}) if g not in samples]
        )
        empty = sorted(name for name, found in metrics.items() if not found)
        if empty:
            raise ValueError(f"{listed(empty, 5)}: no metric")
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
            lock_sha256=health.lock_sha256(server["environment"]),
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
            health.lock_sha256(harness_env),
        ),
        task=document.Task(
            name=job.task,
            task_name=spec["task"]["task_name"],
            versions={k: str(v) for k, v in sorted(data.get("versions", {}).items())},
            num_fewshot=output_checks.requested_shots(spec, used),
            shots=used,
            gen_kwargs=spec["task"]["gen_kwargs"],
            max_length=harness.max_length(spec, job.endpoint),
            files=task_files.hashes(spec["task"], job.run["include_path"], paths.ROOT),
            content=task_files.content_of(spec["task"]),
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
        benchy=benchy.__version__,
        git=provenance.git(provenance.deciding(server["spec"], job.run, spec["task"])),
        inputs=provenance.inputs(server["spec"], job.run),
        spec_sha256=hashing.of_bytes(job.spec_bytes),
        harness_output=[str(Path(job.run["subdirectory"]) / f) for f in left.files],
        metrics=metrics,
        groups=groups,
        score=score,
        checks=output_checks.of(left, seen),
    )


def _model(job: Job) -> document.Model:
    """Return the model that answered, with facts from its files."""
    asked, server = job.spec["model"], job.server
    path, name, cache = asked["path"], asked["name"], server["spec"].get("hf_cache")
    used = None
    if not path:
        used = server.get("commit") or provenance.revision_used(
            name, asked["revision"], cache, os.environ
        )
    hub = local_cache.hub_cache(cache, os.environ), local_cache.folder_name(name)
    card = model_card.of(Path(path) if path else model_card.snapshot(*hub, used))
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


def publish(job: Job, made: document.Result, left: harness_output.Output) -> None:
    """Move the harness's files in, write results.json, then delete files of an older result."""
    directory = job.target.parent
    inside = directory / job.run["subdirectory"]
    for file in left.files:
        (inside / file).parent.mkdir(parents=True, exist_ok=True)
        (left.directory / file).replace(inside / file)
    # bin/why compares with these fields and packages. If this process is killed in between, the
    # result may lack the two files, but never has those of another result.
    envs = {
        "engine": job.server["environment"],
        "harness": job.spec["task"]["harness_environment"],
    }
    packages = {part: health.packages(env) for part, env in envs.items()}
    beside = {
        "spec.json": job.spec_bytes,
        "packages.json": json.dumps(packages, sort_keys=True, indent=1).encode(),
    }
    with contextlib.ExitStack() as stack:
        for name, data in beside.items():
            stack.enter_context(temporary_files.replacing(directory / name)).write_bytes(data)
            (directory / name).unlink(missing_ok=True)
        document.write(made, job.target)
    files.not_older(job.target, [paths.result_spec(job.model, job.task, job.limit), *job.locks])
    ours = {directory / name for name in made.harness_output}
    for path in sorted(inside.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in ours:
            path.unlink()
