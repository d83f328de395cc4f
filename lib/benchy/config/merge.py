"""Merges one model: engine < provider < overrides < a cell of the matrix < SET."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from benchy.config import (
    generation_arguments,
    matrix,
    option_files,
    pooling_models,
    schema,
    yaml_file,
)
from benchy.config.configuration import ModelConfig
from benchy.config.file_reader import Known, Reader
from benchy.config.matrix import Cell
from benchy.config.reserved_options import OWN
from benchy.config.yaml_file import Document, Key
from benchy.core import paths
from benchy.core.errors import Mistake, UsageError
from benchy.core.hashing import canonical
from benchy.core.names import MOST, QUICKSTART, near


def cells(reader: Reader, stem: str, model: schema.Model, document: Document) -> list[Cell]:
    """Return the cells of a model's matrix, or the model itself if it has no matrix."""
    if not model.matrix:
        return [(stem, Document(document.file))]
    fine = reader.option_names(model.matrix, document, ("matrix",))
    if stem == QUICKSTART:
        reader.mistakes.append(document.mistake(("matrix",), "is not for the quickstart"))
    for key in model.matrix:
        if key.replace("-", "_") in schema.neutral():
            what = "cannot change an answer, so it makes no cells"
            reader.mistakes.append(document.mistake(("matrix", key), what, "leave it out"))
            fine = False
        if key.replace("-", "_") in reader.command_line().data:
            raise UsageError(
                f"{key} is varied by the matrix of {document.file}",
                f"select its cells instead: make results MODELS='{stem}@*'", "SET",
            )  # fmt: skip
    count = math.prod(map(len, model.matrix.values()))
    if count > matrix.MOST:
        what = f"has {count} cells; {matrix.MOST} is the most"
        reader.mistakes.append(document.mistake(("matrix",), what, "write several configs"))
        return []
    found = matrix.cells(stem, model.matrix, document)
    names = [name for name, _ in found]
    if longest := next((name for name in names if len(name) > MOST), ""):
        what = f"its cells' names are too long, such as {longest[:40]}…"
        reader.mistakes.append(document.mistake(("matrix",), what, "vary fewer keys"))
        fine = False
    for name in sorted({name for name in names if names.count(name) > 1}):
        what = f"two of its cells would be named {name}"
        reader.mistakes.append(document.mistake(("matrix",), what, "leave one of them away"))
        fine = False
    return found if fine else []


def merge(
    reader: Reader,
    name: str,
    model: schema.Model,
    document: Document,
    cell: Document,
    known: Known,
) -> ModelConfig | None:
    """Merge one model; return None if that is impossible. Mistakes go to reader.mistakes.

    cell: the keys of one cell of the model's matrix.
    """
    for i, task in enumerate(model.tasks):
        reader.known_name("task", task, known.tasks, document, ("tasks", i), known)
        if task in model.tasks[:i]:
            reader.mistakes.append(
                document.mistake(("tasks", i), f"names {task!r} twice", "leave one away")
            )
    written = {k.replace("-", "_"): v for k, v in model.vllm.overrides.items()}
    reader.option_names(model.vllm.overrides, document, ("vllm", "overrides"))
    at: Key = ("vllm", "provider_config")
    named = model.vllm.provider_config
    if not reader.known_name("provider", named, known.providers, document, at, known):
        # Guess the intended provider, so that the options are checked in the same go.
        named = "" if named in known.broken else near(named, known.providers)
    if not named:
        reader.validated(schema.Provider, written, document, ("vllm", "overrides"))
        return None
    _, provider_document = known.providers[named]
    set_document = reader.command_line()
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    keys: dict[str, str] = {}
    for data, source, at, before in (
        (provider_document.data, provider_document, (), ()),
        (model.vllm.overrides, document, ("vllm", "overrides"), ("vllm", "overrides")),
        (cell.data, cell, (), ("matrix",)),
        (set_document.data, set_document, (), ()),
    ):
        for key, value in data.items():
            option = key.replace("-", "_")
            merged[option] = value
            origin[option] = f"{source.file}:{source.line((*at, key))}"
            keys[option] = yaml_file.dotted((*before, key))
    # The provider itself is valid, so any mistake here comes from a layer above it.
    for above in (cell, set_document):
        if above.data and not reader.validated(schema.Provider, above.data, above):
            return None
    serving = reader.validated(schema.Provider, merged, document, ("vllm", "overrides"))
    serving = serving or reader.rest(schema.Provider, merged)
    if serving is None:
        return None
    merged = {key: value for key, value in merged.items() if key in serving.model_fields_set}
    engine = known.engines.get(serving.engine)
    if engine is None:
        # The last layer that names an engine decides. The provider's mistake is recorded already.
        for where_from, at, layer in (
            (set_document, ("engine",), set_document.data),
            (document, ("matrix", "engine"), cell.data),
            (document, ("vllm", "overrides", "engine"), written),
        ):
            if "engine" in layer:
                name = serving.engine
                reader.known_name("engine", name, known.engines, where_from, at, known)
                break
        return None
    if engine.kind != "engine":
        if "engine" not in origin:  # the default: the engine's own file is wrong
            file, what = f"configs/engines/{serving.engine}.yaml", "is the default, and no engine"
            reader.mistakes.append(Mistake(file, 0, "", what, "write kind: engine"))
            return None
        file, _, line = origin["engine"].rpartition(":")
        what = f"{serving.engine} is a {engine.kind}, no engine"
        names = ", ".join(known.of_kind("engine"))
        hint = f"name an engine: {names}" if names else "add one to configs/engines"
        reader.mistakes.append(Mistake(file, int(line), keys.get("engine", "engine"), what, hint))
        return None
    options = {k: v for k, v in merged.items() if k not in OWN}
    for key in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        if key in options and options[key] == 1:
            del options[key]  # the engine's default; some releases lack one of the three
    if options.get("limit_mm_per_prompt") is not None:
        options["limit_mm_per_prompt"] = _singular(options["limit_mm_per_prompt"])
    where = model.model.name
    if where[0] in "/.~" and not (reader.root / paths.home(where)).is_dir():
        reader.mistakes.append(
            document.mistake(
                ("model", "name"),
                f"{where} is no directory",
                "give the directory of a model, or its name on the hub: org/name",
            )
        )
    elif kind := _pools(where, options, reader.root):
        what = f"{where} is a pooling model ({kind}): it generates no text to evaluate"
        hint = "name a model that generates text"
        reader.mistakes.append(document.mistake(("model", "name"), what, hint))
    wheel = local_wheel(serving.engine_source, reader.root)
    if wheel:
        reader.inputs.append(wheel)
        if not wheel.is_file():
            here = f"{origin['engine_source']}".rpartition(":")
            reader.mistakes.append(
                Mistake(
                    here[0],
                    int(here[2]),
                    "engine_source",
                    f"there is no wheel {serving.engine_source}",
                    "give its path relative to benchy's root, or its URL",
                )
            )
    token = origin.get("hf_token", "").rpartition(":")[0] if merged.get("hf_token") else None
    whole = ModelConfig(
        name=name,
        file=document.file,
        facts=model.model,
        engine_name=serving.engine,
        engine=engine,
        serving=serving,
        options=dict(sorted((k, v) for k, v in options.items() if v is not None)),
        defaults={k: v for k, v in engine.options.items() if k not in options},
        variables=_variables(engine, serving),
        tasks=tuple(model.tasks),
        chat=model.use_chat_completions,
        token_from=token,
        set=reader.set_without_secrets(),
        provider=named,
        resources=model.resources,
        origin=origin,
        keys=keys,
    )
    reader.mistakes += [*_unpinnable(whole), *_unsupported(whole), *_misplaced(whole, reader.root)]
    reader.mistakes += generation_arguments.of_model(whole, known.tasks, reader.documents)
    return whole


def _pools(name: str, options: Mapping[str, Any], root: Path) -> str:
    """Return the architecture of a local model that certainly generates no text, else ""."""
    if name[0] not in "/.~" or pooling_models.SAID & options.keys():
        return ""
    return pooling_models.architecture(root / paths.home(name))


def _misplaced(model: ModelConfig, root: Path) -> list[Mistake]:
    """Return mistakes for options that name a missing file, or one whose name Make cannot use."""
    found = []

    def mistake(option: str, what: str, hint: str) -> None:
        file, _, line = model.origin[option].rpartition(":")
        found.append(Mistake(file, int(line), model.keys[option], what, hint))

    for option in ("chat_template", *option_files.PLACES):
        value = model.options.get(option)
        # vLLM reads a value with braces or line breaks as the template itself.
        if option == "chat_template":
            path = isinstance(value, str) and not set(value) & set("{}\n")
        else:
            path = isinstance(value, str) and value.startswith(("/", "./", "../", "~"))
        if path and not (root / str(value)).exists():
            hint = "give its path relative to benchy's root, or the whole path; ~ is not read"
            mistake(option, f"there is no file {value}", hint)
    for each in option_files.named(model.options, {}, model.engine.neutral, root):
        if not paths.watchable(each.path):
            what = f"{each.text!r} has a name that can't be used"
            mistake(each.key.partition(".")[0], what, "rename it")
    return found


def _unsupported(model: ModelConfig) -> list[Mistake]:
    """Return mistakes for options that the engine's file marks as unsupported."""
    found = []
    for each in model.engine.unsupported:
        for option in each.options:
            value = model.options.get(option)
            if not each.refuses(value):
                continue
            file, _, line = model.origin[option].rpartition(":")
            what = f"{value} is" if each.values else "is"
            found.append(
                Mistake(
                    file, int(line), model.keys[option], f"{what} not supported: {each.why}",
                    each.use,
                )
            )  # fmt: skip
    return found


def _unpinnable(model: ModelConfig) -> list[Mistake]:
    """Return mistakes in cuda_devices: a repeated GPU, or too few, would make it wait forever."""
    pins = model.pins or []
    if not pins or model.engine.device != "gpu":
        return []
    file, _, line = model.origin["cuda_devices"].rpartition(":")
    twice = next((pin for at, pin in enumerate(pins) if pin in pins[:at]), None)
    if twice is not None:
        what, hint = f"names {twice} twice", "leave one away"
    elif len(pins) < model.gpus:
        what = f"names {len(pins)} of the {model.gpus} GPUs that {model.name} needs"
        hint = "name more, or leave it out: any that are free; or lower tensor_parallel_size"
    else:
        return []
    return [Mistake(file, int(line), model.keys["cuda_devices"], what, hint)]


def _variables(engine: schema.Engine, serving: schema.Provider) -> dict[str, str]:
    out = dict(engine.variables)
    # As in plan/environment_specs.py: the main environment comes from uv.lock and has no repairs,
    # and an engine_source without vllm_version may be any release.
    default = None if engine.main or serving.engine_source else engine.default_version
    version = serving.vllm_version or default
    for repair in engine.repairs:
        if version and repair_holds(repair, version):
            out.update(repair.variables)
    return dict(sorted({**out, **serving.engine_env}.items()))


def local_wheel(source: str | None, root: Path) -> Path | None:
    """Return the wheel's path if a source is a file on this machine."""
    if source is None or "://" in source:
        return None
    return root / paths.home(source)


def repair_holds(repair: schema.Repair, version: str) -> bool:
    try:
        return SpecifierSet(repair.versions, prereleases=True).contains(Version(version))
    except InvalidVersion:
        return False


def _singular(value: Any) -> Any:
    """Return limit_mm_per_prompt as a mapping. It may be image=16,video=2, JSON or YAML.

    vLLM's keys are image, audio and video in all releases; older benchy files use images.
    """
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if all(re.fullmatch(r" *[0-9]{1,9} *", number) for _, _, number in pairs):
            value = {key.strip(): int(number) for key, _, number in pairs}
        else:
            with contextlib.suppress(ValueError, RecursionError):
                read = json.loads(value)
                canonical(read).encode()  # keep the text if JSON cannot encode its value
                value = read
    if isinstance(value, dict):
        return {k[:-1] if k in ("images", "audios", "videos") else k: v for k, v in value.items()}
    return value
