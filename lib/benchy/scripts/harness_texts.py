"""Decodes the prompts of a preview with the model's tokenizer.

The fields of SENT are those of harness_preview.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_tokens import special_tokens
else:  # in the harness's environment, where benchy is not a package
    from harness_tokens import special_tokens


class Texts:
    """Texts and tokens of prompts, by the model's tokenizer. load: returns it, or raises."""

    def __init__(self, load: Callable[[], Any], settings: dict[str, Any]) -> None:
        self.settings, self.notes = settings, list[str]()
        self.tokenizer: Any = None
        try:
            self.tokenizer = load()
            self.special = {int(n) for n in self.tokenizer.all_special_ids}
            # all_special_ids does not contain a template's own tokens (<|user|>).
            added = getattr(self.tokenizer, "added_tokens_decoder", {})
            self.special |= {int(n) for n, token in added.items() if token.special}
        except Exception as error:  # a model's files can raise anything
            self.note(f"the tokenizer can't be loaded here: {type(error).__name__}: {error}"[:300])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def encode(self, text: str, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special).input_ids)

    def ends(self) -> dict[str, Any]:
        """Return the special tokens that the tokenizer adds around a text, as texts."""
        if self.tokenizer is None:
            return {"prefix": None, "suffix": None}
        both = special_tokens(self.encode)
        return dict(zip(("prefix", "suffix"), map(self.texts, both), strict=True))

    def texts(self, ids: list[int]) -> list[str]:
        return [self.text([n]) for n in ids]

    def text(self, ids: list[int]) -> str:
        return str(
            self.tokenizer.decode(
                ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def of(self, ids: list[int] | None, text: str | None, by: str) -> dict[str, Any]:
        """Return the fields of SENT for token ids, or for a text if the ids are not known."""
        if self.tokenizer is None or ids is None:
            return {"ids": ids, "by": by, "text": text, "tokens": None, "special": None}
        return {
            "ids": ids,
            "by": by,
            "text": self.text(ids),
            "tokens": self.texts(ids),
            "special": [at for at, n in enumerate(ids) if n in self.special],
        }

    def sent(self, prompt: Any) -> dict[str, Any]:
        """Return the fields of SENT for a prompt of the completions API.

        The prompt is a list of token ids or a text. The server encodes a text with the special
        tokens that its tokenizer adds.
        """
        if not isinstance(prompt, str):
            return self.of(list(prompt), None, "client")
        ids = None if self.tokenizer is None else self.encode(prompt, True)
        return {**self.of(ids, prompt, "server"), "prompt": prompt}

    def rendered(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of SENT for a chat request, rendered as the server does.

        The server applies its template and adds no other special tokens, unless the request sets
        add_special_tokens.
        """
        turns, text = body["messages"], None
        if self.tokenizer is not None:
            try:
                text = self.tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    chat_template=body.get("chat_template") or self.settings["chat_template"],
                    add_generation_prompt=body.get("add_generation_prompt", True),
                    continue_final_message=body.get("continue_final_message", False),
                    **{
                        **(self.settings["chat_template_kwargs"] or {}),
                        **(body.get("chat_template_kwargs") or {}),
                    },
                )
            except Exception as error:  # a template can raise anything
                self.note(f"the chat template fails: {type(error).__name__}: {error}"[:300])
        special = bool(body.get("add_special_tokens", False))
        ids = None if text is None else self.encode(text, special)
        fields = self.of(ids, text, "server")
        return {**fields, "messages": turns, "rendered": text}
