"""One result to make: what was planned for it, and the server that was started for it.

Proves that the two belong together before a task starts: the server answers to our key, it runs
the release and the environment that the result's spec names, it serves that model, with the options
that can change an answer.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import paths, process_info, versions
from benchy.core.errors import Failure
from benchy.evaluation import harness, harness_output
from benchy.evaluation.harness import Spec
from benchy.process import guardian
from benchy.serving import http_client, known_failures, peer_check, server


@dataclass(frozen=True)
class Job:
    """spec_bytes: the result spec as it lies on the disk, spec: what it says; run: the task spec;
    server: bin/serve's server.json; url, key: of the server."""

    model: str
    task: str
    limit: int | None
    spec_bytes: bytes
    spec: Spec
    run: Spec
    server: Spec
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
        """What interrupted runs left; gone as soon as the result is whole."""
        return paths.BUILD / "cache" / "eval" / paths.limit_dir(self.limit) / self.model / self.task

    @property
    def locks(self) -> list[Path]:
        """Of the environments that the result is made with."""
        harness = self.spec["task"]["harness_environment"]
        return [paths.lock(self.server["environment"]), paths.lock(harness)]

    @property
    def server_log(self) -> Path:
        return paths.LOGS / "serve" / f"{self.model}.log"

    @property
    def endpoint(self) -> harness.Endpoint:
        server = self.server
        return harness.Endpoint(
            self.url,
            server["served_model"],
            server["max_model_len"],
            server.get("max_num_seqs"),
            server.get("commit"),
        )


def load(model: str, task: str, limit: int | None) -> Job:
    """The job from the spec files and the environment that bin/serve sets. Raises Failure."""
    spec_bytes = read(paths.result_spec(model, task, limit))
    return Job(
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
            f"{path}: {error.strerror}", "bin/plan writes it, if a config asks for this task"
        ) from error


def _load(path: Path) -> Spec:
    return _parse(read(path), path)


def _parse(text: bytes, path: Path) -> Spec:
    try:
        spec: Spec = json.loads(text)
    except ValueError as error:
        raise Failure(
            f"{path} is damaged: {error}", f"Delete it and run again: rm {path}"
        ) from error
    return spec


def check_server(job: Job) -> None:
    """That the server was started for this very result: a config that was edited since would
    otherwise be believed. Raises Failure with each difference."""
    spec, server = job.spec, job.server
    asked: Spec = server["spec"]
    parts = {*asked["meaning"], *spec} - {"task", "limit"}  # some are only where they matter
    wanted = {"config": job.model, **{key: spec[key] for key in parts if key in spec}}
    found = {"config": server["model"], **asked["meaning"]}
    wrong = list(differences(wanted, found))
    release = spec["engine"]["version"]
    if release and not versions.matches(release, server["version"]):
        wrong += differences({"release": release}, {"release": server["version"]})
    if wrong:
        raise Failure(
            f"{job.title}: the server at {job.url} is not the one that this result needs",
            f"Start it anew: bin/serve {job.model} -- bin/eval {job.model} {job.task}",
            lines=wrong,
        )


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], above: str = ""
) -> Iterator[str]:
    """A line for each key, of nested ones too, whose values differ."""
    for key in sorted({*wanted, *found}):
        ours, theirs = wanted.get(key), found.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from differences(ours, theirs, f"{above}{key}.")
        elif ours != theirs:
            yield f"{above}{key}: the result needs {ours!r}, the server has {theirs!r}"


class Another(Failure):
    """Not the server that was started for this result answers, or not any longer."""


class Answered(Exception):
    """A server answered with another status than 200."""

    def __init__(self, path: str, status: int, answer: object) -> None:
        super().__init__(f"{path} answers {status}: {server.message(answer)}")
        self.status = status


def check_endpoint(job: Job) -> None:
    """That it answers, takes our key, and serves the model and release it was started with."""
    where = f"the server of {job.model} at {job.url}"
    try:
        version = server.known_as(_ask(job, "/version"))
        served = server.served(_ask(job, "/v1/models"))
    except (*http_client.FAILED, Answered) as error:
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
        found = http_client.shown(", ".join(served) or "nothing")
        raise Another(f"{where} serves {found}, not {job.server['served_model']}")


def _ask(job: Job, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON of GET path, or of POST with a body. Raises client.FAILED, Answered."""
    status, answer = asker(job).ask(path, body, timeout=60)
    if status != 200:
        raise Answered(path, status, answer)
    return answer


def asker(job: Job) -> http_client.Client:
    """The client of the job's server, which has to be a process under its guardian."""
    url, guard = urllib.parse.urlsplit(job.url), int(job.server["guardian"])
    ours = peer_check.Ours(lambda: guardian.descendants(guard))
    return http_client.Client(url.hostname or "", url.port or 80, job.key, ours)


def request_fields(job: Job) -> list[str] | None:
    """The names that a request to this server may have, by its own description (/openapi.json);
    None where it has none. Raises Failure where it is silent."""
    name = "ChatCompletionRequest" if job.spec["chat"] else "CompletionRequest"
    try:
        found = _ask(job, "/openapi.json")["components"]["schemas"][name]["properties"]
        return sorted(str(field) for field in dict(found))
    except (*http_client.FAILED, Answered) as error:
        if isinstance(error, Answered) and not _silent_by(error):
            return None
        raise _silent(job, "/openapi.json", error) from error
    except (ValueError, KeyError, TypeError):
        return None


def _silent(job: Job, path: str, error: Exception) -> Failure:
    """What was to be asked before the first request is not known, which is no answer to it."""
    what = f"the server of {job.model} did not answer {path}"
    return Failure(what, "run it again", job.server_log, [http_client.shown(error, 300)])


def _silent_by(error: Answered) -> bool:
    """Does the status say that the server has no time, or send us on? That it has no such path, or
    not for this model, is an answer."""
    return error.status < 400 or error.status in (429, 502, 503, 504)


def tokenized(job: Job, text: str, special: bool) -> list[int] | None:
    """The token ids of a text by the server; None where it has no /tokenize. special: add the
    special tokens that its tokenizer adds. Raises Failure where it is silent."""
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


def check_alive(job: Job) -> None:
    """Raises Failure if the server's first process is gone: no request will be answered."""
    pid = job.server.get("pid")
    if not pid or process_info.alive(int(pid)):
        return
    log = harness_output.tail(job.server_log)
    known = known_failures.explain(log)
    what, hint = (known.what, known.hint) if known else ("", "Its log says why.")
    raise Failure(
        f"the server of {job.model} died while {job.task} was running"
        + (f": {what}" if what else ""),
        f"{hint}\nThe answers had so far are kept; the next run goes on from there.",
        job.server_log,
        known_failures.telling_lines(log),
    )
