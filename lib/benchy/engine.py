"""From options in YAML to the arguments of one engine release, known by its own parser.

flags.json of an environment is what its release's argument parser says of itself:
{"--max-model-len": {"name", "type", "nargs", "default", "choices", "action", "help"}}. An option
is the flag's name without `--`, with _ for -; on top of those come benchy's own provider keys.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from benchy.errors import ConfigError, Mistake

Flags = Mapping[str, Mapping[str, Any]]

# What benchy sets itself. A key on a command line could be read by everybody on the machine, and
# a socket or certificate would move the server away from where its identity is proved.
OURS = {
    "model": "write model.name",
    "served_model_name": "benchy names the model after the file",
    "api_key": "leave it out, benchy makes a key for each run",
    "hf_token": "write it in the provider file, benchy passes it on through the environment",
    "host": "write it in the provider file",
    "port": "write it in the provider file",
    "revision": "write model.revision",
    "uds": "leave it out, benchy talks to the server over TCP",
    "ssl_keyfile": "leave it out, benchy talks to the server on this machine only",
    "ssl_certfile": "leave it out, benchy talks to the server on this machine only",
    "headless": "leave it out, benchy needs the server's HTTP side",
    "root_path": "leave it out, benchy needs the server's plain paths",
}

MODALITIES = ("image", "audio", "video")
# --x and --no-x; since vLLM 0.33 --enable-x and --disable-x where the name begins so.
TWO_SIDED = ("BooleanOptionalAction", "EnableDisableAction")


@dataclass(frozen=True)
class Release:
    """One engine release: its name in messages ("vLLM 0.8.0"), its parser's flags, and of the
    engine's options that are gone those that matter here ({"option", "since", "back", "use",
    "why"}).
    came: the first release that is known to have an option, "" if none is."""

    name: str
    flags: Flags
    gone: Sequence[Mapping[str, Any]] = ()
    came: Callable[[str], str] = lambda option: ""

    def has(self, option: str) -> bool:
        """Does it have this option?"""
        return flag_of(option) in self.flags or self.negated(option)

    def negated(self, option: str) -> bool:
        """Is option the `no_` side of a flag that has two sides?"""
        positive = self.flags.get(flag_of(option.removeprefix("no_")), {})
        return option.startswith("no_") and positive.get("action") in TWO_SIDED


def read_flags(path: Path) -> dict[str, dict[str, Any]]:
    """An environment's flags.json. Raises OSError, ValueError."""
    flags: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return flags


def flag_of(option: str) -> str:
    """`max_model_len` → `--max-model-len`."""
    return "--" + option.replace("_", "-")


def option_of(flag: str) -> str:
    """`--max-model-len` → `max_model_len`."""
    return flag.removeprefix("--").replace("-", "_")


def swapped(option: str) -> str:
    """`enable_x` → `disable_x`, and back; "" for any other."""
    for one, other in (("enable_", "disable_"), ("disable_", "enable_")):
        if option.startswith(one):
            return other + option.removeprefix(one)
    return ""


def contrary(option: str, action: str) -> str:
    """The option of a flag with two sides that says the contrary."""
    if action == "EnableDisableAction" and (other := swapped(option)):
        return other
    return option.removeprefix("no_") if option.startswith("no_") else f"no_{option}"


@dataclass(frozen=True)
class Written:
    """Where options were written. source: the file that is named where `origin` does not know the
    option's own place, "file:line"; keys: the dotted key of an option, where it is another."""

    source: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def mistake(self, option: str, what: str, mend: str) -> Mistake:
        file, _, line = self.origin.get(option, "").rpartition(":")
        place = (file, int(line)) if line.isdecimal() else (self.source, 0)
        return Mistake(*place, self.keys.get(option, option), what, mend)


class BadOption(Exception):
    """A value that the flag does not take: what is wrong, what to write instead."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


def arguments(
    options: Mapping[str, Any],
    release: Release,
    *,
    defaults: Mapping[str, Any] | None = None,
    written: Written | None = None,
) -> list[str]:
    """The arguments that give these options to this release, in the order of their names.

    options: what people wrote, `None` for not passed; defaults: the engine file's, below them, of
    which those that the release lacks are left out. Raises ConfigError with all mistakes.
    """
    said = {option for each in options for option in (each, swapped(each), contrary(each, ""))}
    wanted = {
        name: value
        for name, value in (defaults or {}).items()
        if release.has(name) and name not in said
    }
    wanted.update(options)
    mistakes: list[Mistake] = []

    def mistake(option: str, bad: BadOption) -> None:
        mistakes.append((written or Written()).mistake(option, bad.what, bad.mend))

    wanted = _own_keys(wanted, release, mistake)
    out: list[str] = []
    for option, value in sorted(wanted.items()):
        if value is None:
            continue
        try:
            if option in OURS:
                raise BadOption("is not an engine option here", OURS[option])
            if not release.has(option):
                raise lacking(option, release)
            out += _words(option, value, release)
        except BadOption as bad:
            mistake(option, bad)
    if mistakes:
        raise ConfigError(mistakes)
    return out


def removed(
    options: Mapping[str, Any], version: str, release: Release, written: Written
) -> list[Mistake]:
    """The options that a release cannot have, known without its flags: they were gone before."""
    out = []
    for option, value in sorted(options.items()):
        gone = _gone(option, release)
        if value is not None and gone and lost(gone, version):
            later = [_gone(each, release) for each in gone["use"]]
            use = [
                each
                for each, then in zip(gone["use"], later, strict=True)
                if not then or not lost(then, version)
            ]
            bad = _without(release.name, gone, use)
            out.append(written.mistake(option, bad.what, bad.mend))
    return out


def lost(gone: Mapping[str, Any], version: str) -> bool:
    """Is an option of the engine gone in this release, and not yet back?"""
    back = gone.get("back")
    return reached(version, gone["since"]) and not (back and reached(version, back))


def reached(version: str, since: str) -> bool:
    """Is a release at least as new as another? One that is no version is not known to be."""
    try:
        return Version(version) >= Version(since)
    except InvalidVersion:
        return False


def _own_keys(
    options: Mapping[str, Any], release: Release, mistake: Callable[[str, BadOption], None]
) -> dict[str, Any]:
    """options with benchy's own provider keys turned into the release's options."""
    wanted = dict(options)
    memory = wanted.pop("kv_cache_memory", None)
    if memory and not release.has("kv_cache_memory_bytes"):
        what = f"{release.name} cannot be given a size for its KV cache (vLLM can from 0.10.2)"
        mend = "write 0 and set gpu_memory_utilization, or take a newer release"
        mistake("kv_cache_memory", BadOption(what, mend))
    elif memory:
        wanted.setdefault("kv_cache_memory_bytes", memory)
    if wanted.get("enforce_eager") is False:
        del wanted["enforce_eager"]
    if wanted.pop("multimodal", None) is False and "limit_mm_per_prompt" not in wanted:
        for option, value in text_alone(release).items():
            wanted.setdefault(option, value)
    return wanted


def text_alone(release: Release) -> dict[str, Any]:
    """The options by which a release serves the text part of a model alone, {} if it has none.

    Up to 0.10 a limit for images stops a text model's start ("`limit_mm_per_prompt` is only
    supported for multimodal models"), and a provider file serves both kinds: not passed there.
    """
    if release.has("language_model_only"):
        return {"language_model_only": True}
    if release.has("limit_mm_per_prompt") and release.has("mm_encoder_attn_backend"):
        return {"limit_mm_per_prompt": dict.fromkeys(MODALITIES, 0)}
    return {}


def unheeded(options: Mapping[str, Any], release: Release) -> dict[str, str]:
    """Option → what to say of it: a release can do nothing about it. That is no mistake, since a
    provider serves models of many releases; but nobody should believe that it was obeyed."""
    asked = options.get("multimodal") is False and "limit_mm_per_prompt" not in options
    if not asked or text_alone(release):
        return {}
    return {"multimodal": f"false does nothing in {release.name} (vLLM obeys it from 0.11.2 on)"}


def _gone(option: str, release: Release) -> Mapping[str, Any] | None:
    return next((each for each in release.gone if each["option"] == option), None)


def _without(name: str, gone: Mapping[str, Any], use: Sequence[str]) -> BadOption:
    """What to say of an option that is gone. use: what does its work in that release."""
    what = f'{name} has no option "{gone["option"]}" (removed in {gone["since"]})'
    why = str(gone["why"])
    if not use:
        return BadOption(what, f"leave it out: {why}" if why else "leave it out")
    mend = "use " + " or ".join(f'"{each}"' for each in use)
    return BadOption(what, f"{mend}: {why}" if why else mend)


def lacking(option: str, release: Release) -> BadOption:
    """What to say of an option that the release lacks."""
    gone = _gone(option, release)
    if gone:
        return _without(release.name, gone, [each for each in gone["use"] if release.has(each)])
    what = f'{release.name} has no option "{option}"'
    came = release.came(option)
    what += f" (there from {came} on)" if came else ""
    before = [each["option"] for each in release.gone if option in each["use"]]
    before = [each for each in before if release.has(each)]
    if before:
        names = " or ".join(f'"{each}"' for each in before[:3])
        return BadOption(what, f"its work is done by {names} there")
    if came:
        return BadOption(what, "leave it out, or take a newer release")
    from benchy import misplaced  # noqa: PLC0415 - reads the schema, for who has a mistake

    if hint := misplaced.home(option):
        return BadOption(what, hint)
    known = sorted({option_of(flag) for flag in release.flags} - {"help"})
    near = difflib.get_close_matches(option, known, 3, 0.7)
    near = near or [name for name in known if option in name or name in option][:3]
    if near:
        return BadOption(what, "did you mean " + " or ".join(f'"{each}"' for each in near) + "?")
    return BadOption(what, "see the release's `vllm serve --help`")


def _words(option: str, value: Any, release: Release) -> list[str]:
    """The arguments for one option. Raises BadOption."""
    negated = flag_of(option) not in release.flags
    flag = flag_of(option)
    about = release.flags[flag_of(option.removeprefix("no_")) if negated else flag]
    action = str(about.get("action") or "").rpartition(".")[2]
    kind = str(about.get("type") or "")
    if action in (*TWO_SIDED, "_StoreTrueAction", "_StoreFalseAction", "StoreBoolean"):
        if not isinstance(value, bool):
            raise BadOption(f"{value!r} is not true or false", "write true or false")
        if action in TWO_SIDED:
            if negated:  # an option that only the flag's parser would name so
                option, value = option.removeprefix("no_"), not value
            return [flag_of(option if value else contrary(option, action))]
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
    """true or false for a flag that has no boolean action."""
    if about.get("type") == "bool":  # argparse's bool("False") is true; only bool("") is not
        return [f"{flag}=True" if value else f"{flag}="]
    choices = [str(choice) for choice in about.get("choices") or ()]
    for word in (str(value), str(value).lower(), "on" if value else "off"):
        if word in choices:
            return [f"{flag}={word}"]
    if about.get("nargs") == "?" and not choices:
        return [flag] if value else []
    mend = f"write one of {', '.join(choices)}" if choices else f"write a {_kind(about)}"
    raise BadOption(f"takes a value, not {str(value).lower()}", mend)


def _list_words(
    flag: str, values: Sequence[Any], about: Mapping[str, Any], action: str
) -> list[str]:
    """A list: repeated flag, several words, or JSON, as the flag takes it."""
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
    """A mapping or list where the flag takes one number or one of its choices. Raises BadOption."""
    choices = [str(choice) for choice in about.get("choices") or ()]
    if choices or _number(about):
        mend = f"write one of {', '.join(choices)}" if choices else f"write a {_kind(about)}"
        raise BadOption(f"takes one value, not {_json(value)}", mend)


def _scalar(value: Any, about: Mapping[str, Any]) -> str:
    """A string or number for the flag. Raises BadOption where it breaks its choices or type."""
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


# vLLM's human_readable_int: 32k is 32,000 and 32K is 32,768; since 0.14 max_model_len: auto, too.
_READABLE = "human_readable_int"
_EXAMPLES = {_READABLE: "4096, 32k or 32K", _READABLE + "_or_auto": "4096, 32k, 32K or auto"}


# Types of flags that read JSON, and what they want of it.
_STRUCTURES = {"loads": "JSON", "parse_dataclass": "mapping"}


def _is_json(value: Any, kind: str) -> bool:
    try:
        found = json.loads(str(value))
    except ValueError:
        return False
    return kind == "loads" or isinstance(found, dict)


def _number(about: Mapping[str, Any]) -> str:
    """The type of a flag that takes a number; "" for any other."""
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
    """A value as vLLM up to 0.8.5 reads compilation_config: as Python writes it, not as JSON, which
    is the same but for true, false and null."""
    text = _json(value)
    try:
        ast.literal_eval(text)
    except ValueError:
        return repr(json.loads(text))
    return text


def own_options(flags: Iterable[str]) -> list[str]:
    """Every option that a release's flags give, for messages and completion."""
    return sorted({option_of(flag) for flag in flags} - set(OURS) - {"help"})
