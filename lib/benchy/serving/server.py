"""One engine server: start, wait until ready, proof of identity, test requests.

The server is started under a guardian. All requests go to one address with its own key
(http_client.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.config import pooling_models
from benchy.core import versions
from benchy.core.errors import Died, Failure, FailureKind
from benchy.devices import ports
from benchy.display.progress import Step
from benchy.environments import disk_space
from benchy.process import guardian, guardian_client
from benchy.scripts import harness_answers
from benchy.serving import diagnosis, http_client, peer_check, responses
from benchy.serving.endpoint import Endpoint
from benchy.serving.engine_log import Log
from benchy.serving.http_client import shown

PROMPT = "El agua es clara. A água é clara."
COMPLETIONS = "/v1/completions"


class Server:
    """A running engine.

    `guardian` is its parent process, `title` its name in messages, and `served` the model name in
    requests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: Path,
        guardian: guardian_client.Guard,
        title: str,
        served: str,
    ) -> None:
        self.endpoint, self.guardian, self.title, self.served = endpoint, guardian, title, served
        self.begun = time.monotonic()
        self.log = Log(log, self.begun)
        self.pid = 0

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the engine. Raises Failure if the program cannot be run."""
        self.begun = self.log.begun = time.monotonic()
        try:
            self.pid = self.guardian.start("server", argv, env, str(self.log.path))
        except OSError as error:
            raise Failure(f"{self.title}: the engine can't be started: {error}") from None

    def failure(self, what: str, hint: str = "", kind: type[Failure] = Failure) -> Failure:
        """Return a failure of type `kind` that explains the log and quotes its main lines."""
        text = self.log.text()
        known = diagnosis.explain(text)
        if not known and (full := disk_space.full(self.log.path)):
            known = diagnosis.Explanation(*full)
        if known:
            what, hint = f"{what}: {known.what}", known.hint
        hint = hint or f"read the log; `bin/serve {self.title} --test` starts only this server"
        return kind(
            f"{self.title}: {what}",
            hint,
            self.log.path,
            diagnosis.significant_lines(text, 8),
            kind=known.kind if known else FailureKind.OTHER,
        )

    def check_alive(self, what: str, kind: type[Failure] = Failure) -> None:
        """Raise a failure of type `kind` if the server's first process has ended.

        `what` says for the message when that was.
        """
        if "server" in self.guardian.ended:
            status = self.guardian.ended["server"]
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            oom = "if nobody killed it, the machine ran out of memory: see `dmesg`"
            hint = oom if status == -9 else ""
            raise self.failure(f"the server ended {how} {what}", hint, kind)

    def wait_ready(self, timeout: float, step: Step) -> float:
        """Wait until /health answers and return the seconds since the start.

        Raises Failure if the server ends, if another process answers, or after `timeout` seconds.
        """
        while True:
            self.guardian.wait(0.25)
            seconds = time.monotonic() - self.begun
            self.log.read()
            self.check_alive(f"while starting ({self.log.stage}, after {seconds:.0f} s)")
            try:
                if self.endpoint.ask("/health", timeout=5)[0] == 200:
                    break
            except peer_check.Unproved as error:
                raise self.not_ours(error) from None
            except http_client.FAILED:
                pass
            if seconds > timeout:
                raise self.failure(
                    f"no answer within startup_timeout = {timeout:g} s (stage: {self.log.stage})",
                    "raise startup_timeout, or look in the log for what it waits for",
                )
            step.at(self.log.stage)
        return round(time.monotonic() - self.begun, 1)

    def identity(self, expected: str | None) -> tuple[str, int]:
        """Prove that the requested server answers, and return its release and its max_model_len.

        Args:
            expected: The release that it has to report; None accepts any.

        Raises:
            Failure: The release or the model is another one, the context is not a valid number, or
                the server accepts requests without its API key.
        """
        version = responses.release(self.json("/version"))
        if expected and not versions.same_public(version, expected):
            raise Failure(
                f"{self.title}: the server reports release {version or '?'}, not {expected}",
                "rebuild the environment: delete its directory under venvs/ and run make venvs",
                self.log.path,
            )
        models = responses.models(self.json("/v1/models"))
        if self.served not in models:
            raise Failure(
                f"{self.title}: the server serves {shown(', '.join(models) or 'nothing')}, "
                f"not {self.served}",
                log=self.log.path,
            )
        length = models[self.served]
        if not isinstance(length, int) or isinstance(length, bool) or not 0 < length < 1 << 31:
            raise Failure(
                f"{self.title}: the server reports {shown(length)} as max_model_len of "
                f"{self.served}",
                "an engine must report its context in tokens in /v1/models",
                self.log.path,
            )
        if self.status("/v1/models") not in (401, 403):
            raise Failure(
                f"{self.title}: the server accepts requests without its API key",
                "an engine must support VLLM_API_KEY",
                self.log.path,
            )
        return version, length

    def not_ours(self, error: peer_check.Unproved) -> Failure:
        """Return the failure for a port on which another, or an unknown, process answers."""
        port = self.endpoint.port
        if isinstance(error, peer_check.Unseen):
            hint = "run it as one user, in one container, with the container's /proc"
            return Failure(f"{self.title}: {error}; its key was not sent", hint, self.log.path)
        who = ports.listener(port, frozenset(guardian.descendants(self.guardian.pid)))
        hint = "start again: benchy picks another port"
        if self.endpoint.pinned:
            hint = "end that process, or remove `port`, so that benchy picks a free one"
        return Failure(
            f"{self.title}: port {port} is used by {who}, not by the server of this run", hint,
            self.log.path, kind=FailureKind.PORT_IN_USE,
        )  # fmt: skip

    def status(self, path: str) -> int:
        """Return the status of GET `path` without a key. Raises Failure."""
        return self.request(path, key="")[0]

    def request(self, path: str, **more: Any) -> tuple[int, Any]:
        """Call `Client.ask` with a timeout of 30 s. Raises Failure if the request fails."""
        try:
            return self.endpoint.ask(path, timeout=30, **more)
        except peer_check.Unproved as error:
            raise self.not_ours(error) from None
        except http_client.FAILED as error:
            raise self.failure(f"{path} does not answer ({shown(error)})") from None

    def json(self, path: str) -> Any:
        """Return the JSON of GET `path`. Raises Failure if the status is not 200."""
        status, answer = self.request(path)
        if status != 200:
            raise self.failure(f"{path} answers {status}: {shown(answer)}")
        return answer

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of POST `body`. Raises Failure if the status is not 200."""
        try:
            status, answer = self.endpoint.ask(path, body, timeout=300)
        except peer_check.Unproved as error:
            raise self.not_ours(error) from None
        except http_client.FAILED as error:
            self.guardian.wait(1)
            self.check_alive("at its first request")
            raise self.failure(f"{path} does not answer ({shown(error)})") from None
        message = responses.error_message(answer)
        if path == COMPLETIONS and (status == 404 or "not support Completions" in message):
            self.refuse_pooling(answer)
        if status != 200:
            raise self.failure(f"{path} answers {status}: {message}")
        return answer

    def refuse_pooling(self, answer: Any) -> None:
        """Raise Failure if /v1/completions is missing because the model is a pooling model."""
        known = pooling_models.served(self.log.text())
        # FastAPI answers this for a path without a handler. An unknown model gets another text.
        if known or answer == {"detail": "Not Found"} or "not support Completions" in str(answer):
            raise Failure(
                f"{self.title}: the server has no {COMPLETIONS}: {self.served} is "
                + ("" if known else "most likely ")
                + "a pooling model, which generates no text",
                "name a model that generates text",
                self.log.path,
            )

    def log_probabilities(self) -> list[float]:
        """Return the log-probabilities of a fixed sentence, requested as loglikelihood tasks do.

        Raises Failure unless all of them are finite and at most 0 (with a tolerance for rounding).
        """
        body = {"model": self.served, "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
        answer = self.post(COMPLETIONS, {**body, "echo": True, "logprobs": 1})
        try:
            numbers = answer["choices"][0]["logprobs"]["token_logprobs"][1:]
        except (KeyError, IndexError, TypeError):
            numbers = []
        valid = isinstance(numbers, list) and all(map(harness_answers.is_logprob, numbers))
        if not numbers or not valid:
            raise self.failure(
                f"the log-probabilities of a sentence are not numbers up to 0: {shown(numbers)}",
                "try dtype: bfloat16 or float32, enforce_eager: true, or another release",
            )
        return [float(number) for number in numbers]

    def sample_answer(self, chat: bool) -> str:
        """Return the answer to one chat or completion request.

        Raises Failure if the response is malformed, or if the chat endpoint passes a turn to the
        model as plain text: the scores would not be those of a chat.
        """
        body: dict[str, Any] = {"model": self.served, "max_tokens": 16, "temperature": 0}
        path = COMPLETIONS
        answer = plain = self.post(path, {**body, "prompt": PROMPT})
        try:
            if not chat:
                return str(plain["choices"][0]["text"])
            path, message = "/v1/chat/completions", {"role": "user", "content": PROMPT}
            answer = self.post(path, {**body, "messages": [message]})
            as_text, as_turn = (
                int(response["usage"]["prompt_tokens"]) for response in (plain, answer)
            )
            reply = dict(answer["choices"][0]["message"])
        except (KeyError, IndexError, TypeError, ValueError):
            what = f"{path} sends a malformed answer: {responses.error_message(answer)}"
            raise self.failure(what) from None
        if as_turn <= as_text:
            raise self.failure(
                f"its chat template adds nothing: {as_text} tokens as text, {as_turn} as a turn",
                "write chat_template: with the model's own, or remove use_chat_completions",
            )
        return str(reply.get("content") or reply.get("reasoning_content") or "")

    def watch(self, name: str, step: Step) -> int:
        """Wait until process `name` ends and return its status.

        Raises Died if the server ends first, or if three checks in a row find its engine dead.
        """
        failures, checked = 0, time.monotonic()
        while name not in self.guardian.wait(1):
            self.check_alive("during the run", Died)
            if time.monotonic() - checked > 5:
                checked = time.monotonic()
                step.beat()
                failures = failures + 1 if self.dead() else 0
                if failures == 3:
                    what = "the engine is dead, although its process is alive"
                    raise self.failure(what, kind=Died)
        # A task may fail because its server is dying. Wait for that, to report it as the cause.
        if self.guardian.ended[name] and "server" not in self.guardian.ended and self.dead():
            self.guardian.wait(2)
        if self.guardian.ended[name]:
            self.check_alive("during the run", Died)
        return self.guardian.ended[name]

    def dead(self) -> bool:
        """Return whether /health fails with a server error or does not connect.

        A timeout means that the server is busy, not that it is dead.
        """
        try:
            return self.endpoint.ask("/health", timeout=5)[0] >= 500
        except TimeoutError:
            return False
        except http_client.FAILED:
            return True
