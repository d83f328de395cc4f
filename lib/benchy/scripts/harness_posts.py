"""Replaces the HTTP posts of the harness's API client for a preview: they are kept, not sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return a valid answer of a server: empty text, and equal log-probabilities for all tokens."""
    prompt = body.get("prompt")
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]

    def logprobs(prompt: Any) -> dict[str, Any]:
        # One for each token of the prompt and the generated one. The token count of a text is not
        # known here; the client uses as many as the answer has.
        count = len(prompt) + 1 if isinstance(prompt, list) else 4 * (len(prompt or "") + 1)
        return {"token_logprobs": [-1.0] * count, "top_logprobs": [{"x": -1.0}] * count}

    return {
        "choices": [
            {"index": n, "text": "", "message": {"role": "assistant", "content": ""},
             "finish_reason": "stop", "logprobs": logprobs(p)} for n, p in enumerate(prompts)
        ]
    }  # fmt: skip


class Post:
    """Replaces an aiohttp session and the module requests: post() keeps the body.

    posted: the bodies, in order.
    """

    posted: list[dict[str, Any]]

    def __init__(self, *args: Any, **more: Any) -> None:
        pass

    async def __aenter__(self) -> Post:
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass

    def post(self, url: str, *, json: dict[str, Any], **more: Any) -> Any:
        self.posted.append(json)
        return Reply(answer(json))


class Reply:
    """A response, for both ways in which the client reads one."""

    ok, status = True, 200

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    def raise_for_status(self) -> None:
        pass

    async def __aenter__(self) -> Any:
        async def json() -> dict[str, Any]:
            return self.body

        return SimpleNamespace(ok=True, status=200, raise_for_status=lambda: None, json=json)

    async def __aexit__(self, *error: Any) -> None:
        pass

    def json(self) -> dict[str, Any]:
        return self.body
