"""Convert options in YAML to command-line arguments of one engine release.

The flags come from flags.json of an environment, which describes the release's own argument parser:
{"--max-model-len": {"name", "type", "nargs", "default", "choices", "action", "help"}}. An option is
the name of a flag without `--`, with _ for -. benchy's own provider keys are options too. Reads and
writes no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchy.config.written import Written
from benchy.core.errors import ConfigError, Mistake
from benchy.engines import flag_values, release_flags, unavailable_options
from benchy.engines.release_flags import BadOption, EngineRelease

# Action of a switch → its arguments for true and for false; None passes no argument.
SWITCHES: dict[str, tuple[str, str | None]] = {
    "BooleanOptionalAction": ("{flag}", "{negation}"),
    "EnableDisableAction": ("{flag}", "{negation}"),
    # vLLM 0.6 to 0.8.2: --enable-chunked-prefill [true|false]
    "StoreBoolean": ("{flag}=true", "{flag}=false"),
    "_StoreTrueAction": ("{flag}", None),
    "_StoreFalseAction": ("{flag}", None),
}


def arguments(
    options: Mapping[str, Any],
    release: EngineRelease,
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
    configured = {
        form
        for option in options
        for form in (option, release_flags.swapped(option), release_flags.contrary(option, ""))
    }
    merged = {
        name: value
        for name, value in (defaults or {}).items()
        if release.has(name) and name not in configured
    }
    merged.update(options)
    mistakes: list[Mistake] = []

    def mistake(option: str, bad: BadOption) -> None:
        mistakes.append((written or Written()).mistake(option, bad.what, bad.hint))

    merged = _own_keys(merged, release, mistake)
    out: list[str] = []
    for option, value in sorted(merged.items()):
        if value is None:
            continue
        try:
            if not release.has(option):
                raise unavailable_options.lacking(option, release)
            out += _arguments_of(option, value, release)
        except BadOption as bad:
            mistake(option, bad)
    if mistakes:
        raise ConfigError(mistakes)
    return out


def _own_keys(
    options: Mapping[str, Any], release: EngineRelease, mistake: Callable[[str, BadOption], None]
) -> dict[str, Any]:
    """Return the options with benchy's own provider keys replaced by options of the release.

    mistake: called with each key that cannot be replaced.
    """
    translated = dict(options)
    memory = translated.pop("kv_cache_memory", None)
    if memory and not release.has("kv_cache_memory_bytes"):
        what = f"{release.name} has no option for the size of its KV cache (vLLM: since 0.10.2)"
        hint = "write 0 and set gpu_memory_utilization, or use a newer release"
        mistake("kv_cache_memory", BadOption(what, hint))
    elif memory:
        translated.setdefault("kv_cache_memory_bytes", memory)
    if translated.get("enforce_eager") is False:
        del translated["enforce_eager"]
    if translated.pop("multimodal", None) is False and "limit_mm_per_prompt" not in translated:
        for option, value in unavailable_options.text_alone(release).items():
            translated.setdefault(option, value)
    return translated


def _arguments_of(option: str, value: Any, release: EngineRelease) -> list[str]:
    """Return the arguments for one option. Raises BadOption."""
    negated = release_flags.flag_of(option) not in release.flags
    flag = release_flags.flag_of(option.removeprefix("no_") if negated else option)
    about = release.flags[flag]
    if release_flags.action_of(about) in SWITCHES:
        if not isinstance(value, bool):
            raise BadOption(f"{value!r} is not true or false", "write true or false")
        return _switch(flag, value != negated, about, release.name)
    if isinstance(value, bool):
        return _boolean(flag, value, about)
    if isinstance(value, list):
        return _list(flag, value, about)
    if isinstance(value, Mapping):
        return [f"{flag}={flag_values.mapping(option, value, about, release.name)}"]
    return [f"{flag}={flag_values.scalar(value, about)}"]


def _switch(flag: str, on: bool, about: Mapping[str, Any], release: str) -> list[str]:
    """Return the arguments that switch a flag on or off. Raises BadOption."""
    action = release_flags.action_of(about)
    argument = SWITCHES[action][0 if on else 1]
    if argument is None:
        if about.get("default") is True and action == "_StoreTrueAction":
            raise BadOption(f"cannot be switched off in {release}", "leave it out")
        return []
    negation = release_flags.contrary(release_flags.option_of(flag), action)
    return [argument.format(flag=flag, negation=release_flags.flag_of(negation))]


def _boolean(flag: str, value: bool, about: Mapping[str, Any]) -> list[str]:
    """Return the arguments that pass a boolean to a flag that is not a switch.

    Raises BadOption.
    """
    if about.get("type") == "bool":  # argparse's bool("False") is true; only bool("") is not
        return [f"{flag}=True" if value else f"{flag}="]
    choices = flag_values.choices(about)
    for word in (str(value), str(value).lower(), "on" if value else "off"):
        if word in choices:
            return [f"{flag}={word}"]
    if about.get("nargs") == "?" and not choices:
        return [flag] if value else []
    raise BadOption(f"takes a value, not {str(value).lower()}", flag_values.hint(about))


def _list(flag: str, values: Sequence[Any], about: Mapping[str, Any]) -> list[str]:
    """Return the arguments for a list: a repeated flag, several words, or one text.

    Raises BadOption.
    """
    nargs = about.get("nargs")
    if release_flags.action_of(about) in ("_AppendAction", "_ExtendAction") and nargs is None:
        return [f"{flag}={flag_values.scalar(value, about)}" for value in values]
    if nargs not in ("+", "*") and not isinstance(nargs, int):
        return [f"{flag}={flag_values.sequence(values, about)}"]
    words = [flag_values.element(value, about) for value in values]
    for word in words:
        if word.startswith("-") and not word[1:].replace(".", "", 1).isdigit():
            raise BadOption(
                f"{word!r} begins with a dash", "elements of a list cannot begin with a dash"
            )
    return [flag, *words] if words or nargs == "*" else []
