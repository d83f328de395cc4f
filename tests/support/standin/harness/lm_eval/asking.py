"""The requests: for each document one multiple choice and one generation, over real HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHOICES = (" el mar", " the night", " o tempo")


@dataclass(frozen=True)
class Endpoint:
    """url: where /v1/completions or /v1/chat/completions is: always a server of the same test."""

    url: str
    model: str
    chat: bool
    timeout: float = 60.0
    tries: int = 1

    def post(self, body: Mapping[str, object]) -> Any:
        """The answer's JSON; tried as often as lm_eval would. RuntimeError if there is none."""
        for _ in range(self.tries - 1):
            with contextlib.suppress(RuntimeError):
                return self._post(body)
            time.sleep(0.05)
        return self._post(body)

    def _post(self, body: Mapping[str, object]) -> Any:
        request = urllib.request.Request(  # noqa: S310
            self.url,
            json.dumps({"model": self.model, **body}).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise RuntimeError(f"API request failed: {error.code} {said}") from error
        except OSError as error:
            raise RuntimeError(f"API request failed: {error!r}") from error

    def loglikelihood(self, context: str, continuation: str) -> float:
        """Sum of the continuation's token log-probabilities, as lm_eval asks for it."""
        answer = self.post(
            {
                "prompt": context + continuation,
                "echo": True,
                "logprobs": 1,
                "max_tokens": 1,
                "temperature": 0,
            }
        )["choices"][0]["logprobs"]
        span = range(len(context), len(context + continuation))
        return sum(
            float(value)
            for place, value in zip(answer["text_offset"], answer["token_logprobs"], strict=True)
            if place in span and value is not None
        )

    def generation(self, prompt: str, seed: int) -> str:
        wish: dict[str, object] = {"max_tokens": 8, "temperature": 0, "seed": seed}
        if self.chat:
            turns = [{"role": "user", "content": prompt}]
            return str(self.post({"messages": turns, **wish})["choices"][0]["message"]["content"])
        return str(self.post({"prompt": prompt, "stop": ["\n"], **wish})["choices"][0]["text"])


def sample(endpoint: Endpoint, task: str, number: int, seed: int) -> dict[str, Any]:
    """One document's line of samples_<task>_<time>.jsonl, keys as lm_eval writes them."""
    prompt = f"{task} {number}: cuento corto, conto curto, short story."
    target = number % len(CHOICES)
    doc = {"query": prompt, "choices": list(CHOICES), "gold": target}
    metrics: dict[str, float] = {}
    arguments: dict[str, dict[str, object]] = {}
    answers: list[object] = []
    if not endpoint.chat:
        values = [endpoint.loglikelihood(prompt, choice) for choice in CHOICES]
        answers.extend([[[str(value), "False"]] for value in values])
        metrics["acc"] = float(max(range(len(CHOICES)), key=values.__getitem__) == target)
        arguments.update(
            {
                f"gen_args_{place}": {"arg_0": prompt, "arg_1": choice}
                for place, choice in enumerate(CHOICES)
            }
        )
    elif task.endswith("_choice"):
        raise NotImplementedError(
            "Loglikelihood is not supported for chat completions. "
            "Consider using the completions API instead."
        )
    if not task.endswith("_choice"):
        text = endpoint.generation(prompt, seed)
        answers.append([text])
        arguments["gen_args_g"] = {"arg_0": prompt}
        metrics["exact_match"] = float(len(text) % 2 == target % 2)

    def sha(value: object) -> str:
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()

    return {
        "doc_id": number,
        "doc": doc,
        "target": str(target),
        "arguments": arguments,
        "resps": answers,
        "filtered_resps": answers,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": sha(doc),
        "prompt_hash": sha(prompt),
        "target_hash": sha(target),
        **metrics,
    }
