"""The HTTP interface: /health, /version, /v1/models, /v1/completions, /v1/chat/completions.

Shapes of answers and errors are those of vLLM 0.32.0, recorded from a running server.
"""

from __future__ import annotations

import hmac
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import language
from .faults import Fault
from .release import ANSWERED


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass
class Engine:
    """What the server serves. count: requests for completions so far."""

    model: language.Model
    seed: int
    served: list[str]
    root: str
    max_model_len: int
    max_logprobs: int
    key: str
    fault: Fault
    die: Callable[[], None]
    alive: Callable[[], bool]
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> None:
        """Count a request; the engine core dies on the one after dies_after."""
        fault = self.fault
        with self.lock:
            self.count += 1
            number = self.count
            if fault.dies_after is not None and number > fault.dies_after:
                self.die()
        time.sleep(fault.slow)
        while fault.mute_after is not None and number > fault.mute_after and self.alive():
            time.sleep(0.1)
        if fault.error_every is not None and number % fault.error_every == 0:
            raise Refused(500, "InternalServerError", "The stand-in was asked to refuse this one.")
        if not self.alive():
            raise Refused(500, "InternalServerError", "EngineCore encountered an issue.")

    def models(self) -> dict[str, Any]:
        now = int(time.time())
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": now,
                    "owned_by": "standin",
                    "root": self.root,
                    "parent": None,
                    "max_model_len": self.max_model_len,
                    "permission": [],
                }
                for name in self.served
            ],
        }

    def _room(self, body: dict[str, Any], prompt: list[str], usual: int) -> int:
        """How many tokens may be made; Refused if the prompt or the wish is too long."""
        wanted = body.get("max_tokens")
        if body.get("model", self.served[0]) not in self.served:
            raise Refused(
                404,
                "NotFoundError",
                f"The model `{body['model']}` does not exist. "
                f"Valid aliases: {', '.join(self.served)}.",
                "model",
            )
        count = usual if wanted is None else int(wanted)
        if len(prompt) + count > self.max_model_len:
            raise Refused(
                400,
                "BadRequestError",
                f"This model's maximum context length is {self.max_model_len} tokens. "
                f"However, you requested {count} output tokens and your prompt contains "
                f"{len(prompt)} input tokens.",
                "max_tokens",
            )
        return count

    def _voice(self, body: dict[str, Any]) -> language.Model:
        """The model as this request hears it: a seed moves only what is sampled."""
        if not body.get("temperature", 1.0):
            return self.model
        seed = body.get("seed")
        return language.Model(self.model.name, 1 + (self.seed if seed is None else int(seed)))

    def _made(self, body: dict[str, Any], prompt: list[str], count: int) -> tuple[list[str], str]:
        made = self._voice(body).continuation(prompt, count)
        stops = body.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            place = "".join(made).find(stop) if stop else -1
            if place >= 0:
                return [text for text in ["".join(made)[:place]] if text], "stop"
        return made, "stop" if made[-1:] == [language.END] else "length"

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        self.take()
        given = body.get("prompt", "")
        many = isinstance(given, list) and given and not isinstance(given[0], int)
        choices, asked, answered = [], 0, 0
        for index, text in enumerate(given if many else [given]):
            prompt = language.tokens(text)
            made, reason = self._made(body, prompt, self._room(body, prompt, 16))
            echo, wanted = bool(body.get("echo")), body.get("logprobs")
            if wanted is not None and int(wanted) > self.max_logprobs:
                raise Refused(
                    400,
                    "BadRequestError",
                    f"Requested sample logprobs of {wanted}, "
                    f"which is greater than max allowed: {self.max_logprobs}",
                    "logprobs",
                )
            first = 0 if echo else len(prompt)
            choices.append(
                {
                    "index": index,
                    "text": "".join([*prompt, *made][first:]),
                    "logprobs": None
                    if wanted is None
                    else self.model.logprobs([*prompt, *made], first),
                    "finish_reason": reason,
                    "stop_reason": None,
                }
            )
            asked, answered = asked + len(prompt), answered + len(made)
        return self._answer("cmpl", "text_completion", choices, asked, answered)

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        self.take()
        text = "".join(f"{turn['role']}: {turn['content']}\n" for turn in body["messages"])
        if self.fault.bare:
            text = "".join(turn["content"] for turn in body["messages"])
        prompt = language.tokens(text if self.fault.bare else text + "assistant:")
        count = self._room(body, prompt, min(64, max(1, self.max_model_len - len(prompt))))
        made, reason = self._made(body, prompt, count)
        choice = {
            "index": 0,
            "logprobs": None,
            "finish_reason": reason,
            "stop_reason": None,
            "message": {"role": "assistant", "content": "".join(made).strip()},
        }
        return self._answer("chatcmpl", "chat.completion", [choice], len(prompt), len(made))

    def _answer(
        self,
        tag: str,
        kind: str,
        choices: list[Any],
        asked: int,
        made: int,
    ) -> dict[str, Any]:
        return {
            "id": f"{tag}-{self.count:016x}",
            "object": kind,
            "created": int(time.time()),
            "model": self.served[0],
            "choices": choices,
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": made,
                "total_tokens": asked + made,
            },
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def log_message(self, format: str, *args: Any) -> None:
        print(
            f"INFO:     {self.client_address[0]}:{self.client_address[1]} - {format % args}",
            file=sys.stderr,
            flush=True,
        )

    def reply(self, code: int, body: object = None) -> None:
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refused(self) -> bool:
        """Whether the key was missing, and told so. Like vLLM, only /v1 asks for one."""
        given = self.headers.get("Authorization", "").encode()
        wanted = f"Bearer {self.engine.key}".encode()
        if not self.path.startswith("/v1") or not self.engine.key:
            return False
        if hmac.compare_digest(given, wanted):
            return False
        self.close_connection = True
        self.reply(401, {"error": "Unauthorized"})
        return True

    def do_GET(self) -> None:
        if self.refused():
            return
        if self.path == "/health":
            self.reply(200 if self.engine.alive() else 503)
        elif self.path == "/version":
            self.reply(200, {"version": ANSWERED})
        elif self.path == "/v1/models":
            self.reply(200, self.engine.models())
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        paths = {
            "/v1/completions": self.engine.completions,
            "/v1/chat/completions": self.engine.chat,
        }
        if self.refused():
            return
        if self.path not in paths or self.engine.fault.pooling:
            self.reply(404, {"detail": "Not Found"})
            return
        try:
            self.reply(200, paths[self.path](json.loads(data)))
        except Refused as error:
            self.reply(error.code, error.body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.reply(400, Refused(400, "BadRequestError", repr(error)).body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # socketserver's 5 makes 32 clients at once wait for a second


def make_server(engine: Engine, host: str, port: int) -> ThreadingHTTPServer:
    """A server that already listens. OSError if the port is taken."""
    handler = type("EngineHandler", (Handler,), {"engine": engine})
    return Server((host, port), handler)
