"""Checks of a server's answers. A malformed answer raises ValueError, which the harness retries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

ROUNDING = 0.001  # maximum of a token's log-probability: 0 plus rounding


def check_choices(outputs: Any, prompts: int) -> list[dict[str, Any]]:
    """Return the choices of one or several answers, in order.

    Raises ValueError unless there is one for each prompt.
    """
    ordered: list[dict[str, Any]] = []
    for output in outputs if isinstance(outputs, list) else [outputs]:
        choices = output.get("choices") if isinstance(output, dict) else None
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise ValueError("the server's answer has no choices")
        indices = sorted(str(choice.get("index")) for choice in choices)
        if indices != sorted(map(str, range(len(choices)))):
            raise ValueError(f"the server's answer has choices {', '.join(indices)[:80]}")
        ordered += sorted(choices, key=lambda choice: int(choice["index"]))
    if len(ordered) != prompts:
        raise ValueError(f"the server gave {len(ordered)} answers to {prompts} prompts")
    return ordered


def check_logprobs(choice: dict[str, Any], prompt: Sequence[Any], start: int) -> None:
    """Raise ValueError unless an answer has a log-probability for each token from `start` on.

    The last entry of an answer is the one token that the request generates.
    """
    logprobs = choice.get("logprobs")
    values, tops = (
        logprobs.get(name) if isinstance(logprobs, dict) else None
        for name in ("token_logprobs", "top_logprobs")
    )
    if not isinstance(values, list) or not isinstance(tops, list):
        raise ValueError("the server's answer has no log-probabilities")
    if not isinstance(prompt, str) and not len(values) == len(tops) == len(prompt) + 1:
        raise ValueError(
            f"the server gave {len(values)} log-probabilities for {len(prompt)} tokens and one more"
        )
    for value, top in zip(values[start:-1], tops[start:-1], strict=True):
        others = list(top.values()) if isinstance(top, dict) else [None]
        wrong = [number for number in (value, *others) if not is_logprob(number)]
        if wrong or not others:
            raise ValueError(f"the server gave {str(wrong)[:60]} as log-probabilities")


def check_text(choice: dict[str, Any]) -> None:
    """Raise ValueError unless an answer is a text or null.

    For chat, the harness treats anything else as an empty text.
    """
    message = choice.get("message", choice)
    key = "content" if "message" in choice else "text"
    text = message.get(key) if isinstance(message, dict) else 0
    if text is not None and not isinstance(text, str):
        raise ValueError("the server's answer is no text")


def is_logprob(value: Any) -> bool:
    """Return whether a value is a log-probability. Rounding may make it slightly positive."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value <= ROUNDING
