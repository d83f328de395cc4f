"""Checks the engine's options of a configuration, by name and by value, for any release.

These checks need only configs/. Those that need the flags of a release are in engines/.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchy.config import option_files
from benchy.config.configuration import ModelConfig
from benchy.config.provider_schema import Provider
from benchy.config.reserved_options import OURS
from benchy.config.yaml_file import Document, Key
from benchy.core import paths
from benchy.core.errors import Mistake
from benchy.core.names import secret


def is_name(name: str) -> bool:
    """Return whether an option can have this name, with - or _."""
    return bool(re.fullmatch(r"[a-z][a-z0-9_-]*", name))


def secret_hint(name: str) -> str:
    """Return what to do instead of writing an option that holds a secret; "" for other options."""
    option = name.replace("-", "_")
    return OURS.get(option, "") if secret(option) else ""


def names(options: Mapping[str, Any], document: Document, at: Key) -> Iterator[Mistake]:
    """Yield the mistakes in the names of options that are written below `at` in a document."""
    for name in options:
        option = name.replace("-", "_")
        if not is_name(name):
            hint = "write it as in the engine's documentation, without the leading dashes"
            yield document.mistake((*at, name), "is not an option name", hint)
        elif option in Provider.model_fields:
            continue
        elif hint := secret_hint(name):
            yield document.mistake((*at, name), "is a secret", hint)
        elif own := _misspelled(option):
            yield document.mistake((*at, name), "unknown key", f"did you mean {own!r}?")
        else:
            yield from reserved({name: options[name]}, document, at)


def reserved(options: Mapping[str, Any], document: Document, at: Key) -> Iterator[Mistake]:
    """Yield a mistake for each option that benchy sets itself."""
    for name, value in options.items():
        hint = OURS.get(name.replace("-", "_"))
        if hint and value is not None:
            yield document.mistake((*at, name), "is reserved for benchy", hint)


@functools.cache
def _misspelled(option: str) -> str:
    """Return benchy's own key that an option's name probably misspells, or "" if there is none.

    An engine may have any option, but this check needs no environment.
    """
    own = difflib.get_close_matches(option, list(Provider.model_fields), n=1, cutoff=0.9)
    return own[0] if own else ""


def of_model(model: ModelConfig, root: Path) -> Iterator[Mistake]:
    """Yield the mistakes in the values of a merged model's options."""
    yield from _unsupported(model)
    yield from _pins(model)
    yield from _files(model, root)
    wheel = option_files.local_wheel(model.serving.engine_source, root)
    if wheel and not wheel.is_file():
        what = f"there is no wheel {model.serving.engine_source}"
        hint = "write its path relative to benchy's root, or its URL"
        yield model.mistake("engine_source", what, hint)


def _unsupported(model: ModelConfig) -> Iterator[Mistake]:
    """Yield mistakes for options that the engine's file marks as unsupported."""
    for entry in model.engine.unsupported:
        for option in entry.options:
            value = model.options.get(option)
            if entry.refuses(value):
                what = f"{value} is" if entry.values else "is"
                yield model.mistake(option, f"{what} not supported: {entry.why}", entry.use)


def _pins(model: ModelConfig) -> Iterator[Mistake]:
    """Yield mistakes in cuda_devices: a repeated GPU, or too few, would make it wait forever."""
    pins = model.pins or []
    if not pins or model.engine.device != "gpu":
        return
    twice = next((pin for at, pin in enumerate(pins) if pin in pins[:at]), None)
    if twice is not None:
        yield model.mistake("cuda_devices", f"lists {twice} twice", "remove one")
    elif len(pins) < model.gpus:
        what = f"lists {len(pins)} of the {model.gpus} GPUs that {model.name} needs"
        hint = "list more, remove the key to use any free GPUs, or lower tensor_parallel_size"
        yield model.mistake("cuda_devices", what, hint)


def _files(model: ModelConfig, root: Path) -> Iterator[Mistake]:
    """Yield mistakes for options that name a missing file, or one whose name Make cannot use."""
    for option in ("chat_template", *option_files.PLACES):
        value = model.options.get(option)
        # vLLM reads a value with braces or line breaks as the template itself.
        if option == "chat_template":
            path = isinstance(value, str) and not set(value) & set("{}\n")
        else:
            path = isinstance(value, str) and value.startswith(("/", "./", "../", "~"))
        if path and not (root / str(value)).exists():
            hint = "write a path relative to benchy's root, or an absolute path; ~ is not expanded"
            yield model.mistake(option, f"there is no file {value}", hint)
    for file in option_files.named(model.options, {}, model.engine.neutral, root):
        if not paths.watchable(file.path):
            what = f"{file.text!r} has an invalid name"
            yield model.mistake(file.key.partition(".")[0], what, "rename it")
