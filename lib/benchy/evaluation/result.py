"""The result document: results/<model>/<task>/results.json.

Each part is a frozen dataclass; the file is their JSON with sorted keys. The file alone tells
exactly what produced it. A field that is not known is None, never a guess. The reader ignores
unknown keys, and rejects a file with a missing key or a wrong type.
"""

from __future__ import annotations

import json
import re
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
class ModelRecord:
    """The model of a result.

    Attributes:
        config: Name of the model in benchy.
        name: Name of the model on the hub, as served.
        path: Local directory, if the model is one.
        revision: Requested revision.
        revision_used: Commit of the snapshot in the hub cache.
        digest: Digest of the local directory's files (see provenance.digest).
        parameters: Number of parameters, from the model's files (see model_card.ModelCard).
        dtype: dtype of the weights, from the model's files.
        license: License, from the model's files.
        package: Name and release of the package of the index that the weights come from, if the hub
            could not be reached; `digest` is that of the directory made from it.
    """

    config: str
    name: str
    path: str | None
    revision: str | None
    revision_used: str | None
    digest: str | None
    parameters: int | None = None
    dtype: str | None = None
    license: str | None = None
    package: str | None = None

    @property
    def served(self) -> str | None:
        """Which files of the model answered: a commit, a package, or else what is known of them."""
        return self.revision_used or self.package or self.revision or self.digest


@dataclass(frozen=True)
class EngineRecord:
    """The engine of a result.

    Attributes:
        name: Name of the engine in benchy.
        package: Name of its package.
        asked: Requested release. None stands for that of the main environment, or of a source that
            is not a release.
        answered: Release reported by /version.
        environment: Name of its environment.
        lock_sha256: Hash of the environment's lock.
        dtype: dtype of the computation, from the engine's log.
    """

    name: str
    package: str
    asked: str | None
    answered: str
    environment: str
    lock_sha256: str | None
    dtype: str | None = None


@dataclass(frozen=True)
class FallbackReason:
    """The requested environment, its release, and the error that prevented its build."""

    environment: str
    version: str | None
    error: str


@dataclass(frozen=True)
class HarnessRecord:
    name: str
    version: str
    environment: str
    lock_sha256: str | None


@dataclass(frozen=True)
class TaskRecord:
    """The task of a result.

    Attributes:
        name: Name of the task in benchy.
        task_name: Names of its tasks in the harness.
        versions: Version of each task and group of the harness.
        num_fewshot: Requested number of examples. None if none was requested or a subtask used
            another.
        gen_kwargs: Requested generation arguments; {} if each task uses its own.
        max_length: Maximum tokens of prompt and answer together.
        files: sha256 of each file of the task.
        shots: Number of examples that each subtask of the harness used.
        content: Digest of the content of these files, "" for no files. None in results of an older
            benchy, where `files` are all files of the task's directory.
    """

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
    """The times of a result.

    Attributes:
        server_ready_seconds: Seconds from the server's start until it was ready.
        start: Start of the harness, ISO 8601, UTC.
        end: End of the harness, ISO 8601, UTC.
        seconds: Seconds from start to end.
    """

    server_ready_seconds: float | None
    start: str
    end: str
    seconds: float


@dataclass(frozen=True)
class Counts:
    """The counts of a result.

    `samples` is the number of documents evaluated for each task of the harness. `requests` is the
    number of requests to the model, or None if samples were not logged.
    """

    samples: dict[str, int]
    requests: int | None


@dataclass(frozen=True)
class Checks:
    """Counts of the prompts and answers of one subtask of the harness, None where not known.

    Attributes:
        prompts: Documents evaluated.
        truncated: Prompts whose left end was cut off to fit the context.
        leaked: Few-shot prompts that contain their own question and its answer.
        answers: Generated texts.
        empty: Empty or blank texts among them.
        null: Answers among them for which the server returned no text.
    """

    prompts: int
    truncated: int | None = None
    leaked: int | None = None
    answers: int = 0
    empty: int = 0
    null: int | None = None


@dataclass(frozen=True)
class Git:
    """The state of benchy's checkout. `commit` and `dirty` are None outside a checkout.

    Attributes:
        commit: The commit.
        dirty: Whether tracked files differ from the commit, or it lacks a file that decided the
            result.
        untracked: The files that it lacks: new, ignored, or outside the checkout.
    """

    commit: str | None
    dirty: bool | None
    untracked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Metric:
    """A metric. `stderr` is None if the harness reports none."""

    value: float
    stderr: float | None
    higher_is_better: bool | None


PARTIAL_MEAN = re.compile(r"mean of \d+ of \d+ tasks")


def mean_of(count: int, total: int) -> str:
    """Return a Score's `of` for the mean of `count` of `total` tasks; Score.partial reads it."""
    return f"mean of {count} tasks" if count == total else f"mean of {count} of {total} tasks"


@dataclass(frozen=True)
class Score:
    """The number that a table shows for a result.

    Attributes:
        of: How it was computed, such as "benchy_smoke" or "mean of 6 tasks".
        metric: The harness's name with its filter, such as "acc,none".
        value: The number.
        stderr: Its standard error, or None.
        higher_is_better: Whether higher is better, or None if not known.
    """

    of: str
    metric: str
    value: float
    stderr: float | None
    higher_is_better: bool | None

    @property
    def partial(self) -> bool:
        """Whether it is the mean of only some of the subtasks."""
        return bool(PARTIAL_MEAN.fullmatch(self.of))


@dataclass(frozen=True)
class Result:
    """A result document. Lists only fields that need an explanation.

    Attributes:
        schema: 1.
        gpus: Indices of the GPUs on the first of `nodes` nodes, or "cpu".
        arguments: The server's command line, without secrets.
        options: Options of the engine that can change an answer.
        variables: Environment variables that can change an answer.
        spec_sha256: Hash of the result spec's bytes.
        harness_output: The harness's files, relative to this file.
        metrics: Task → "metric,filter" → numbers.
        groups: Group → "metric,filter" → numbers.
        source: File of the config, relative to the checkout if it is inside.
        set: Overrides of the config by SET, without secrets.
        checks: Subtask → counts of its prompts and answers.
        inputs: Path → sha256 of each configuration file that decided the result.
        benchy: Version of benchy.
    """

    schema: int
    model: ModelRecord
    engine: EngineRecord
    fallback: bool
    fallback_reason: FallbackReason | None
    harness: HarnessRecord
    task: TaskRecord
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
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow; many commands read no results

    return TypeAdapter(Result)


def read(path: Path) -> Result:
    """Read a result file. Raises Failure that names the file and what is wrong with it."""
    try:
        return _adapter().validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # pydantic's ValidationError
        first = error.errors()[0]  # type: ignore[attr-defined]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise Failure(
            f"{path} is damaged: {what}", f"Delete it; the next run creates it again: rm {path}"
        ) from error


def dump(result: Result) -> str:
    """Return the text of the file. Raises ValueError for a number that JSON lacks (NaN)."""
    text = json.dumps(asdict(result), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write(result: Result, path: Path) -> None:
    """Write `path` atomically. Its content reaches the disk before it is renamed."""
    temporary_files.write(path, dump(result), sync=True)
