"""Find options that a release lacks, has removed or ignores. Reads and writes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from benchy.config.written import Written
from benchy.core import versions
from benchy.core.errors import Mistake
from benchy.core.specs import GoneOption
from benchy.engines import release_flags
from benchy.engines.release_flags import BadOption, EngineRelease


def removed(
    options: Mapping[str, Any], version: str, release: EngineRelease, written: Written
) -> list[Mistake]:
    """Return the mistakes for options that were removed by a release, without its flags."""
    out = []
    for option, value in sorted(options.items()):
        removal = _removal(option, release)
        if value is not None and removal and is_removed(removal, version):
            removals = [_removal(name, release) for name in removal["use"]]
            use = [
                name
                for name, later in zip(removal["use"], removals, strict=True)
                if not later or not is_removed(later, version)
            ]
            bad = _without(release.name, removal, use)
            out.append(written.mistake(option, bad.what, bad.hint))
    return out


def is_removed(removal: GoneOption, version: str) -> bool:
    """Return whether an option was removed by this release and is not back yet."""
    back = removal.get("back")
    return versions.reached(version, removal["since"]) and not (
        back and versions.reached(version, back)
    )


def text_alone(release: EngineRelease) -> dict[str, Any]:
    """Return the options that make a release serve only the text part of a model; {} if none do.

    Up to vLLM 0.10, a limit for images stops a text model from starting ("`limit_mm_per_prompt` is
    only supported for multimodal models"). So it is not passed there: a provider file serves both
    kinds of models.
    """
    if release.has("language_model_only"):
        return {"language_model_only": True}
    if release.has("limit_mm_per_prompt") and release.has("mm_encoder_attn_backend"):
        return {"limit_mm_per_prompt": dict.fromkeys(release_flags.MODALITIES, 0)}
    return {}


def without_effect(options: Mapping[str, Any], release: EngineRelease) -> dict[str, str]:
    """Return option → message for options that a release ignores.

    This is not a mistake, because one provider file serves many releases. The message keeps users
    from assuming that the option takes effect.
    """
    text_only = options.get("multimodal") is False and "limit_mm_per_prompt" not in options
    if not text_only or text_alone(release):
        return {}
    return {"multimodal": f"false has no effect in {release.name} (vLLM supports it from 0.11.2)"}


def _removal(option: str, release: EngineRelease) -> GoneOption | None:
    return next((entry for entry in release.removed_options if entry["option"] == option), None)


def _without(name: str, removal: GoneOption, use: Sequence[str]) -> BadOption:
    """Return the error for a removed option. use: its replacements in that release."""
    what = f'{name} has no option "{removal["option"]}" (removed in {removal["since"]})'
    why = removal["why"]
    if not use:
        return BadOption(what, f"leave it out: {why}" if why else "leave it out")
    hint = "use " + " or ".join(f'"{option}"' for option in use)
    return BadOption(what, f"{hint}: {why}" if why else hint)


def lacking(option: str, release: EngineRelease) -> BadOption:
    """Return the error for an option that the release lacks."""
    removal = _removal(option, release)
    if removal:
        return _without(
            release.name, removal, [name for name in removal["use"] if release.has(name)]
        )
    what = f'{release.name} has no option "{option}"'
    first = release.added_in(option)
    what += f" (added in {first})" if first else ""
    before = [e["option"] for e in release.removed_options if option in e["use"]]
    before = [name for name in before if release.has(name)]
    if before:
        names = " or ".join(f'"{name}"' for name in before[:3])
        return BadOption(what, f"use {names} instead")
    if first:
        return BadOption(what, "leave it out, or use a newer release")
    from benchy.config import misplaced_keys  # noqa: PLC0415 - reads the schema, only for a mistake

    if hint := misplaced_keys.home(option):
        return BadOption(what, hint)
    known = sorted({release_flags.option_of(flag) for flag in release.flags} - {"help"})
    near = difflib.get_close_matches(option, known, 3, 0.7)
    near = near or [name for name in known if option in name or name in option][:3]
    if near:
        return BadOption(what, "did you mean " + " or ".join(f'"{name}"' for name in near) + "?")
    return BadOption(what, "see the release's `vllm serve --help`")
