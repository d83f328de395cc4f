"""Convert values in YAML to the text that a flag of one engine release takes, and check them.

A flag is described as in flags.json: {"type", "choices", "nargs", …}. Reads and writes no files.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchy.engines.release_flags import BadOption

About = Mapping[str, Any]

# vLLM's human_readable_int: 32k is 32,000, 32K is 32,768. Since 0.14, max_model_len may be auto.
READABLE = "human_readable_int"
# Type of a flag that takes a number → (its name in messages, examples).
NUMBERS = {
    "int": ("whole number", ""),
    "float": ("number", ""),
    READABLE: ("whole number", "4096, 32k or 32K"),
    f"{READABLE}_or_auto": ("whole number", "4096, 32k, 32K or auto"),
}
# Type of a flag that parses JSON → what it expects.
STRUCTURES = {"loads": "JSON", "parse_dataclass": "a mapping"}


def choices(about: About) -> list[str]:
    """Return the values that a flag accepts; [] if they are not listed."""
    return [str(choice) for choice in about.get("choices") or ()]


def hint(about: About) -> str:
    """Return which value to write for a flag."""
    if known := choices(about):
        return f"write one of {', '.join(known)}"
    kind, examples = NUMBERS.get(str(about.get("type")), ("text", ""))
    return f"write a {kind}{f', such as {examples}' if examples else ''}"


def scalar(value: Any, about: About) -> str:
    """Return a single value as text for the flag.

    Raises BadOption if the value does not fit the flag's choices or type, or has a line break.
    """
    text, kind, known = str(value), str(about.get("type")), choices(about)
    if known and text not in known:
        near = difflib.get_close_matches(text, known, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise BadOption(f"{text!r} is not one of its values", f"{guess}known: {', '.join(known)}")
    if kind in NUMBERS and not _is_number(text, kind):
        raise BadOption(f"{text!r} is not a {NUMBERS[kind][0]}", hint({"type": kind}))
    if kind in STRUCTURES and not _is_structure(value, kind):
        raise BadOption(f"{text!r} is not {STRUCTURES[kind]}", "write it in YAML, as a mapping")
    if "\n" in text or "\0" in text:
        raise BadOption("contains a line break", "write it on one line")
    return text


def element(value: Any, about: About) -> str:
    """Return an element of a list as one argument. Raises BadOption."""
    return _json(value) if isinstance(value, Mapping | list) else scalar(value, about)


def sequence(values: Sequence[Any], about: About) -> str:
    """Return a list as one text. Raises BadOption if the flag takes a number or a choice."""
    _refuse_structure(values, about)
    return ",".join(map(str, values)) if about.get("type") == "nullable_kvs" else _json(values)


def mapping(option: str, value: Mapping[str, Any], about: About, release: str) -> str:
    """Return a mapping as text for the flag of an option.

    release: its name in messages. Raises BadOption if the flag does not take this mapping.
    """
    _refuse_structure(value, about)
    kind = str(about.get("type"))
    if kind == "nullable_kvs":
        _check_counts(value, release)
    write = MAPPINGS.get((kind, option)) or MAPPINGS.get((kind, ""), _json)
    return write(value)


def _check_counts(value: Mapping[str, Any], release: str) -> None:
    """Raise BadOption if a value is not a whole number."""
    for key, count in value.items():
        if isinstance(count, bool) or not isinstance(count, int):
            what = f"takes a number for {key}, not {_json(count)}"
            raise BadOption(f"{what}: {release} accepts only counts", f"write {key}: 1")


def _refuse_structure(value: Any, about: About) -> None:
    """Raise BadOption if the flag takes a number or a choice, not a mapping or list."""
    if choices(about) or str(about.get("type")) in NUMBERS:
        raise BadOption(f"takes one value, not {_json(value)}", hint(about))


def _is_structure(value: Any, kind: str) -> bool:
    try:
        parsed = json.loads(str(value))
    except ValueError:
        return False
    return kind == "loads" or isinstance(parsed, dict)


def _is_number(text: str, kind: str) -> bool:
    if kind == f"{READABLE}_or_auto" and text == "auto":
        return True
    if NUMBERS[kind][1] and re.fullmatch(r"\d+[kKmMgGtT]|\d+\.\d+[kmgt]", text):
        return True
    try:
        number = float(text) if kind == "float" else int(text)
    except ValueError:
        return False
    return math.isfinite(number)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _joined(separator: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda value: ",".join(f"{key}{separator}{item}" for key, item in value.items())


def _literal(value: Any) -> str:
    """Return a value as a Python literal. It is JSON unless it contains true, false or null."""
    text = _json(value)
    try:
        ast.literal_eval(text)
    except ValueError:
        return repr(json.loads(text))
    return text


# (type of the flag, option, "" for any) → how a mapping is written; all others take JSON.
MAPPINGS: dict[tuple[str, str], Callable[[Mapping[str, Any]], str]] = {
    ("nullable_kvs", ""): _joined("="),  # vLLM up to 0.8.2: limit_mm_per_prompt
    ("from_cli", "compilation_config"): _literal,  # vLLM up to 0.8.5
    ("<lambda>", ""): _joined(":"),  # vLLM up to 0.6.1: override_neuron_config
}
