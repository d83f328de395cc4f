"""Formats a preview, as returned by preview.of, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from benchy.core.text import listed

BAR = "  │ "
ENDS = 3  # tokens shown at each end of a prompt
SHOWN = ("max_tokens", "temperature", "stop")


def lines(preview: Mapping[str, Any]) -> Iterator[str]:
    """Yield all lines of a preview."""
    by = {"client": "as token ids", "server": "as text"}
    prompts = preview["prompts"]
    form = "as turns" if "chat" in preview["endpoint"] else by[prompts[0]["sent"][0]["by"]]
    yield f"{preview['model']}/{preview['task']}: POST {preview['endpoint']}, prompts {form}"
    yield from _model(preview)
    for note in preview["notes"]:
        yield f"  note: {note}"
    last = ""
    for (task, doc), group in groupby(prompts, lambda prompt: (prompt["task"], prompt["doc"])):
        if task != last:
            yield from _task(task, preview["tasks"].get(task, {}))
            last = task
        yield ""
        yield f"{task}, document {doc}"
        yield from _document(list(group), preview)


def _model(preview: Mapping[str, Any]) -> Iterator[str]:
    yield f"  tokenizer: {preview['tokenizer']}"
    chat = "chat" in preview["endpoint"]
    if chat:
        template = preview["chat_template"]
        yield f"  chat template: {template}; the server renders it and adds no tokens"
    elif preview["prefix"] is not None:
        words = " and ".join(
            f"{' '.join(map(repr, preview[part]))} {where}"
            for part, where in (("prefix", "before"), ("suffix", "after")) if preview[part]
        )  # fmt: skip
        taken = "; benchy removes those after it if an answer follows"
        added = f"adds {words} a text" + (taken if preview["suffix"] else "")
        yield f"  special tokens: the tokenizer {added if words else 'adds none'}"
    length = preview["max_model_len"]
    if length:
        yield f"  max_model_len: {length:,} tokens, from {preview['max_model_len_from']}"
    else:
        yield "  max_model_len: unknown; truncation is not shown"


def _task(task: str, about: Mapping[str, Any]) -> Iterator[str]:
    facts = [about.get("output", "")]
    if "shots" in about:
        facts.append(f"{about['shots']} shots")
    if "documents" in about:
        facts.append(f"{about['documents']:,} documents")
    yield ""
    yield f"== {task}: {', '.join(filter(None, facts))}"


def _document(group: Sequence[Mapping[str, Any]], preview: Mapping[str, Any]) -> Iterator[str]:
    first = group[0]
    if first["leaked"]:
        yield "  WARNING: this document is one of its own examples (set fewshot_split)"
    method = first["method"]
    if method == "loglikelihood":
        yield from _choices(group, preview)
    else:
        for entry in group:
            for sent in entry["sent"]:
                yield from _prompt(sent)
                yield from _room(sent, entry, preview)
    if method == "generate_until":
        body = first["sent"][0]["body"]
        yield "  request: " + ", ".join(f"{key}: {body[key]!r}" for key in SHOWN if key in body)
        others = {k: v for k, v in body.items() if k not in (*SHOWN, "model")}
        yield "    and " + ", ".join(f"{key}: {value!r}" for key, value in sorted(others.items()))
        yield f"  target: {first['target']!r}"


def _prompt(sent: Mapping[str, Any], until: int | None = None) -> Iterator[str]:
    """Yield the lines of a prompt, or of its first `until` tokens."""
    if sent.get("messages"):
        yield "  turns:"
        for message in sent["messages"]:
            yield from _boxed(str(message["content"]), f"    {message['role']}: ", "    │ ")
        if sent["rendered"] is None:
            return
        yield f"  rendered by the server, {_tokens(len(sent['ids']))}:"
    else:
        ids = sent["ids"]
        count = "" if ids is None else f", {_tokens(len(ids[:until]))}"
        yield f"  prompt{count}:"
    text = sent["text"] if until is None else sent["before"]
    yield from _boxed(str(text), BAR, BAR)
    yield from _specials(sent, until)


def _boxed(text: str, first: str, bar: str) -> Iterator[str]:
    """Yield each line of a text behind a bar.

    A final line break is shown as ⏎, and each space at the end of a line as ·.
    """
    rows = text.split("\n")
    for n, row in enumerate(rows):
        bare = row.rstrip(" ")
        shown = bare + "·" * (len(row) - len(bare))
        mark = "⏎" if n < len(rows) - 1 and not any(rows[n + 1 :]) else ""
        yield ((first if n == 0 else bar) + shown + mark).rstrip()


def _specials(sent: Mapping[str, Any], until: int | None = None) -> Iterator[str]:
    """Yield the special tokens of a prompt, and its first and last tokens."""
    tokens, special = sent["tokens"], sent["special"]
    if tokens is None:
        return
    ids, tokens = sent["ids"][:until], tokens[:until]
    marks = [at for at in special if at < len(ids)]
    named = [f"{tokens[at]!r} ({ids[at]}) at {at}" for at in marks]
    yield f"  special tokens in it: {listed(named, 6) or 'none'}"
    yield f"  begins {_ends(tokens[:ENDS])}, ends {_ends(tokens[-ENDS:])}"
    if len(marks) > 1 and marks[:2] == [0, 1] and ids[0] == ids[1]:
        yield f"  WARNING: the prompt begins with {tokens[0]!r} twice"


def _tokens(number: int) -> str:
    return f"{number:,} token{'s' * (number != 1)}"


def _ends(tokens: Sequence[str]) -> str:
    return " ".join(map(repr, tokens))


def _room(
    sent: Mapping[str, Any], entry: Mapping[str, Any], preview: Mapping[str, Any]
) -> Iterator[str]:
    ids, length = sent["ids"], preview["max_model_len"]
    if entry["cut"]:
        yield "  WARNING: it does not fit: its left end is cut off, including special tokens"
        return
    most = sent["body"].get("max_tokens", 0)
    if ids is None or not length:
        return
    room = f"  room: {len(ids):,} + {most:,} of {length:,} tokens"
    if len(ids) + most > length:
        yield f"  WARNING: it does not fit, and the server rejects it:{room[7:]}"
    elif entry["method"] == "generate_until":
        yield room


def _choices(group: Sequence[Mapping[str, Any]], preview: Mapping[str, Any]) -> Iterator[str]:
    """Yield the choices of a document: their common prompt once, then each choice."""
    shown: Any = None
    for entry in group:
        for sent in entry["sent"]:
            at = sent.get("context")
            before = sent["ids"][:at] if at is not None else sent["text"]
            if at is None or before != shown:
                yield from _prompt(sent, at)
                yield f"  choices, each after the prompt; target: {group[0]['target']!r}"
            shown = before
            yield _choice(entry, sent, at)
            yield from _room(sent, entry, preview)


def _choice(entry: Mapping[str, Any], sent: Mapping[str, Any], at: int | None) -> str:
    mark = "*" if _right(entry) else " "
    text = f"  {mark} {entry['request']}: {entry['continuation']!r}"
    if at is not None and sent["tokens"] is not None:
        rest = sent["tokens"][at:]
        text += f"  {_tokens(len(rest))}: {_ends(rest[:8])}" + (" …" if len(rest) > 8 else "")
    return text


def _right(entry: Mapping[str, Any]) -> bool:
    target, choices = entry["target"], entry["choices"]
    if isinstance(target, bool) or not choices:
        return False
    if isinstance(target, list):
        return entry["request"] in target
    if isinstance(target, str) and target in choices:
        target = choices.index(target)
    return bool(target == entry["request"])
