"""Special tokens of prompts in the harness's API client. harness_wrapper.py has the rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

BACKENDS = ("huggingface", "remote")  # tokenizer backends that can tell special tokens apart


def special_tokens(encode: Callable[[str, bool], list[int]]) -> tuple[list[int], list[int]]:
    """Return the token ids that a tokenizer adds before and after a text.

    encode: (text, whether to add special tokens) → ids.
    """
    plain, with_special = encode("word", False), encode("word", True)
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            return with_special[:start], with_special[start + len(plain) :]
    return [], []


class Tokens:
    """A mixin that encodes texts with the special tokens that benchy wants.

    It precedes a client of the harness (TemplateAPI) in the method resolution order.
    """

    # Attributes of the client.
    add_bos_token: bool
    tokenizer: Any
    tokenizer_backend: str | None
    rolling = False  # whether the current call is that of a perplexity task
    _ends: tuple[list[int], list[int]] | None = None

    def encoded(self, text: Any, special: bool) -> Any:
        if self.tokenizer_backend == "remote":
            remote = self.tokenizer
            body = {"prompt": text, "add_special_tokens": special}
            answer = remote._request_with_retries("POST", f"{remote.base_url}/tokenize", json=body)
            return answer.json()["tokens"]
        return self.tokenizer(
            text, add_special_tokens=special, return_attention_mask=False
        ).input_ids

    def ends(self) -> tuple[list[int], list[int]]:
        """Return the token ids that the tokenizer adds before and after a text."""
        if self._ends is None:
            self._ends = special_tokens(self.encoded)
        return self._ends

    @functools.cached_property
    def prefix_token_id(self) -> Any:
        """The token for an empty context: the beginning-of-sequence token.

        Its id may be 0, which the harness's remote tokenizer treats as missing.
        """
        bos = getattr(self.tokenizer, "bos_token_id", None)
        if self.tokenizer_backend == "remote" and bos is not None:
            custom = getattr(self, "custom_prefix_token_id", None)
            return bos if custom is None else custom
        return super().prefix_token_id  # type: ignore[misc]

    def tok_encode(
        self,
        string: Any,
        left_truncate_len: int | None = None,
        add_special_tokens: bool | None = None,
        **more: Any,
    ) -> Any:
        backend = self.tokenizer_backend
        if backend not in BACKENDS:
            return super().tok_encode(string, **more)  # type: ignore[misc]
        # The harness passes False for a choice whose only context is the prefix.
        special = add_special_tokens or (add_special_tokens is None and self.add_bos_token)
        special = bool(special) and not self.rolling
        end = self.ends()[1] if special else []
        single = isinstance(string, str)
        if single or backend == "remote":
            rows = [self.encoded(text, special) for text in ([string] if single else string)]
        else:
            rows = self.encoded(list(string), special)
        if end:
            rows = [row[: -len(end)] if row[-len(end) :] == end else row for row in rows]
        if left_truncate_len:
            rows = [row[-left_truncate_len:] for row in rows]
        return rows[0] if single else rows
