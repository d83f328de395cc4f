"""The input of one result: its specs and the server that was started for it.

Proves before a task starts that spec and server match: the server answers to our key, runs the
release and the environment in the result's spec, serves its model, and has the options that can
change an answer.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import paths, process_info, versions
from benchy.core.errors import Failure
from benchy.core.specs import ResultSpec, ServerRecord, TaskSpec
from benchy.evaluation import harness
from benchy.evaluation.result_specs import Specs
from benchy.process import guardian
from benchy.serving import http_client, peer_check, preparation, responses

DYING = 3.0  # seconds that a server may live after its engine has died


@dataclass(frozen=True)
class EvaluationJob:
    """One result to make.

    Attributes:
        model: Name of the model in benchy.
        task: Name of the task in benchy.
        limit: Limit of documents for each task, or None.
        spec_bytes: The result spec as it is on disk.
        spec: The result spec, parsed.
        run: The task spec.
        server: server.json of bin/serve.
        url: URL of the server.
        key: API key of the server.
    """

    model: str
    task: str
    limit: int | None
    spec_bytes: bytes
    spec: ResultSpec
    run: TaskSpec
    server: ServerRecord
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
    def cache(self) -> Path:
        """Directory of what interrupted runs left. Removed once the result is complete."""
        return paths.BUILD / "cache" / "eval" / paths.limit_dir(self.limit) / self.model / self.task

    @property
    def locks(self) -> list[Path]:
        """The locks of the environments that make the result."""
        harness = self.spec["task"]["harness_environment"]
        return [paths.lock(self.server["environment"]), paths.lock(harness)]

    @property
    def specs(self) -> Specs:
        return Specs(self.server["spec"], self.spec, self.run)

    @property
    def server_log(self) -> Path:
        return paths.LOGS / "serve" / f"{self.model}.log"

    @property
    def endpoint(self) -> harness.HarnessEndpoint:
        server = self.server
        return harness.HarnessEndpoint(
            self.url,
            server["served_model"],
            server["max_model_len"],
            server["max_num_seqs"],
            preparation.FetchedFiles(server["commit"], server.get("folder")),
        )


def load(model: str, task: str, limit: int | None) -> EvaluationJob:
    """Load a job from its spec files and the variables of bin/serve. Raises Failure."""
    spec_bytes = read(paths.result_spec(model, task, limit))
    return EvaluationJob(
        model,
        task,
        limit,
        spec_bytes,
        _parse(spec_bytes, paths.result_spec(model, task, limit)),
        _load(paths.task_spec(task)),
        _load(Path(os.environ.get("BENCHY_RUN", "")) / "server.json"),
        os.environ["BENCHY_URL"].rstrip("/"),
        os.environ.get("BENCHY_KEY", ""),
    )


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(
            f"{path}: {error.strerror}", "bin/plan writes it if a config requests this task"
        ) from error


def _load(path: Path) -> Any:
    return _parse(read(path), path)


def _parse(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(
            f"{path} is damaged: {error}", f"Delete it and run again: rm {path}"
        ) from error


def check_server(job: EvaluationJob) -> None:
    """Raise Failure unless the server was started for this result, listing each difference.

    The config may have been edited since the server's start.
    """
    spec, server = job.spec, job.server
    requested = {key: value for key, value in spec.items() if key not in ("task", "limit")}
    needed = {"config": job.model, **requested}
    served = {"config": server["model"], **server["spec"]["meaning"]}
    wrong = list(differences(needed, served))
    release = spec["engine"]["version"]
    if release and not versions.same_public(release, server["version"]):
        wrong += differences({"release": release}, {"release": server["version"]})
    if wrong:
        raise Failure(
            f"{job.title}: the server at {job.url} is not the one that this result needs",
            f"Restart it: bin/serve {job.model} -- bin/eval {job.model} {job.task}",
            lines=wrong,
        )


def differences(
    needed: Mapping[str, Any], served: Mapping[str, Any], above: str = ""
) -> Iterator[str]:
    """Yield a line for each key, nested ones included, whose values differ."""
    for key in sorted({*needed, *served}):
        ours, theirs = needed.get(key), served.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from differences(ours, theirs, f"{above}{key}.")
        elif ours != theirs:
            yield f"{above}{key}: the result needs {ours!r}, the server has {theirs!r}"


class Another(Failure):
    """The server that answers is not, or no longer, the one for this result."""


class Answered(Exception):
    """A server answered with a status other than 200."""

    def __init__(self, path: str, status: int, answer: object) -> None:
        super().__init__(f"{path} answers {status}: {responses.error_message(answer)}")
        self.status = status


def check_endpoint(job: EvaluationJob) -> None:
    """Raise Failure unless the server accepts our key and still serves its model and release.

    Raises Another if it serves another model or release.
    """
    where = f"the server of {job.model} at {job.url}"
    try:
        version = responses.release(_ask(job, "/version"))
        served = responses.models(_ask(job, "/v1/models"))
    except (*http_client.FAILED, Answered) as error:
        check_not_dying(job)
        refused = isinstance(error, Answered) and error.status in (401, 403)
        what = (
            "refuses our key (BENCHY_KEY)"
            if refused
            else f"does not answer as it should ({type(error).__name__})"
        )
        lines = [http_client.shown(error, 300)]
        raise Failure(f"{where} {what}", log=job.server_log, lines=lines) from error
    if version != job.server["version"]:
        raise Another(f"{where} is release {version or '?'}, not {job.server['version']}")
    if job.server["served_model"] not in served:
        served_names = http_client.shown(", ".join(served) or "nothing")
        raise Another(f"{where} serves {served_names}, not {job.server['served_model']}")


def _ask(job: EvaluationJob, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return the JSON of GET `path`, or of POST if there is a body. Raises FAILED, Answered."""
    status, answer = asker(job).ask(path, body, timeout=60)
    if status != 200:
        raise Answered(path, status, answer)
    return answer


def asker(job: EvaluationJob) -> http_client.Client:
    """Return a client of the job's server, which accepts only descendants of its guardian."""
    url, guard = urllib.parse.urlsplit(job.url), job.server["guardian"]
    own = peer_check.OwnProcesses(lambda: guardian.descendants(guard))
    return http_client.Client(url.hostname or "", url.port or 80, job.key, own)


def request_fields(job: EvaluationJob) -> list[str] | None:
    """Return the fields that a request to this server may have, from its /openapi.json.

    Returns None if the server does not describe them. Raises Failure if it does not answer.
    """
    name = "ChatCompletionRequest" if job.spec["chat"] else "CompletionRequest"
    try:
        properties = _ask(job, "/openapi.json")["components"]["schemas"][name]["properties"]
        return sorted(str(field) for field in dict(properties))
    except (*http_client.FAILED, Answered) as error:
        if isinstance(error, Answered) and not _silent_by(error):
            return None
        raise _silent(job, "/openapi.json", error) from error
    except (ValueError, KeyError, TypeError):
        return None


def _silent(job: EvaluationJob, path: str, error: Exception) -> Failure:
    """Return the failure for a server that does not answer a question before the first request.

    A missing answer must not be taken as a negative one.
    """
    check_not_dying(job)
    what = f"the server of {job.model} did not answer {path}"
    return Failure(what, "run it again", job.server_log, [http_client.shown(error, 300)])


def _silent_by(error: Answered) -> bool:
    """Return whether a status is no answer: the server is overloaded, or redirects.

    A status that says that the path is missing, or not supported for this model, is an answer.
    """
    return error.status < 400 or error.status in (429, 502, 503, 504)


def tokenized(job: EvaluationJob, text: str, special: bool) -> list[int] | None:
    """Return the server's token ids of a text, or None if it has no /tokenize.

    With `special`, includes the special tokens that its tokenizer adds. Raises Failure if the
    server does not answer.
    """
    body = {
        "model": job.server["served_model"], "prompt": text, "add_special_tokens": special
    }  # fmt: skip
    try:
        return list(_ask(job, "/tokenize", body)["tokens"])
    except (*http_client.FAILED, Answered) as error:
        if isinstance(error, Answered) and not _silent_by(error):
            return None
        raise _silent(job, "/tokenize", error) from error
    except (ValueError, KeyError, TypeError):
        return None


def check_alive(job: EvaluationJob) -> None:
    """End this process without a message if the first process of the server has ended: bin/serve,
    which runs it, reports its death, once for all tasks."""
    pid = job.server["pid"]
    if pid and not process_info.alive(pid):
        raise SystemExit(1)


def check_not_dying(job: EvaluationJob) -> None:
    """Do the same for a task that failed. An engine that dies fails its requests first, and its
    server ends a moment later: wait up to DYING seconds for that while /health fails."""
    end = time.monotonic() + DYING
    while job.server["pid"] and time.monotonic() < end and _sick(job):
        check_alive(job)
        time.sleep(0.1)
    check_alive(job)


def _sick(job: EvaluationJob) -> bool:
    """Return whether /health fails with a server error or does not connect."""
    try:
        return asker(job).ask("/health", timeout=5)[0] >= 500
    except TimeoutError:
        return False  # busy
    except http_client.FAILED:
        return True
