"""The samples of a result, for its page: script files that a page from the disk can load.

Reads the harness's samples_<task>_<time>.jsonl beside a result. Writes samples-<n>.js into the
result's directory: each calls `samples(…)` with a part of them, so that a page shows the first ones
while the rest comes, and a page that nobody opens costs nothing. (A page from file:// may run a
script that lies beside it; it may not fetch data.) A very long text has its beginning and its end
there, and is whole in a file of its own, samples-<n>-<m>.js, which is loaded on demand.
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

PART = 400_000  # characters in a part, about; some 200 samples of a usual task
LONG = 8_000  # characters of a text that a part holds:
HEAD = 5_000  # so many of its beginning, the others of its end
FIELDS = ("prompt", "turns", "target", "answer", "raw", "choices")
_FILE = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT.*\.jsonl")


def files(directory: Path, result: Result) -> list[tuple[str, Path]]:
    """(task of the harness, its samples file), sorted."""
    found = []
    for name in result.harness_output:
        match = _FILE.fullmatch(Path(name).name)
        if match and (directory / name).is_file():
            found.append((match[1], directory / name))
    return sorted(found)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a file; a line that is no JSON object is left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                sample = json.loads(line)
            except ValueError:
                continue
            if isinstance(sample, dict):
                yield sample


def yes_or_no(path: Path, by: Score) -> bool:
    """Is the metric of this score 0 or 1 in all samples of a file that are of its filter?"""
    of_it = [right(sample, by) for sample in read(path) if _filter(sample) == _asked(by)[1]]
    return bool(of_it) and -1 not in of_it


def right(sample: dict[str, Any], by: Score | None) -> int:
    """1 right, 0 wrong by the metric of this score; -1 where it says neither."""
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
    """What a page shows of a sample. by: what tells right from wrong, None for nothing. ok: 1
    right, 0 wrong, -1 neither; turns: (role, text) of a chat, whose prompt has them one after
    another; target, answer, raw: a text, or a list of them where there are several; choices: [text,
    log-likelihood] of multiple choice. empty: those of answer and raw that hold no text; absent
    where both hold some."""
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
    """An answer as text: "" where there is none, or where the server gave none (null). A list of
    texts where a sample was asked several times, or where several answers are right."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == []:
        return ""
    if isinstance(value, list):
        return ["" if one is None else text(one) for one in value]
    return text(value)


def joined(value: str | list[str]) -> str:
    """Several answers as one text, each with its number; "" if none holds any."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if not any(one.strip() for one in value):
        return ""
    return "\n".join(f"{n}. {one}" for n, one in enumerate(value, 1))


def chat(value: object) -> list[tuple[str, str]]:
    """(role, text) of a chat's turns; [] for a prompt that is none. The harness logs a chat as JSON
    in a list of its own (JsonChatStr, lm_eval/models/api_models.py)."""
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
    """The text of a turn: its parts, one a line; what is no text (an image) by its type; what else
    it says (tool calls) as JSON."""
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
    """A prompt as text; a chat's turns, one after another."""
    turns = chat(value)
    return "\n\n".join(f"[{role}] {said}" for role, said in turns) if turns else text(value)


def _cut(value: Any, room: int = LONG) -> Any:
    """A text, or a list of them, with about `room` characters at most: a long text becomes {"head",
    "tail", "size"}; in a long list, {"left": n} is in the place of those left out."""
    if isinstance(value, list) and _size(value) > room:
        return _cut_list(value, room)
    if not isinstance(value, str) or len(value) <= room:
        return value
    head = room * HEAD // LONG
    return {"head": value[:head], "tail": value[head - room :], "size": len(value)}


def _cut_list(value: list[Any], room: int) -> list[Any]:
    """Its first and its last ones, more of the first."""
    each = [_cut(one, max(400, room // 4)) for one in value]
    if len(each) == 1:
        return each
    begin, end = 1, len(each) - 1  # what lies between is left out
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
    """Characters of text in it."""
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
    """Bring the script files of a result up to date; how many parts there are. score: the number
    for the table, by whose metric samples are right or wrong; None for neither. key: changes with
    all else that they are made of; the first part carries it and is written last."""
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
                del one["prompt"]  # the same once more
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
    """JSON that is also JavaScript."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True)


def _put(path: Path, body: str) -> None:
    # Half a surrogate pair, which JSON may carry and UTF-8 may not, becomes its escape again.
    temporary_files.write(path, body, errors="backslashreplace")
