"""Writes the samples of a result as script files, which a page opened from disk can load.

Writes samples-<n>.js to the result's directory. Each script calls `samples(…)` with a part of the
samples, so that a page shows the first ones while it loads the rest. (A page from file:// can run a
script from its directory, but cannot fetch data.) A long text is shortened to its beginning and
end; the full text is in a separate file, samples-<n>-<m>.js, which is loaded on demand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchy.core import temporary_files
from benchy.evaluation.result import Result, Score
from benchy.reporting import sample_view, samples

PART = 400_000  # approximate characters in a part: about 200 samples of a typical task
LONG = 8_000  # maximum characters of a text in a part:
HEAD = 5_000  # this many of its beginning, the rest of its end
FIELDS = ("prompt", "turns", "target", "answer", "raw", "choices")


def write(directory: Path, result: Result, key: str, score: Score | None) -> int:
    """Bring the script files of a result up to date, and return the number of parts.

    Args:
        directory: The directory of the result.
        result: The result.
        key: A text that changes with everything else that the files are made from. It is in the
            first part, which is written last.
        score: The score whose metric says right or wrong; None for neither.
    """
    key = f"{key} {score.metric} {score.higher_is_better}" if score else key
    if (count := complete(directory, key)) is not None:
        return count
    for old in directory.glob("samples-*.js"):
        old.unlink()
    count, first = 0, ""
    for count, part in enumerate(_parts(directory, _views(directory, result, score)), 1):
        body = f"samples({script(result.task.name)},{count},{script(part)});\n"
        if count == 1:
            first = body
        else:
            _put(directory / f"samples-{count}.js", body)
    if count:
        _put(directory / "samples-1.js", f"// {key}\n// of {count}\n{first}")
    return count


def complete(directory: Path, key: str) -> int | None:
    """Return the number of parts if all of them exist, made with this key, or None."""
    try:
        with (directory / "samples-1.js").open(encoding="utf-8") as file:
            lines = file.readline(), file.readline()
    except (OSError, UnicodeDecodeError):
        return None
    match = re.match(r"// of (\d+)", lines[1])
    if lines[0] != f"// {key}\n" or not match:
        return None
    count = int(match[1])
    exist = all((directory / f"samples-{n}.js").exists() for n in range(1, count + 1))
    return count if exist else None


def _views(directory: Path, result: Result, score: Score | None) -> Iterator[dict[str, Any]]:
    """Yield what a page shows of each logged sample."""
    for task, path in samples.files(directory, result):
        binary = score if score and samples.is_binary(path, score) else None
        for sample in samples.read(path):
            yield sample_view.shown(task, sample, binary)


def _parts(directory: Path, views: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the samples of each part. Writes the files of long texts."""
    number, part, size = 1, list[dict[str, Any]](), 0
    for view in views:
        entry, full, length = shortened(view)
        if full:
            entry["file"] = f"samples-{number}-{len(part)}.js"
            body = f"whole({script(entry['file'])},{script(full)});\n"
            _put(directory / entry["file"], body)
        part.append(entry)
        size += length + 200
        if size > PART:
            yield part
            number, part, size = number + 1, [], 0
    if part:
        yield part


def shortened(view: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Shorten the long texts of a sample.

    Returns:
        The sample, with the names of shortened fields in `long`; the full texts of those; and the
        number of characters that remain in all text fields.
    """
    # The turns of a chat have the same text as its prompt.
    entry = {name: v for name, v in view.items() if name != "prompt" or "turns" not in view}
    texts = {name: entry[name] for name in FIELDS if name in entry}
    short = {name: _cut(value) for name, value in texts.items()}
    full = {name: value for name, value in texts.items() if short[name] != value}
    if full:
        entry |= short | {"long": list(full)}
    return entry, full, _size(short)


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
    items = [_cut(item, max(400, room // 4)) for item in value]
    if len(items) == 1:
        return items
    begin, end = 1, len(items) - 1  # items begin … end - 1 are left out
    taken = _size(items[0]) + _size(items[-1])
    while begin < end:
        in_front = 2 * begin <= 3 * (len(items) - end)
        taken += _size(items[begin if in_front else end - 1])
        if taken > room:
            break
        begin, end = (begin + 1, end) if in_front else (begin, end - 1)
    gap = [{"left": end - begin}] if begin < end else []
    return items[:begin] + gap + items[end:]


def _size(value: Any) -> int:
    """Return the number of characters of text in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 8


def script(value: object) -> str:
    """Return a value as JSON that is also JavaScript."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True)


def _put(path: Path, body: str) -> None:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode. It is written as its escape.
    temporary_files.write(path, body, errors="backslashreplace")
