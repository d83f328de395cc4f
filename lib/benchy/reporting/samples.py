"""The samples of a result as script files, which a page opened from disk can load.

Reads the harness's samples_<task>_<time>.jsonl in a result's directory, and writes samples-<n>.js
there. Each script calls `samples(…)` with a part of the samples, so that a page shows the first
ones while it loads the rest. (A page from file:// can run a script from its directory, but cannot
fetch data.) A long text is shortened to its beginning and end; the full text is in a separate file,
samples-<n>-<m>.js, which is loaded on demand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchy.core import temporary_files
from benchy.evaluation import scores
from benchy.evaluation.result import Result, Score

PART = 400_000  # approximate characters in a part: about 200 samples of a typical task
LONG = 8_000  # maximum characters of a text in a part:
HEAD = 5_000  # this many of its beginning, the rest of its end
FIELDS = ("prompt", "turns", "target", "answer", "raw", "choices")
_FILE = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT.*\.jsonl")


def files(directory: Path, result: Result) -> list[tuple[str, Path]]:
    """Return (harness task, its samples file), sorted."""
    found = []
    for name in result.harness_output:
        match = _FILE.fullmatch(Path(name).name)
        if match and (directory / name).is_file():
            found.append((match[1], directory / name))
    return sorted(found)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of a file. Lines that are not JSON objects are skipped."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                sample = json.loads(line)
            except ValueError:
                continue
            if isinstance(sample, dict):
                yield sample


def yes_or_no(path: Path, by: Score) -> bool:
    """Return whether a score's metric is 0 or 1 in all samples of a file that have its filter."""
    of_it = [right(sample, by) for sample in read(path) if _filter(sample) == _asked(by)[1]]
    return bool(of_it) and -1 not in of_it


def right(sample: dict[str, Any], by: Score | None) -> int:
    """Return 1 if a sample is right by a score's metric, 0 if wrong, -1 if neither."""
    if by is None or _filter(sample) != _asked(by)[1]:
        return -1
    value = sample.get(_asked(by)[0])
    if not isinstance(value, int | float) or value not in (0, 1):
        return -1
    return int(value != (by.higher_is_better is False))


def _asked(by: Score) -> tuple[str, str]:
    metric, _, chosen = by.metric.partition(",")
    return metric, chosen or "none"


def _filter(sample: dict[str, Any]) -> object:
    return sample.get("filter", "none")


def shown(task: str, sample: dict[str, Any], by: Score | None = None) -> dict[str, Any]:
    """Return what a page shows of a sample.

    Args:
        task: The harness task.
        sample: The sample as the harness logged it.
        by: The score whose metric says right or wrong; None for neither.

    Returns:
        Among others these keys. ok: 1 right, 0 wrong, -1 neither. turns: [role, text] of a chat,
        which `prompt` has as one text. target, answer, raw: a text, or a list of several texts.
        choices: [text, log-likelihood] of multiple choice. empty: those of answer and raw that have
        no text; absent if there are none.
    """
    calls = sample.get("arguments")
    values = list(calls.values()) if isinstance(calls, dict) else list(calls or [])
    arguments = [list(v.values()) if isinstance(v, dict) else v for v in values]
    arguments = [v for v in arguments if isinstance(v, list) and v]
    filtered = sample.get("filtered_resps") or []
    turns = chat(arguments[0][0]) if arguments else []
    out: dict[str, Any] = {
        "task": task,
        "id": sample.get("doc_id"),
        "prompt": prompt_text(arguments[0][0]) if arguments else text(sample.get("doc")),
        "target": several(sample.get("target")),
        "answer": several(filtered),
        "filter": text(sample.get("filter", "none")),
    }
    if turns:
        out["turns"] = [list(turn) for turn in turns]
    raw = sample.get("resps") or []
    choices = [a[1] for a in arguments if len(a) > 1 and isinstance(a[1], str)]
    if len(choices) > 1 and len(choices) == len(filtered):
        numbers = [_number(f[0] if isinstance(f, list) and f else f) for f in filtered]
        out["choices"] = [list(pair) for pair in zip(choices, numbers, strict=True)]
        likely = [n if n is not None else float("-inf") for n in numbers]
        out["answer"] = choices[likely.index(max(likely))]
        target = str(sample.get("target"))
        if target.isdigit() and int(target) < len(choices):
            out["target"] = choices[int(target)]
    else:
        if len(raw) == 1 and several(raw[0]) != out["answer"]:
            out["raw"] = several(raw[0])
        empty = [name for name in ("answer", "raw") if name in out and not joined(out[name])]
        if empty and (filtered or raw):
            out["empty"] = empty
    metrics = [m for m in sample.get("metrics") or [] if isinstance(m, str)]
    numbers_of = {m: sample[m] for m in metrics if isinstance(sample.get(m), (int, float))}
    out["scores"] = {m: scores.of_sample(value, m) for m, value in numbers_of.items()}
    out["ok"] = right(sample, by)
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
        return ["" if one is None else text(one) for one in value]
    return text(value)


def joined(value: str | list[str]) -> str:
    """Join several answers into one numbered text; "" if no answer has text."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if not any(one.strip() for one in value):
        return ""
    return "\n".join(f"{n}. {one}" for n, one in enumerate(value, 1))


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
    if not all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in value):
        return []
    return [(turn["role"], _content(turn)) for turn in value]


def _content(turn: dict[str, Any]) -> str:
    """Return the text of a turn, one part per line. A part without text (an image) is shown by its
    type, and other fields (tool calls) as JSON."""
    content = turn.get("content")
    parts = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif isinstance(part, dict):
            parts.append(f"[{part.get('type', 'part')}]")
        elif part is not None:
            parts.append(text(part))
    more = {k: v for k, v in turn.items() if k not in ("role", "content", "type") and v}
    return "\n".join([*parts, *([text(more)] if more else [])])


def prompt_text(value: object) -> str:
    """Return a prompt as text; the turns of a chat follow each other."""
    turns = chat(value)
    return "\n\n".join(f"[{role}] {said}" for role, said in turns) if turns else text(value)


def _cut(value: Any, room: int = LONG) -> Any:
    """Shorten a text, or a list of texts, to about `room` characters.

    A long text becomes {"head", "tail", "size"}. In a long list, {"left": n} replaces n items.
    """
    if isinstance(value, list) and _size(value) > room:
        return _cut_list(value, room)
    if not isinstance(value, str) or len(value) <= room:
        return value
    head = room * HEAD // LONG
    return {"head": value[:head], "tail": value[head - room :], "size": len(value)}


def _cut_list(value: list[Any], room: int) -> list[Any]:
    """Shorten a list to its first and last items, with more of the first."""
    each = [_cut(one, max(400, room // 4)) for one in value]
    if len(each) == 1:
        return each
    begin, end = 1, len(each) - 1  # items begin … end - 1 are left out
    taken = _size(each[0]) + _size(each[-1])
    while begin < end:
        in_front = 2 * begin <= 3 * (len(each) - end)
        taken += _size(each[begin if in_front else end - 1])
        if taken > room:
            break
        begin, end = (begin + 1, end) if in_front else (begin, end - 1)
    gap = [{"left": end - begin}] if begin < end else []
    return each[:begin] + gap + each[end:]


def _size(value: Any) -> int:
    """Return the number of characters of text in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def write(directory: Path, result: Result, key: str, score: Score | None) -> int:
    """Bring the script files of a result up to date, and return the number of parts.

    Args:
        directory: The directory of the result.
        result: The result.
        key: A text that changes with everything else that the files are made from. It is in the
            first part, which is written last.
        score: The score whose metric says right or wrong; None for neither.
    """
    head = f"// {key} {score.metric} {score.higher_is_better}\n" if score else f"// {key}\n"
    first = directory / "samples-1.js"
    try:
        with first.open(encoding="utf-8") as file:
            if file.readline() == head:
                found = re.match(r"// of (\d+)", file.readline())
                if found and all(
                    (directory / f"samples-{n + 1}.js").exists() for n in range(int(found[1]))
                ):
                    return int(found[1])
    except (OSError, UnicodeDecodeError):
        pass
    for old in directory.glob("samples-*.js"):
        old.unlink()
    count, size = 0, 0
    part: list[dict[str, Any]] = []
    waiting: str | None = None  # the first part, until the number of parts is known

    def flush() -> None:
        nonlocal count, size, part, waiting
        count += 1
        body = f"samples({script(result.task.name)},{count},{script(part)});\n"
        if count == 1:
            waiting = body
        else:
            _put(directory / f"samples-{count}.js", body)
        size, part = 0, []

    for task, path in files(directory, result):
        by = score if score and yes_or_no(path, score) else None
        for sample in read(path):
            one = shown(task, sample, by)
            if "turns" in one:
                del one["prompt"]  # the turns have the same text
            whole = {name: one[name] for name in FIELDS if name in one}
            short = {name: _cut(value) for name, value in whole.items()}
            long = {name: value for name, value in whole.items() if short[name] != value}
            if long:
                name = f"samples-{count + 1}-{len(part)}.js"
                _put(directory / name, f"whole({script(name)},{script(long)});\n")
                one |= short | {"long": list(long), "file": name}
            part.append(one)
            size += _size(short) + 200
            if size > PART:
                flush()
    if part:
        flush()
    if waiting is not None:
        _put(first, f"{head}// of {count}\n{waiting}")
    return count


def script(value: object) -> str:
    """Return a value as JSON that is also JavaScript."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True)


def _put(path: Path, body: str) -> None:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode. It is written as its escape.
    temporary_files.write(path, body, errors="backslashreplace")
