"""Merges one model: engine < provider < overrides < a cell of the matrix < SET."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchy.config import generation_arguments, option_checks, pooling_models, set_knob, yaml_file
from benchy.config.configuration import ModelConfig
from benchy.config.engine_schema import Engine
from benchy.config.model_schema import Model
from benchy.config.provider_schema import Provider
from benchy.config.references import KnownNames
from benchy.config.reserved_options import OWN
from benchy.config.validation import Checked, salvaged, validated
from benchy.config.written import Written
from benchy.config.yaml_file import Document, Key
from benchy.core import paths, result_files
from benchy.core.errors import Mistake
from benchy.core.hashing import canonical
from benchy.core.names import near

OVERRIDES = ("vllm", "overrides")
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


class Shared(NamedTuple):
    """What all models are merged with. documents: those of tasks, by file. knob: SET."""

    root: Path
    known: KnownNames
    documents: Mapping[str, Document]
    knob: str


class WrittenModel(NamedTuple):
    """One model as written. cell: the keys of one cell of its matrix."""

    name: str
    model: Model
    document: Document
    cell: Document


class Layer(NamedTuple):
    """Options from one place.

    Attributes:
        document: Where they are written.
        options: The options.
        at: Their path in the document.
        shown: Their path in messages, if it is another one.
    """

    document: Document
    options: Mapping[str, Any]
    at: Key = ()
    shown: Key | None = None


class Stacked(NamedTuple):
    """The options of all layers, with _ for -, and where the deciding layer has them."""

    provider: str
    options: dict[str, Any]
    written: Written


def merge(source: WrittenModel, shared: Shared) -> Checked[ModelConfig | None]:
    """Return a merged model and its mistakes; None if it cannot be merged.

    A model with mistakes is merged as far as possible, so that its options can be checked too.
    """
    provider = _provider(source, shared.known)
    mistakes = [*_names(source, shared.known), *provider.mistakes]
    if not provider.value:
        return Checked(None, [*mistakes, *_overrides_alone(source)])
    layers = _layers(source, provider.value, shared)
    knob = layers[-1]
    mistakes += option_checks.names(knob.options, knob.document, ())
    stacked = stack(layers, provider.value)
    serving = _serving(layers, stacked)
    mistakes += serving.mistakes
    if serving.value is None:
        return Checked(None, mistakes)
    engine = _engine(serving.value, stacked, shared.known)
    mistakes += engine.mistakes
    if engine.value is None:
        return Checked(None, mistakes)
    model = _model(source, stacked, serving.value, engine.value, shared)
    return Checked(model, [*mistakes, *_of_model(model, source.document, shared)])


def _names(source: WrittenModel, known: KnownNames) -> Iterator[Mistake]:
    """Yield mistakes in the names of tasks and options."""
    tasks, document = source.model.tasks, source.document
    for at, task in enumerate(tasks):
        if wrong := known.unknown("task", task):
            yield document.mistake(("tasks", at), *wrong)
        if task in tasks[:at]:
            yield document.mistake(("tasks", at), f"lists {task!r} twice", "remove one")
    yield from option_checks.names(source.model.vllm.overrides, document, OVERRIDES)


def _provider(source: WrittenModel, known: KnownNames) -> Checked[str]:
    """Return the name of the model's provider; if it does not exist, the most similar name.

    With a guess, the options can be checked in the same go. Return "" without one, and for a
    provider whose file has mistakes.
    """
    name = source.model.vllm.provider_config
    if name in known.providers:
        return Checked(name)
    if wrong := known.unknown("provider", name):
        mistake = source.document.mistake(("vllm", "provider_config"), *wrong)
        return Checked(near(name, known.providers), [mistake])
    return Checked("")


def _overrides_alone(source: WrittenModel) -> Sequence[Mistake]:
    """Return the mistakes in the overrides of a model without a provider."""
    layer = Layer(source.document, source.model.vllm.overrides, OVERRIDES)
    return validated(Provider, stack([layer]).options, source.document, OVERRIDES).mistakes


def _layers(source: WrittenModel, provider: str, shared: Shared) -> list[Layer]:
    """Return the layers from the lowest to the highest."""
    below, knob = shared.known.providers[provider][1], set_knob.document(shared.knob)
    return [
        Layer(below, below.data),
        Layer(source.document, source.model.vllm.overrides, OVERRIDES),
        Layer(source.cell, source.cell.data, shown=("matrix",)),
        Layer(knob, knob.data),
    ]


def stack(layers: Sequence[Layer], provider: str = "") -> Stacked:
    """Merge the layers over a provider. A later layer decides."""
    options: dict[str, Any] = {}
    origin: dict[str, str] = {}
    keys: dict[str, str] = {}
    for layer in layers:
        shown = layer.at if layer.shown is None else layer.shown
        for key, value in layer.options.items():
            option = key.replace("-", "_")
            options[option] = value
            origin[option] = f"{layer.document.file}:{layer.document.line((*layer.at, key))}"
            keys[option] = yaml_file.dotted((*shown, key))
    return Stacked(provider, options, Written(layers[0].document.file, origin, keys))


def _serving(layers: Sequence[Layer], stacked: Stacked) -> Checked[Provider | None]:
    """Validate the merged options. Return them without the wrong ones, None if that is impossible.

    The provider itself is valid, so any mistake is in a layer above it.
    """
    _, overrides, cell, knob = layers
    for above in (cell, knob):
        if (
            above.options
            and not (checked := validated(Provider, above.options, above.document)).value
        ):
            return checked
    checked = validated(Provider, stacked.options, overrides.document, OVERRIDES)
    return Checked(checked.value or salvaged(Provider, stacked.options), checked.mistakes)


def _engine(serving: Provider, stacked: Stacked, known: KnownNames) -> Checked[Engine | None]:
    written = stacked.written
    if wrong := known.unknown("engine", serving.engine):
        return Checked(None, [written.mistake("engine", *wrong)])
    engine = known.engines.get(serving.engine)
    if engine is None or engine.kind == "engine":
        return Checked(engine)
    if "engine" not in written.origin:  # the default: the engine's own file is wrong
        file, what = (
            f"configs/engines/{serving.engine}.yaml",
            "is the default engine, but of another kind",
        )
        return Checked(None, [Mistake(file, 0, "", what, "write kind: engine")])
    names = ", ".join(known.of_kind("engine"))
    hint = f"name an engine: {names}" if names else "add one to configs/engines"
    what = f"{serving.engine} is a {engine.kind}, not an engine"
    return Checked(None, [written.mistake("engine", what, hint)])


def _model(
    source: WrittenModel, stacked: Stacked, serving: Provider, engine: Engine, shared: Shared
) -> ModelConfig:
    written = stacked.written
    options = engine_options(
        {key: value for key, value in stacked.options.items() if key in serving.model_fields_set}
    )
    token = written.origin["hf_token"].rpartition(":")[0] if serving.hf_token else None
    return ModelConfig(
        name=source.name,
        file=source.document.file,
        facts=source.model.model,
        engine_name=serving.engine,
        engine=engine,
        serving=serving,
        options={key: value for key, value in sorted(options.items()) if value is not None},
        defaults={key: value for key, value in engine.options.items() if key not in options},
        variables=_variables(engine, serving),
        tasks=tuple(source.model.tasks),
        chat=source.model.use_chat_completions,
        token_from=token,
        set=set_knob.without_secrets(shared.knob),
        provider=stacked.provider,
        resources=source.model.resources,
        origin=dict(written.origin),
        keys=dict(written.keys),
    )


def engine_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for the engine, of those that a model and its provider set.

    Leaves out benchy's own keys, and parallel sizes of 1: that is the engine's default, and some
    releases lack one of the three options.
    """
    out = {
        key: value
        for key, value in options.items()
        if key not in OWN and not (key in PARALLEL and value == 1)
    }
    if out.get("limit_mm_per_prompt") is not None:
        out["limit_mm_per_prompt"] = _singular(out["limit_mm_per_prompt"])
    return out


def _variables(engine: Engine, serving: Provider) -> dict[str, str]:
    out = dict(engine.variables)
    # As in plan/environment_specs.py: the main environment comes from uv.lock and has no repairs,
    # and an engine_source without vllm_version may be any release.
    default = None if engine.main or serving.engine_source else engine.default_version
    version = serving.vllm_version or default
    for repair in engine.repairs:
        if version and repair.holds(version):
            out.update(repair.variables)
    return dict(sorted({**out, **serving.engine_env}.items()))


def _of_model(model: ModelConfig, document: Document, shared: Shared) -> Iterator[Mistake]:
    """Yield the mistakes that only the merged model shows."""
    if result_files.is_limit(model.name):
        what = f"is called {model.name}, but results/{model.name} has the results of a limit"
        yield document.mistake((), what, "rename the file")
    yield from _weights(model, document, shared.root)
    yield from option_checks.of_model(model, shared.root)
    yield from generation_arguments.of_model(model, shared.known.tasks, shared.documents)


def _weights(model: ModelConfig, document: Document, root: Path) -> Iterator[Mistake]:
    """Yield a mistake if the model is a missing directory, or certainly generates no text."""
    name, at = model.facts.name, ("model", "name")
    if model.facts.package and (model.facts.make or name[0] in "/.~"):
        hint = "remove package, or write the model's name on the hub: org/name"
        yield document.mistake(("model", "package"), "the model is not one of the hub", hint)
    if name[0] not in "/.~":
        return
    folder = root / paths.home(name)
    if not folder.is_dir():
        hint = "write a model's directory, or its name on the hub: org/name"
        yield document.mistake(at, f"{name} is not a directory", hint)
    elif _contains_more(folder, root):
        hint = "write the directory that has the model's config.json"
        yield document.mistake(at, f"{name} contains more than a model", hint)
    elif pooling_models.SAID & model.options.keys():
        return
    elif kind := pooling_models.architecture(folder):
        what = f"{name} is a pooling model ({kind}), which generates no text"
        yield document.mistake(at, what, "choose a model that generates text")


def _contains_more(folder: Path, root: Path) -> bool:
    """Return whether a folder is the home directory, or one that contains benchy.

    A plan hashes a model's folder: these may have gigabytes of small files.
    """
    folder = folder.resolve()
    return folder == Path.home().resolve() or root.resolve().is_relative_to(folder)


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
