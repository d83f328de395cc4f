"""A sample in the form that a page or a terminal shows: prompt, turns, answer, choices, scores."""

from __future__ import annotations

import json
from typing import Any

from benchy.evaluation import scores
from benchy.evaluation.result import Score
from benchy.reporting import samples


def shown(task: str, sample: dict[str, Any], score: Score | None = None) -> dict[str, Any]:
    """Return what a page shows of a sample.

    Args:
        task: The harness task.
        sample: The sample as the harness logged it.
        score: The score whose metric says right or wrong; None for neither.

    Returns:
        Among others these keys. ok: 1 right, 0 wrong, -1 neither. turns: [role, text] of a chat,
        which `prompt` has as one text. target, answer, raw: a text, or a list of several texts.
        choices: [text, log-likelihood] of multiple choice. empty: those of answer and raw that have
        no text; absent if there are none.
    """
    arguments = _arguments(sample)
    out: dict[str, Any] = {
        "task": task,
        "id": sample.get("doc_id"),
        "prompt": prompt_text(arguments[0][0]) if arguments else text(sample.get("doc")),
        "target": several(sample.get("target")),
        "answer": several(sample.get("filtered_resps") or []),
        "filter": text(sample.get("filter", "none")),
    }
    if turns := chat(arguments[0][0]) if arguments else []:
        out["turns"] = [list(turn) for turn in turns]
    out |= _choices(sample, arguments) or _generated(sample, out["answer"])
    metrics = [m for m in sample.get("metrics") or [] if isinstance(m, str)]
    values = {m: sample[m] for m in metrics if isinstance(sample.get(m), (int, float))}
    out["scores"] = {m: scores.of_sample(value, m) for m, value in values.items()}
    out["ok"] = samples.outcome(sample, score)
    return out


def _arguments(sample: dict[str, Any]) -> list[list[Any]]:
    """Return the arguments of each request: a mapping, or lists in older releases."""
    logged = sample.get("arguments")
    requests = list(logged.values()) if isinstance(logged, dict) else list(logged or [])
    arguments = [list(r.values()) if isinstance(r, dict) else r for r in requests]
    return [values for values in arguments if isinstance(values, list) and values]


def _choices(sample: dict[str, Any], arguments: list[list[Any]]) -> dict[str, Any]:
    """Return the fields of a multiple-choice sample; {} if it is none.

    The answer is the choice with the highest log-likelihood.
    """
    filtered = sample.get("filtered_resps") or []
    choices = [a[1] for a in arguments if len(a) > 1 and isinstance(a[1], str)]
    if len(choices) < 2 or len(choices) != len(filtered):
        return {}
    numbers = [_number(f[0] if isinstance(f, list) and f else f) for f in filtered]
    likely = [float("-inf") if number is None else number for number in numbers]
    out: dict[str, Any] = {
        "choices": [list(pair) for pair in zip(choices, numbers, strict=True)],
        "answer": choices[likely.index(max(likely))],
    }
    target = str(sample.get("target"))
    if target.isdigit() and int(target) < len(choices):
        out["target"] = choices[int(target)]
    return out


def _generated(sample: dict[str, Any], answer: str | list[str]) -> dict[str, Any]:
    """Return the fields of a generated answer: the text before the filter, and what is empty."""
    raw = sample.get("resps") or []
    out: dict[str, Any] = {}
    if len(raw) == 1 and several(raw[0]) != answer:
        out["raw"] = several(raw[0])
    empty = [name for name, value in {"answer": answer, **out}.items() if not joined(value)]
    if empty and (raw or sample.get("filtered_resps")):
        out["empty"] = empty
    return out


def text(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def several(value: object) -> str | list[str]:
    """Return an answer as text, or as a list if there are several answers or several right ones.

    An absent answer, or null from the server, is "".
    """
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == []:
        return ""
    if isinstance(value, list):
        return ["" if item is None else text(item) for item in value]
    return text(value)


def joined(value: str | list[str]) -> str:
    """Join several answers into one numbered text; "" if no answer has text."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if not any(item.strip() for item in value):
        return ""
    return "\n".join(f"{n}. {item}" for n, item in enumerate(value, 1))


def chat(value: object) -> list[tuple[str, str]]:
    """Return (role, text) of a chat's turns; [] if the prompt is not a chat.

    The harness logs a chat as JSON within a list (JsonChatStr, lm_eval/models/api_models.py).
    """
    while isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if not isinstance(value, list) or not value:
        return []
    if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value):
        return []
    return [(message["role"], _content(message)) for message in value]


def _content(message: dict[str, Any]) -> str:
    """Return the text of a turn, one part per line. A part without text (an image) is shown by its
    type, and other fields (tool calls) as JSON."""
    content = message.get("content")
    parts = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif isinstance(part, dict):
            parts.append(f"[{part.get('type', 'part')}]")
        elif part is not None:
            parts.append(text(part))
    more = {k: v for k, v in message.items() if k not in ("role", "content", "type") and v}
    return "\n".join([*parts, *([text(more)] if more else [])])


def prompt_text(value: object) -> str:
    """Return a prompt as text; the turns of a chat follow each other."""
    turns = chat(value)
    return "\n\n".join(f"[{role}] {words}" for role, words in turns) if turns else text(value)


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
