"""The result document: results/<model>/<task>/results.json.

One frozen dataclass for each part; the file is their JSON, keys sorted. Whoever holds only this
file can tell exactly what produced it. A field is None where it is not known, never guessed.
Reading ignores keys that it does not know, and refuses what lacks one or has a wrong type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchy.core import temporary_files
from benchy.core.errors import Failure

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1


@dataclass(frozen=True)
class Model:
    """config: the model's name in benchy; name: what was served (a hub name), or path: a local
    directory. revision: what was asked for; revision_used: the commit of the hub's snapshot in the
    cache; digest: of the local directory's files (see provenance.digest). parameters, dtype (of
    the weights), license: what its files say (see modelcard.ModelCard)."""

    config: str
    name: str
    path: str | None
    revision: str | None
    revision_used: str | None
    digest: str | None
    parameters: int | None = None
    dtype: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Engine:
    """asked: the release that the configuration names (None: the main environment's,
    or whatever release a source of one's own is).
    answered: what /version said. lock_sha256: of the environment's lock. dtype: what the engine
    computed in, by its own log."""

    name: str
    package: str
    asked: str | None
    answered: str
    environment: str
    lock_sha256: str | None
    dtype: str | None = None


@dataclass(frozen=True)
class FallbackReason:
    """The environment that should have been used, its release, and why it could not be built."""

    environment: str
    version: str | None
    error: str


@dataclass(frozen=True)
class Harness:
    name: str
    version: str
    environment: str
    lock_sha256: str | None


@dataclass(frozen=True)
class Task:
    """name: in benchy; task_name: in the harness; versions: of each task and group there.
    num_fewshot: as requested, None where nothing was requested or not every subtask obeyed; shots:
    the number that each subtask of the harness used. gen_kwargs: as requested ({}: each task's
    own); files: sha256 of each file that it is made of; content: a digest of what these say, "" for
    none, None in results of an older benchy, whose files are all those of its folder."""

    name: str
    task_name: list[str]
    versions: dict[str, str]
    num_fewshot: int | None
    gen_kwargs: dict[str, Any]
    max_length: int
    files: dict[str, str]
    shots: dict[str, int] = field(default_factory=dict)
    content: str | None = None


@dataclass(frozen=True)
class Times:
    """start, end: of the harness, ISO 8601, UTC. Seconds; server_ready: from start to ready."""

    server_ready_seconds: float | None
    start: str
    end: str
    seconds: float


@dataclass(frozen=True)
class Counts:
    """samples: documents evaluated, for each task of the harness. requests: what the model was
    asked, None if samples were not logged."""

    samples: dict[str, int]
    requests: int | None


@dataclass(frozen=True)
class Checks:
    """What was seen of the prompts and answers of one subtask of the harness. A number is None
    where it is not known.

    prompts: documents asked. truncated: prompts of which the left end was cut off to fit the
    context. leaked: few-shot prompts that hold their own question with its answer. answers:
    generated texts; empty: of these, empty or blank ones; null: of these, ones for which the
    server gave no text at all.
    """

    prompts: int
    truncated: int | None = None
    leaked: int | None = None
    answers: int = 0
    empty: int = 0
    null: int | None = None


@dataclass(frozen=True)
class Git:
    """benchy's own checkout; None where it is none. dirty: tracked files differ from the commit, or
    one of the files that decided this result is not in it. untracked: those files: they are new,
    ignored, or outside the checkout."""

    commit: str | None
    dirty: bool | None
    untracked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Metric:
    """stderr: None where the harness gives none."""

    value: float
    stderr: float | None
    higher_is_better: bool | None


@dataclass(frozen=True)
class Score:
    """The one number for a table. of: how it was made, in words ("benchy_smoke", or "mean of 6
    tasks"); metric: the harness's name with its filter ("acc,none")."""

    of: str
    metric: str
    value: float
    stderr: float | None
    higher_is_better: bool | None


@dataclass(frozen=True)
class Result:
    """schema: 1. options, variables: those that can change an answer. arguments: the server's whole
    command line, without secrets. gpus: their indices, or "cpu"; on the first of `nodes` nodes.
    harness_output: files beside this one, as the harness wrote them. spec_sha256: of the result
    spec's bytes. source: the config's file, relative to the checkout where it lies in it; set: what
    SET said over it, without secrets. metrics, groups: task or group → "metric,filter" → numbers.
    checks: subtask → what was seen of its prompts and answers. inputs: sha256 of each configuration
    file that decided the result, by its path. benchy: its version.
    """

    schema: int
    model: Model
    engine: Engine
    fallback: bool
    fallback_reason: FallbackReason | None
    harness: Harness
    task: Task
    limit: int | None
    seed: int
    chat: bool
    gpus: list[int | str] | str
    arguments: list[str]
    options: dict[str, Any]
    variables: dict[str, str]
    times: Times
    counts: Counts
    git: Git
    spec_sha256: str
    harness_output: list[str]
    metrics: dict[str, dict[str, Metric]]
    groups: dict[str, dict[str, Metric]]
    score: Score
    nodes: int = 1
    source: str | None = None
    set: str = ""
    checks: dict[str, Checks] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    benchy: str | None = None


@cache
def _adapter() -> TypeAdapter[Result]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - a third of the start of who reads none

    return TypeAdapter(Result)


def read(path: Path) -> Result:
    """Raises Failure, naming the file and what is wrong with it."""
    try:
        return _adapter().validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # pydantic's ValidationError
        first = error.errors()[0]  # type: ignore[attr-defined]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise Failure(
            f"{path} is damaged: {what}", f"Delete it; the next run makes it anew: rm {path}"
        ) from error


def dump(result: Result) -> str:
    """The file's text. Raises ValueError on a number that JSON does not have (NaN)."""
    text = json.dumps(asdict(result), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write(result: Result, path: Path) -> None:
    """Write path in one rename; its bytes are on the disk before its name is."""
    temporary_files.write(path, dump(result), sync=True)


_ABOUT = ("alias", "name", "sample_len", "sample_count", "samples")


def metrics_of(entry: Mapping[str, Any], better: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics of one task or group in the harness's "results". better: its entry in
    "higher_is_better". Keys are "metric,filter"; "metric_stderr,filter" belongs to them.
    Raises ValueError, naming the metric, on a value that is no finite number."""
    found: dict[str, Metric] = {}
    for key, value in entry.items():
        metric, _, chosen = key.partition(",")
        if key in _ABOUT or not chosen or metric.endswith("_stderr"):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{key} is {value!r}, which is no number")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
        # "N/A" where the harness has no way to estimate it, NaN over a single sample.
        stderr = entry.get(f"{metric}_stderr,{chosen}")
        known = isinstance(stderr, (int, float)) and math.isfinite(stderr)
        found[key] = Metric(float(value), float(stderr) if known else None, better.get(metric))  # type: ignore[arg-type]
    return found


def main_score(
    asked: list[str], metrics: dict[str, dict[str, Metric]], groups: dict[str, dict[str, Metric]]
) -> Score:
    """The number that stands for a task in a table. asked: the harness's names in the order of
    the task file; metrics: in the harness's order.

    One name that has metrics of its own: its first. Otherwise the mean, each task counting once, of
    the first metric if all tasks share it, else of the accuracy of those that have one: numbers of
    different kinds are never mixed. Raises ValueError if there is no metric at all.
    """
    if len(asked) == 1 and (own := groups.get(asked[0]) or metrics.get(asked[0])):
        key, first = next(iter(own.items()))
        return Score(asked[0], key, first.value, first.stderr, first.higher_is_better)
    firsts = [next(iter(task)) for task in metrics.values() if task]
    if not firsts:
        raise ValueError("no metric")
    key = firsts[0]
    if any(other != key for other in firsts) and any("acc,none" in m for m in metrics.values()):
        key = "acc,none"
    parts = [task[key] for task in metrics.values() if key in task]
    errors = [part.stderr for part in parts if part.stderr is not None]
    stderr = math.hypot(*errors) / len(parts) if len(errors) == len(parts) else None
    count, whole = len(parts), len(metrics)
    return Score(
        f"mean of {count} tasks" if count == whole else f"mean of {count} of {whole} tasks",
        key,
        sum(part.value for part in parts) / count,
        stderr,
        parts[0].higher_is_better,
    )
