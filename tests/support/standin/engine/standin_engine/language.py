"""The "model": words and log-probabilities that follow from hashes, the same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

END = ""  # the token that ends a text
POEM = """el la de que en un o a do uma the of and to casa mar sol vida tempo água day night
good más não sí yes 1 2 3 A B C D"""
WORDS = (END, *(f" {word}" for word in POEM.split()))


def tokens(text: str | Sequence[int]) -> list[str]:
    """The tokens of a text (words with the space before them), or of a list of token ids."""
    if isinstance(text, str):
        return re.findall(r"\s*\S+|\s+", text)
    return [WORDS[number % len(WORDS)] for number in text]


@dataclass(frozen=True)
class Model:
    """name tells one model's answers from another's; seed, one sample from another."""

    name: str
    seed: int = 0

    def logprob(self, before: str, token: str) -> float:
        """Pseudo log-probability (below 0) of token after `before`, the eight tokens before it."""
        text = f"{self.name}\0{self.seed}\0{before}\0{token}".encode()
        share = int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
        return -0.05 - 9.0 * share

    def best(self, before: str) -> tuple[str, float]:
        """The likeliest of WORDS after `before`, with its log-probability."""
        return max(((word, self.logprob(before, word)) for word in WORDS), key=lambda pair: pair[1])

    def continuation(self, prompt: Sequence[str], count: int) -> list[str]:
        """At most count tokens, each the likeliest after the eight before it; END is the last."""
        made: list[str] = []
        before = "".join(prompt[-8:])
        while len(made) < count:
            token, _ = self.best(before)
            made.append(token)
            if token == END:
                break
            before = "".join([*prompt, *made][-8:])
        return made

    def logprobs(self, all_tokens: Sequence[str], first: int = 0) -> dict[str, object]:
        """The `logprobs` object of /v1/completions for all_tokens[first:], as vLLM gives it.

        The very first token of a text has no log-probability: null.
        """
        offsets: list[int] = []
        values: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        place = 0
        for number, token in enumerate(all_tokens):
            if number >= first:
                offsets.append(place)
                if number == 0:
                    values.append(None)
                    tops.append(None)
                else:
                    before = "".join(all_tokens[max(0, number - 8) : number])
                    value = self.logprob(before, token)
                    word, best = self.best(before)
                    values.append(value)
                    tops.append({token: value, word: best} if best > value else {token: value})
            place += len(token)
        return {
            "text_offset": offsets,
            "token_logprobs": values,
            "tokens": list(all_tokens[first:]),
            "top_logprobs": tops,
        }
