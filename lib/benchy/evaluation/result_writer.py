"""Makes a result document from a finished run of the harness and publishes it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import benchy
from benchy.core import files, hashing, paths, temporary_files
from benchy.core.errors import Failure
from benchy.core.specs import Fallback
from benchy.core.text import listed
from benchy.environments import health
from benchy.evaluation import harness, harness_metrics, harness_output, output_checks, provenance
from benchy.evaluation import result as document
from benchy.evaluation.job import EvaluationJob
from benchy.hub import local_cache, model_card
from benchy.plan import task_files


@dataclass(frozen=True)
class FinishedRun:
    """What a run of the harness produced.

    Attributes:
        output: Output of the harness.
        facts: Observations of the harness's wrapper.
        start: Start of the harness.
        end: End of the harness.
    """

    output: harness_output.Output
    facts: output_checks.Observations
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Numbers:
    """The numbers of a result: metrics of tasks and of groups, and the score for a table."""

    metrics: dict[str, dict[str, document.Metric]]
    groups: dict[str, dict[str, document.Metric]]
    score: document.Score


def make_result(
    job: EvaluationJob, run: FinishedRun, hidden: Sequence[str] = ()
) -> document.Result:
    """Check a finished run and return its result document.

    Args:
        job: The job.
        run: The finished run.
        hidden: Secrets to leave out of the document.

    Raises:
        Failure: A metric is missing or not finite, the number of documents is wrong, or the harness
            did something other than the spec requests.
    """
    spec, server, output = job.spec, job.server, run.output
    samples = check(job, output)
    try:
        measured = numbers(output.data, samples, spec["task"]["task_name"])
    except ValueError as error:
        raise Failure(f"{job.title}: {error}; no result is written", log=job.log) from error
    fallback = server["spec"]["fallback"]
    return document.Result(
        schema=document.SCHEMA,
        model=_model(job),
        engine=_engine(job),
        fallback=bool(fallback),
        fallback_reason=fallback_reason(fallback),
        harness=_harness(job, output),
        task=_task(job, output),
        limit=spec["limit"],
        seed=spec["task"]["seed"],
        chat=spec["chat"],
        gpus=server["gpus"],
        nodes=server.get("nodes", 1),
        source=server["spec"]["source"],
        set=" ".join(provenance.without_secrets(server["spec"].get("set", "").split(), hidden)),
        arguments=provenance.without_secrets(server["arguments"], hidden),
        options=spec["options"],
        variables=provenance.public(server["variables"]),
        times=times(server["seconds_to_ready"], run.start, run.end),
        counts=document.Counts(samples, output.requests),
        benchy=benchy.__version__,
        git=provenance.git(provenance.deciding(server["spec"], job.run, spec["task"])),
        inputs=provenance.inputs(server["spec"], job.run),
        spec_sha256=hashing.of_bytes(job.spec_bytes),
        harness_output=[str(Path(job.run["subdirectory"]) / file) for file in output.files],
        metrics=measured.metrics,
        groups=measured.groups,
        score=measured.score,
        checks=output_checks.of(output, run.facts),
    )


def check(job: EvaluationJob, output: harness_output.Output) -> dict[str, int]:
    """Return the number of documents evaluated for each task of the harness.

    Raises Failure if it is wrong, or if the harness did something other than the spec requests.
    """
    samples = harness_output.check_counts(
        output, job.spec["limit"], job.run["log_samples"], job.log
    )
    if wrong := output_checks.differences(job.spec, output):
        raise Failure(
            f"{job.title}: the harness did not do what was requested; no result is written",
            f"Change {job.run['source']} to what the harness's own task file allows",
            job.log,
            wrong,
        )
    return samples


def numbers(data: Mapping[str, Any], samples: Mapping[str, int], requested: list[str]) -> Numbers:
    """Return the numbers in the harness's results file.

    Args:
        data: Content of the results file.
        samples: Number of documents evaluated for each task.
        requested: Requested names in the harness, in the order of the task file.

    Raises:
        ValueError: A task has no metric, or a metric is not a finite number.
    """
    metrics = harness_output.metrics(data, list(samples))
    groups = harness_output.metrics(data, [g for g in data.get("groups", {}) if g not in samples])
    without = sorted(name for name, values in metrics.items() if not values)
    if without:
        raise ValueError(f"{listed(without, 5)}: no metric")
    return Numbers(metrics, groups, harness_metrics.main_score(requested, metrics, groups))


def fallback_reason(fallback: Fallback | None) -> document.FallbackReason | None:
    """Return why another environment than the requested one was used. None if it was not."""
    if not fallback:
        return None
    return document.FallbackReason(fallback["environment"], fallback["version"], fallback["error"])


def times(ready: Mapping[str, float], start: datetime, end: datetime) -> document.Times:
    """Return the times of a result. `ready` is the server's seconds_to_ready.

    The duration is rounded up to tenths of a second, so that it is never 0.
    """
    return document.Times(
        ready.get("total"),
        start.isoformat(timespec="seconds"),
        end.isoformat(timespec="seconds"),
        math.ceil((end - start).total_seconds() * 10) / 10,
    )


def _model(job: EvaluationJob) -> document.ModelRecord:
    """Return the model that answered, with facts from its files."""
    requested, server = job.spec["model"], job.server
    path, name, cache = requested["path"], requested["name"], server["spec"]["hf_cache"]
    used, package = None, None
    if server.get("folder"):
        path, package = server["folder"], requested["package"]
    elif not path:
        used = server["commit"] or provenance.revision_used(
            name, requested["revision"], cache, os.environ
        )
    hub = local_cache.hub_cache(cache, os.environ), local_cache.folder_name(name)
    card = model_card.of(Path(path) if path else model_card.snapshot(*hub, used))
    return document.ModelRecord(
        config=job.model,
        name=name,
        path=requested["path"],
        revision=requested["revision"],
        revision_used=used,
        digest=provenance.digest(Path(path)) if path and Path(path).is_dir() else None,
        parameters=card.parameters,
        dtype=card.dtype,
        license=card.license,
        package=f"{package['name']} {package['version']}" if package else None,
    )


def _engine(job: EvaluationJob) -> document.EngineRecord:
    server = job.server
    fallback = server["spec"]["fallback"]
    return document.EngineRecord(
        name=server["spec"]["engine"],
        package=server["package"],
        asked=fallback["version"] if fallback else job.spec["engine"]["version"],
        answered=server["version"],
        environment=server["environment"],
        lock_sha256=health.lock_sha256(server["environment"]),
        dtype=server["dtype"],
    )


def _harness(job: EvaluationJob, output: harness_output.Output) -> document.HarnessRecord:
    environment = job.spec["task"]["harness_environment"]
    release = str(output.data.get("lm_eval_version"))
    return document.HarnessRecord("lm_eval", release, environment, health.lock_sha256(environment))


def _task(job: EvaluationJob, output: harness_output.Output) -> document.TaskRecord:
    spec = job.spec
    task, shots = spec["task"], output_checks.shots(output)
    return document.TaskRecord(
        name=job.task,
        task_name=task["task_name"],
        versions={k: str(v) for k, v in sorted(output.data.get("versions", {}).items())},
        num_fewshot=output_checks.requested_shots(spec, shots),
        shots=shots,
        gen_kwargs=task["gen_kwargs"],
        max_length=harness.max_length(spec, job.endpoint),
        files=task_files.hashes(task, job.run["include_path"], paths.ROOT),
        content=task_files.content_of(task),
    )


def publish(job: EvaluationJob, made: document.Result, output: harness_output.Output) -> None:
    """Move the harness's files in, write results.json, then delete files of an older result."""
    inside = job.target.parent / job.run["subdirectory"]
    for file in output.files:
        (inside / file).parent.mkdir(parents=True, exist_ok=True)
        (output.directory / file).replace(inside / file)
    _write(job, made)
    _delete_others(inside, {job.target.parent / name for name in made.harness_output})


def _write(job: EvaluationJob, made: document.Result) -> None:
    """Write spec.json, packages.json and results.json.

    bin/why compares with the first two. If this process is killed in between, the result may lack
    them, but never has those of another result.
    """
    environments = {
        "engine": job.server["environment"],
        "harness": job.spec["task"]["harness_environment"],
    }
    packages = {part: health.packages(name) for part, name in environments.items()}
    companions = {
        "spec.json": job.spec_bytes,
        "packages.json": json.dumps(packages, sort_keys=True, indent=1).encode(),
    }
    directory = job.target.parent
    with contextlib.ExitStack() as stack:
        for name, data in companions.items():
            stack.enter_context(temporary_files.replacing(directory / name)).write_bytes(data)
            (directory / name).unlink(missing_ok=True)
        document.write(made, job.target)
    files.not_older(job.target, [paths.result_spec(job.model, job.task, job.limit), *job.locks])


def _delete_others(directory: Path, keep: set[Path]) -> None:
    """Delete all other files below a directory, and directories that are empty."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in keep:
            path.unlink()
