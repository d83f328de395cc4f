"""Convert options in YAML to command-line arguments of one engine release.

The flags come from flags.json of an environment, which describes the release's own argument parser:
{"--max-model-len": {"name", "type", "nargs", "default", "choices", "action", "help"}}. An option is
the name of a flag without `--`, with _ for -. benchy's own provider keys are options too. Reads and
writes no files.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchy.config.written import Written
from benchy.core.errors import ConfigError, Mistake
from benchy.engines import release_flags, unavailable_options
from benchy.engines.release_flags import BadOption, Release


def arguments(
    options: Mapping[str, Any],
    release: Release,
    *,
    defaults: Mapping[str, Any] | None = None,
    written: Written | None = None,
) -> list[str]:
    """Return the arguments that pass options to a release, sorted by option.

    Args:
        options: The configured options; None means that the option is not passed.
        release: The engine release.
        defaults: The engine file's options, overridden by `options`. Those that the release lacks
            are left out.
        written: Where the options were written, for error messages.

    Raises:
        ConfigError: With every mistake found.
    """
    said = {
        option
        for each in options
        for option in (each, release_flags.swapped(each), release_flags.contrary(each, ""))
    }
    wanted = {
        name: value
        for name, value in (defaults or {}).items()
        if release.has(name) and name not in said
    }
    wanted.update(options)
    mistakes: list[Mistake] = []

    def mistake(option: str, bad: BadOption) -> None:
        mistakes.append((written or Written()).mistake(option, bad.what, bad.hint))

    wanted = _own_keys(wanted, release, mistake)
    out: list[str] = []
    for option, value in sorted(wanted.items()):
        if value is None:
            continue
        try:
            if not release.has(option):
                raise unavailable_options.lacking(option, release)
            out += _words(option, value, release)
        except BadOption as bad:
            mistake(option, bad)
    if mistakes:
        raise ConfigError(mistakes)
    return out


def _own_keys(
    options: Mapping[str, Any], release: Release, mistake: Callable[[str, BadOption], None]
) -> dict[str, Any]:
    """Return the options with benchy's own provider keys replaced by options of the release.

    mistake: called with each key that cannot be replaced.
    """
    wanted = dict(options)
    memory = wanted.pop("kv_cache_memory", None)
    if memory and not release.has("kv_cache_memory_bytes"):
        what = f"{release.name} cannot be given a size for its KV cache (vLLM can from 0.10.2)"
        hint = "write 0 and set gpu_memory_utilization, or take a newer release"
        mistake("kv_cache_memory", BadOption(what, hint))
    elif memory:
        wanted.setdefault("kv_cache_memory_bytes", memory)
    if wanted.get("enforce_eager") is False:
        del wanted["enforce_eager"]
    if wanted.pop("multimodal", None) is False and "limit_mm_per_prompt" not in wanted:
        for option, value in unavailable_options.text_alone(release).items():
            wanted.setdefault(option, value)
    return wanted


def _words(option: str, value: Any, release: Release) -> list[str]:
    """Return the arguments for one option. Raises BadOption."""
    negated = release_flags.flag_of(option) not in release.flags
    flag = release_flags.flag_of(option)
    about = release.flags[release_flags.flag_of(option.removeprefix("no_")) if negated else flag]
    action = str(about.get("action") or "").rpartition(".")[2]
    kind = str(about.get("type") or "")
    if action in (
        *release_flags.TWO_SIDED,
        "_StoreTrueAction",
        "_StoreFalseAction",
        "StoreBoolean",
    ):
        if not isinstance(value, bool):
            raise BadOption(f"{value!r} is not true or false", "write true or false")
        if action in release_flags.TWO_SIDED:
            if negated:  # the negation of a flag, not a flag itself
                option, value = option.removeprefix("no_"), not value
            return [
                release_flags.flag_of(option if value else release_flags.contrary(option, action))
            ]
        if action == "StoreBoolean":  # vLLM 0.6 and 0.7: --enable-chunked-prefill [true|false]
            return [f"{flag}={str(value).lower()}"]
        if value:
            return [flag]
        if about.get("default") is True and action == "_StoreTrueAction":
            raise BadOption(f"can't be switched off in {release.name}", "leave it out")
        return []
    if isinstance(value, bool):
        return _boolean_value(flag, value, about)
    if isinstance(value, Mapping):
        _refuse_structure(value, about)
        if "kvs" in kind:  # vLLM up to 0.8.4: limit_mm_per_prompt as image=1,video=0
            for key, each in value.items():
                if isinstance(each, bool) or not isinstance(each, int):
                    what = f"takes a number for {key}, not {_json(each)}"
                    raise BadOption(f"{what}: {release.name} knows counts alone", f"write {key}: 1")
            return [f"{flag}=" + ",".join(f"{key}={each}" for key, each in value.items())]
        if kind == "from_cli" and option == "compilation_config":
            return [f"{flag}={_literal(value)}"]
        if kind == "<lambda>":  # vLLM up to 0.6.3: override_neuron_config as a:1,b:2
            return [f"{flag}=" + ",".join(f"{key}:{each}" for key, each in value.items())]
        return [f"{flag}={_json(value)}"]
    if isinstance(value, list):
        return _list_words(flag, value, about, action)
    return [f"{flag}={_scalar(value, about)}"]


def _boolean_value(flag: str, value: bool, about: Mapping[str, Any]) -> list[str]:
    """Return the arguments that pass a boolean to a flag without a boolean action.

    Raises BadOption.
    """
    if about.get("type") == "bool":  # argparse's bool("False") is true; only bool("") is not
        return [f"{flag}=True" if value else f"{flag}="]
    choices = [str(choice) for choice in about.get("choices") or ()]
    for word in (str(value), str(value).lower(), "on" if value else "off"):
        if word in choices:
            return [f"{flag}={word}"]
    if about.get("nargs") == "?" and not choices:
        return [flag] if value else []
    hint = f"write one of {', '.join(choices)}" if choices else f"write a {_kind(about)}"
    raise BadOption(f"takes a value, not {str(value).lower()}", hint)


def _list_words(
    flag: str, values: Sequence[Any], about: Mapping[str, Any], action: str
) -> list[str]:
    """Return the arguments for a list: a repeated flag, several words, or JSON.

    Raises BadOption.
    """
    nargs = about.get("nargs")
    if action in ("_AppendAction", "_ExtendAction") and nargs is None:
        return [f"{flag}={_scalar(value, about)}" for value in values]
    if nargs in ("+", "*") or isinstance(nargs, int):
        words = [
            _json(value) if isinstance(value, Mapping | list) else _scalar(value, about)
            for value in values
        ]
        if not words and nargs != "*":
            return []
        for word in words:
            if word.startswith("-") and not word[1:].replace(".", "", 1).isdigit():
                raise BadOption(
                    f"{word!r} begins with a dash", "a list's words can't begin with a dash"
                )
        return [flag, *words]
    _refuse_structure(values, about)
    if "kvs" in str(about.get("type")):
        return [f"{flag}={','.join(map(str, values))}"]
    return [f"{flag}={_json(values)}"]


def _refuse_structure(value: Any, about: Mapping[str, Any]) -> None:
    """Raise BadOption if the flag takes a number or a choice, not a mapping or list."""
    choices = [str(choice) for choice in about.get("choices") or ()]
    if choices or _number(about):
        hint = f"write one of {', '.join(choices)}" if choices else f"write a {_kind(about)}"
        raise BadOption(f"takes one value, not {_json(value)}", hint)


def _scalar(value: Any, about: Mapping[str, Any]) -> str:
    """Return a value as text for the flag.

    Raises BadOption if the value does not fit the flag's choices or type, or has a line break.
    """
    text = str(value)
    choices = [str(choice) for choice in about.get("choices") or ()]
    if choices and text not in choices:
        near = difflib.get_close_matches(text, choices, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadOption(f"{text!r} is not one of its values", f"{hint}known: {', '.join(choices)}")
    number = _number(about)
    if number and not _is_number(text, number):
        more = f", such as {_EXAMPLES[number]}" if number in _EXAMPLES else ""
        raise BadOption(f"{text!r} is no {_kind(about)}", f"write a {_kind(about)}{more}")
    if about.get("type") in _STRUCTURES and not _is_json(value, about["type"]):
        raise BadOption(
            f"{text!r} is no {_STRUCTURES[about['type']]}", "write it in YAML, as a mapping"
        )
    if "\n" in text or "\0" in text:
        raise BadOption("holds a line break", "write it in one line")
    return text


# vLLM's human_readable_int: 32k is 32,000, 32K is 32,768. Since 0.14, max_model_len may be auto.
_READABLE = "human_readable_int"
_EXAMPLES = {_READABLE: "4096, 32k or 32K", _READABLE + "_or_auto": "4096, 32k, 32K or auto"}


# Types of flags that parse JSON, and what they expect.
_STRUCTURES = {"loads": "JSON", "parse_dataclass": "mapping"}


def _is_json(value: Any, kind: str) -> bool:
    try:
        found = json.loads(str(value))
    except ValueError:
        return False
    return kind == "loads" or isinstance(found, dict)


def _number(about: Mapping[str, Any]) -> str:
    """Return the type of a flag that takes a number; "" for other flags."""
    kind = str(about.get("type"))
    return kind if kind in ("int", "float", *_EXAMPLES) else ""


def _is_number(text: str, kind: str) -> bool:
    if kind == _READABLE + "_or_auto" and text == "auto":
        return True
    if kind in _EXAMPLES and re.fullmatch(r"\d+[kKmMgGtT]|\d+\.\d+[kmgt]", text):
        return True
    try:
        number = float(text) if kind == "float" else int(text)
    except ValueError:
        return False
    return math.isfinite(number)


def _kind(about: Mapping[str, Any]) -> str:
    number = _number(about)
    return "number" if number == "float" else "whole number" if number else "text"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _literal(value: Any) -> str:
    """Return a value as a Python literal, which vLLM up to 0.8.5 expects for compilation_config.

    It is JSON unless the value contains true, false or null.
    """
    text = _json(value)
    try:
        ast.literal_eval(text)
    except ValueError:
        return repr(json.loads(text))
    return text
