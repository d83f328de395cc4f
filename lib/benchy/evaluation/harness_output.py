"""Reads the output of lm-evaluation-harness: its results file, its samples files, and its log.

The formats are those of lm_eval 0.4.13 (lm_eval/result_schema.py, loggers/evaluation_tracker.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.core.errors import Failure
from benchy.display import progress_bars
from benchy.evaluation.harness_metrics import metrics_of
from benchy.evaluation.result import Metric
from benchy.scripts import harness_answers

# A log-likelihood is the sum over the tokens of an answer, each of which may be ROUNDING above 0.
# The samples file does not say how many there are; this allows 1,000.
HIGHEST = 1000 * harness_answers.ROUNDING
CHAT_CANNOT = "Loglikelihood is not supported for chat completions"


@dataclass(frozen=True)
class Output:
    """The output of the harness.

    Attributes:
        directory: Directory of the files.
        data: Content of the results file.
        files: All files, relative to `directory`.
        requests: Number of requests to the model; None if samples were not logged.
        samples: Task → documents logged.
        answers: Task → (generated texts, how many of them are empty or blank).
        hashes: Task → the harness's hash of each document.
    """

    directory: Path
    data: dict[str, Any]
    files: tuple[Path, ...]
    requests: int | None
    samples: dict[str, int]
    answers: dict[str, tuple[int, int]] = field(default_factory=dict)
    hashes: dict[str, list[str]] = field(default_factory=dict)


def read_output(directory: Path, log: Path) -> Output:
    """Read the output of the harness.

    Raises Failure if there is not exactly one results file, or if a file is damaged.
    """
    results_files = sorted(directory.rglob("results_*.json"))
    if len(results_files) != 1:
        raise Failure(
            f"the harness succeeded but wrote {len(results_files)} results files instead of one",
            "The disk may be full; the log says what could not be saved.",
            log,
        )
    try:
        data = json.loads(results_files[0].read_bytes())
    except ValueError as error:
        raise Failure(f"the harness's results file is damaged: {error}", log=log) from error
    if not isinstance(data, dict) or not isinstance(data.get("n-samples"), dict):
        raise Failure("the harness's results file has no n-samples", log=log)
    samples: dict[str, int] = {}
    answers: dict[str, tuple[int, int]] = {}
    hashes: dict[str, list[str]] = {}
    requests: int | None = None
    for task in data["n-samples"]:
        pattern = re.compile(rf"samples_{re.escape(task)}_\d{{4}}-\d\d-\d\dT.*\.jsonl")
        for path in directory.rglob("samples_*.jsonl"):
            if pattern.fullmatch(path.name):
                try:
                    counted = _count(path)
                except (ValueError, KeyError, TypeError) as error:
                    raise Failure(
                        f"{path.name} of the harness is damaged: {error}", log=log
                    ) from error
                if counted.wrong:
                    raise Failure(
                        f"{task}: {counted.wrong} log-probabilities of {path.name} are not "
                        "numbers up to 0; no result is written",
                        "try dtype: bfloat16 or float32, enforce_eager: true, or another release",
                        log,
                    )
                samples[task], answers[task] = len(counted.requests), counted.answers
                hashes[task] = counted.hashes
                requests = (requests or 0) + sum(counted.requests.values())
    files = tuple(sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file()))
    return Output(directory, data, files, requests, samples, answers, hashes)


@dataclass
class _Counted:
    """The counts of a samples file.

    Attributes:
        requests: Document → number of its requests.
        answers: Generated texts, and how many of them are empty or blank.
        hashes: The harness's hash of each document.
        wrong: Number of invalid log-likelihoods.
    """

    requests: dict[Any, int]
    answers: tuple[int, int]
    hashes: list[str]
    wrong: int


def _count(path: Path) -> _Counted:
    """Count the content of a samples file. A document has one line for each filter."""
    requests: dict[Any, int] = {}
    hashes: list[str] = []
    texts = empty = wrong = 0
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            sample = json.loads(line)
            if sample["doc_id"] in requests:
                continue
            logged = sample.get("resps") or []
            answers = [a for part in logged for a in (part if isinstance(part, list) else [part])]
            generated = [answer for answer in answers if isinstance(answer, str)]
            texts += len(generated)
            wrong += sum(
                isinstance(answer, list)
                and answer[1:] in (["True"], ["False"], [True], [False])
                and not is_likelihood(answer[0])
                for answer in answers
            )
            empty += sum(not text.strip() for text in generated)
            hashes.append(str(sample.get("doc_hash", "")))
            requests[sample["doc_id"]] = len(answers)
    return _Counted(requests, (texts, empty), hashes, wrong)


def is_likelihood(value: Any) -> bool:
    """Return whether a value is a log-likelihood, as a number or in the harness's text form."""
    number = float(value)
    return math.isfinite(number) and number < HIGHEST


def check_counts(output: Output, limit: int | None, logging: bool, log: Path) -> dict[str, int]:
    """Return the number of documents evaluated for each task, from n-samples.

    Args:
        output: Output of the harness.
        limit: Limit of documents for each task, or None.
        logging: Whether samples were to be logged. If that fails, the harness only warns.
        log: Path of the log, for errors.

    Raises:
        Failure: The number differs from that of the task (or the limit), or from that of the logged
            documents.
    """
    counts: dict[str, int] = {}
    for task, count in output.data["n-samples"].items():
        original, effective = int(count["original"]), int(count["effective"])
        expected = original if limit is None else min(limit, original)
        logged = output.samples.get(task, 0) if logging else effective
        if not effective or effective != expected or logged != effective:
            raise Failure(
                f"{task}: expected {expected} documents, {effective} were evaluated, "
                f"{logged} are in the harness's files",
                log=log,
            )
        counts[task] = effective
    if not counts:
        raise Failure("the harness evaluated no task", log=log)
    return counts


def metrics(data: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Metric]]:
    """Return the metrics of the named tasks or groups, without groups that have none.

    Raises ValueError that names the task and the metric.
    """
    metrics_by_name: dict[str, dict[str, Metric]] = {}
    for name in names:
        entry = data.get("results", {}).get(name) or data.get("groups", {}).get(name) or {}
        try:
            numbers = metrics_of(entry, data.get("higher_is_better", {}).get(name) or {})
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if numbers or name in data.get("n-samples", {}):
            metrics_by_name[name] = numbers
    return metrics_by_name


_TELLING = re.compile(
    r"(Error|Exception|failed|refused|not found|No such file|Could not|denied|Killed)"
)
_NOISE = re.compile(
    r'^\s*(File "|\^+$|~+)|^\s{2,}|retrying\.$|PyTorch was not found|^The above exception|'
    r"^During handling of the above"
)
# lm_eval/utils.py, setup_logging; or the format of another logger (INFO:lm_eval: …)
_LEVEL = re.compile(
    r"^(?:\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d )?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\b"
    r"(?: +\[[^\]]*\] ?|:[\w.]+: ?)"
)
# lm_eval/models/api_models.py: amodel_call and model_call
_REFUSED = re.compile(
    r"API request failed(?:! Status code: (?P<status>\d+), Response text| with error message): "
    r"(?P<text>.{0,20000}?)\. Retrying\.\.\.$",
    re.DOTALL | re.MULTILINE,
)
# The exceptions of aiohttp and requests for an error status.
_STATUS = re.compile(r"ClientResponseError: (\d{3}),|HTTPError: (\d{3}) (?:Client|Server) Error")


def progress(line: str) -> tuple[str, int, int] | None:
    """Return (stage, done, total) of a tqdm line, or None for any other line."""
    return progress_bars.place(line)


def significant_lines(text: str, count: int = 8) -> list[str]:
    """Return the last lines of a log that explain a failure, shortened and without repeats.

    If the harness ended because of an error status from the server, these are the server's error
    messages, since the exception contains only the status.
    """
    lines = [progress_bars.split(line.rstrip())[1].rstrip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    chosen = [line for line in lines if _is_significant(line)]
    statuses = [match for line in chosen if (match := _STATUS.search(line))]
    if statuses and chosen[-1] == statuses[-1].string:
        status = statuses[-1][1] or statuses[-1][2]
        if messages := _refusals("\n".join(lines), status):
            return messages[-3:]
    chosen = chosen or lines[-3:]
    unique = list(dict.fromkeys(_LEVEL.sub("", line.strip())[:300] for line in reversed(chosen)))
    return unique[:count][::-1]


def _is_significant(line: str) -> bool:
    level = _LEVEL.match(line)
    if level and level["level"] in ("DEBUG", "INFO"):
        return False
    return bool(_TELLING.search(line) and not _NOISE.search(line))


def _refusals(text: str, status: str) -> list[str]:
    """Return the server's error messages for this status, each once, the latest last.

    Messages that differ only in numbers count as one.
    """
    messages: dict[str, str] = {}
    for match in _REFUSED.finditer(text):
        if match["status"] in (status, None) and (reason := _reason(match["text"])):
            alike = re.sub(r"\d+", "0", reason)
            messages.pop(alike, None)
            messages[alike] = f"the server answered {status}: {reason}"[:500]
    return list(messages.values())


def _reason(text: str) -> str:
    """Return the message of an error document, or any other text on one line.

    Knows the formats of OpenAI ({"error": {"message": …}}) and of FastAPI.
    """
    with contextlib.suppress(ValueError):
        body = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(body, dict) and key in body:
                body = body[key]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return " ".join(text.split())


def significant_lines_of(log: Path) -> list[str]:
    """Return `significant_lines` of a log file, or [] if there is none."""
    return significant_lines(tail(log))


def tail(log: Path) -> str:
    """Return the last 200 kB of a log, or "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 200_000))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
