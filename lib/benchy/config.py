"""The configuration as a whole: reads configs/, validates it, and merges each model.

Merge order, lowest first: engine < provider < overrides < a cell of the matrix < SET (the command
line). All mistakes of
all files are found before anything is raised, so that a person mends them in one go.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from benchy import matrix, paths, schema, yamlfile
from benchy.content import canonical
from benchy.errors import ConfigError, Mistake, UsageError
from benchy.matrix import Cell
from benchy.names import MOST, QUICKSTART, good, near
from benchy.wording import mistake
from benchy.yamlfile import Document, Key

# Folders of configs/ that hold no models.
NO_MODELS = frozenset({"providers", "engines", "tasks", "templates", "locks", "launchers"})

T = TypeVar("T", bound=schema.Strict)


@dataclass(frozen=True)
class Model:
    """One model, merged. options: for the engine, values as written; defaults: options of the
    engine's file that nobody wrote otherwise and that a release may lack."""

    name: str
    file: str
    facts: schema.ModelFacts
    engine_name: str
    engine: schema.Engine
    serving: schema.Provider
    options: dict[str, Any]
    defaults: dict[str, Any]
    variables: dict[str, str]
    tasks: tuple[str, ...]
    chat: bool
    token_from: str | None
    resources: schema.Resources = field(default_factory=schema.Resources)
    origin: dict[str, str] = field(default_factory=dict)  # key → "file:line" that decided it
    keys: dict[str, str] = field(default_factory=dict)  # key → "vllm.overrides.key" in that file

    @property
    def gpus(self) -> int:
        serving = self.serving
        return (
            serving.tensor_parallel_size
            * serving.pipeline_parallel_size
            * serving.data_parallel_size
        )


@dataclass(frozen=True)
class House:
    """All that was read."""

    settings: schema.Settings
    engines: dict[str, schema.Engine]
    providers: dict[str, tuple[schema.Provider, Document]]
    tasks: dict[str, schema.Task]
    models: tuple[Model, ...]
    inputs: tuple[Path, ...]  # every file and directory that decided anything


# Keys of the provider that benchy itself acts on; the others are options of the engine.
OWN = frozenset(
    {
        "engine", "engine_env", "vllm_version", "transformers_version", "extra_packages", "python",
        "torch_backend", "cutoff", "engine_source", "index", "host", "port", "hf_cache", "hf_token",
        "startup_timeout", "cuda_devices",
    }
)  # fmt: skip


def load(root: Path, only: Path | None = None, knobs: Mapping[str, str] | None = None) -> House:
    """Read configs/ under root; raises ConfigError with every mistake.

    only: one model's file, which may lie anywhere; then no other model is read, so that somebody
    else's mistake does not stop it. knobs: SET and TASKS as a person gave them.
    """
    base = Base(root, knobs)
    return base.house([model for path in base.files(only) for model in base.models(path)])


class Base:
    """All of configs/ but the models, and what reads those. Mistakes are kept until `house`."""

    def __init__(self, root: Path, knobs: Mapping[str, str] | None = None) -> None:
        self.reader = reader = _Reader(root, dict(knobs or {}))
        self.configs = root / "configs"
        self.settings = reader.settings(self.configs / "config.yaml")
        engines = reader.engines(self.configs / "engines")
        providers = {
            f.stem: reader.file(f, schema.Provider)
            for f in reader.yamls(self.configs / "providers")
        }
        tasks = {f.stem: reader.file(f, schema.Task) for f in reader.yamls(self.configs / "tasks")}
        self.known = _Known(
            {n: m for n, (m, _) in engines.items() if m},
            {n: (m, d) for n, (m, d) in providers.items() if m},
            {n: m for n, (m, _) in tasks.items() if m},
            {n for n, (m, _) in (engines | providers | tasks).items() if m is None},
        )
        reader.check_references(self.known, engines, providers, tasks)
        folder = self.configs / "launchers"  # older checkouts of configs/ have none
        launchers = {
            f.stem: reader.file(f, schema.Launcher)[0]
            for f in (reader.yamls(folder) if folder.is_dir() else ())
        }
        if self.settings and self.settings.launcher not in ("local", *launchers):
            reader.mistakes.append(
                Mistake(
                    "configs/config.yaml", 0, "launcher",
                    f"there is no launcher {self.settings.launcher!r}",
                    f"known: {', '.join(['local', *sorted(launchers)])}",
                )
            )  # fmt: skip
        self.inputs = tuple(reader.inputs)  # what a model depends on besides its own file

    def files(self, only: Path | None = None) -> list[Path]:
        """The models' files. Two of one name are a mistake: the first counts."""
        reader = self.reader
        first: dict[str, Path] = {}
        for path in [only] if only else reader.model_files(self.configs):
            if path.stem in first:
                what = f"has the name of {reader.shown(first[path.stem])}"
                mend = "rename one of them: results are kept by this name"
                reader.mistakes.append(Mistake(reader.shown(path), 0, "", what, mend))
                reader.file(path, schema.Model)  # its own mistakes are told at once, too
            first.setdefault(path.stem, path)
        return list(first.values())

    def models(self, path: Path) -> list[Model]:
        """The models of one file: one, or a matrix's cells; [] where it has mistakes."""
        model, document = self.reader.file(path, schema.Model)
        if model is None:
            return []
        cells = self.reader.cells(path.stem, model, document)
        found = [self.reader.merge(name, model, document, cell, self.known) for name, cell in cells]
        return [merged for merged in found if merged]

    def house(self, models: Iterable[Model]) -> House:
        """All that was read. Raises ConfigError with every mistake so far."""
        if self.reader.mistakes:
            raise ConfigError(self.reader.mistakes)
        assert self.settings is not None
        known = self.known
        return House(
            self.settings, known.engines, known.providers, known.tasks, tuple(models),
            tuple(self.reader.inputs),
        )  # fmt: skip


def load_engines(root: Path) -> dict[str, schema.Engine]:
    """The engines alone: a mistake in somebody's model stops nobody's environment."""
    reader = _Reader(root, {})
    found = reader.engines(root / "configs" / "engines")
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return {name: engine for name, (engine, _) in found.items() if engine}


def load_launcher(root: Path, path: Path) -> schema.Launcher:
    """One launcher. Raises ConfigError."""
    reader = _Reader(root, {})
    found, _ = reader.file(path, schema.Launcher)
    if found is None:
        raise ConfigError(reader.mistakes)
    return found


def load_leaderboard(root: Path) -> tuple[schema.Settings, dict[str, schema.Task]]:
    """config.yaml and the task files alone; raises ConfigError with their mistakes, a group's task
    that is in no file among them."""
    reader = _Reader(root, {})
    path = root / "configs" / "config.yaml"
    settings = reader.settings(path) or schema.Settings()
    found = {f.stem: reader.file(f, schema.Task)[0] for f in reader.yamls(root / "configs/tasks")}
    for name, group in settings.leaderboard.groups.items():
        for task in group.weights:
            if task not in found:
                nearest = near(task, found)
                mend = f"did you mean {nearest!r}?" if nearest else f"one of {', '.join(found)}"
                what = f"no task is named {task!r}"
                key = ("leaderboard", "groups", name, "tasks")
                reader.mistakes.append(yamlfile.read(path).mistake(key, what, mend))
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return settings, {name: task for name, task in found.items() if task}


@dataclass
class _Known:
    engines: dict[str, schema.Engine]
    providers: dict[str, tuple[schema.Provider, Document]]
    tasks: dict[str, schema.Task]
    broken: set[str]  # files that are there, but with mistakes of their own


class _Reader:
    def __init__(self, root: Path, knobs: dict[str, str]) -> None:
        self.root, self.knobs = root, knobs
        self.mistakes: list[Mistake] = []
        self.inputs: list[Path] = []

    def shown(self, path: Path) -> str:
        """A path as messages and rules show it: relative to the root where it lies below it."""
        return str(path).removeprefix(f"{self.root}/")

    def yamls(self, folder: Path) -> list[Path]:
        """The YAML files of a folder, sorted; a name that Make could not carry is a mistake."""
        if not folder.is_dir():
            self.mistakes.append(Mistake(self.shown(folder), 0, "", "is missing"))
            return []
        self.inputs.append(folder)
        found = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix not in (".yaml", ".yml"):
                continue
            if not self.good_name(path):
                continue
            if path.suffix == ".yml":
                self.mistakes.append(
                    Mistake(self.shown(path), 0, "", "ends in .yml", "rename it to .yaml")
                )
                continue
            found.append(path)
        return found

    def good_name(self, path: Path) -> bool:
        if good(path.stem) and (shown := self.shown(path)).isprintable():
            return True
        if good(path.stem):
            what = "lies in a folder whose name can't be used"
            self.mistakes.append(Mistake(shown, 0, "", what, "rename the folder"))
            return False
        self.mistakes.append(
            Mistake(
                self.shown(path),
                0,
                "",
                "has a name that can't be used",
                f"use letters, digits and . _ + -, {MOST} at most, and a letter or digit first",
            )
        )
        return False

    def model_files(self, configs: Path) -> Iterable[Path]:
        yield from (p for p in self.yamls(configs) if p.name != "config.yaml")
        for folder in sorted(configs.iterdir()):
            if not folder.is_dir() or folder.name in NO_MODELS or folder.name[0] == ".":
                continue
            if not paths.watchable(folder):
                what = "has a name that can't be used"
                self.mistakes.append(Mistake(self.shown(folder), 0, "", what, "rename it"))
                continue
            yield from self.yamls(folder)

    def file(self, path: Path, kind: type[T]) -> tuple[T | None, Document]:
        """One file, validated; None where it has mistakes (noted)."""
        self.inputs.append(path)
        name = self.shown(path)
        if not self.good_name(path):
            return None, Document(name)
        try:
            document = yamlfile.read(path, name)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return None, Document(name)
        return self.validated(kind, document.data, document), document

    def validated(
        self, kind: type[T], data: dict[str, Any], document: Document, at: Key = ()
    ) -> T | None:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            self.mistakes += [
                mistake(kind, detail, document, at)
                for detail in error.errors(include_url=False, include_context=True)
            ]
            return None

    def engines(self, folder: Path) -> dict[str, tuple[schema.Engine | None, Document]]:
        """The engines, each with what it takes from the one that it is like."""
        found = {f.stem: self.file(f, schema.Engine) for f in self.yamls(folder)}
        out = dict(found)
        for name, (engine, document) in found.items():
            if not engine or not engine.like:
                continue
            model = found.get(engine.like, (None, document))[0]
            if engine.like not in found or (model and model.like):
                what = "is no engine that has its options from nobody else"
                known = ", ".join(n for n, (e, _) in found.items() if e and not e.like)
                self.mistakes.append(document.mistake(("like",), what, f"one of {known}"))
            elif model:
                taken = {
                    "neutral": [*model.neutral, *engine.neutral],
                    "gone": [*model.gone, *engine.gone],
                }
                out[name] = engine.model_copy(update=taken), document
        return out

    def settings(self, path: Path) -> schema.Settings | None:
        if not path.exists():
            self.inputs.append(path.parent)
            return schema.Settings()
        return self.file(path, schema.Settings)[0]

    def check_references(
        self,
        known: _Known,
        engines: Mapping[str, tuple[schema.Engine | None, Document]],
        providers: Mapping[str, tuple[schema.Provider | None, Document]],
        tasks: Mapping[str, tuple[schema.Task | None, Document]],
    ) -> None:
        """What one file says about another: engines of providers, harnesses of tasks."""
        for provider, document in providers.values():
            if provider:
                self.option_names(provider.model_extra or {}, document, ())
                self.known_name(
                    "engine", provider.engine, known.engines, document, ("engine",), known
                )
        for task, document in tasks.values():
            if not task:
                continue
            self.known_name("harness", task.harness, known.engines, document, ("harness",), known)
            if task.lm_eval_path and task.lm_eval_git:
                self.mistakes.append(
                    document.mistake(("lm_eval_git",), "stands beside lm_eval_path", "keep one")
                )
            for name in ("include_path", "lm_eval_path"):
                folder = getattr(task, name)
                if folder and not (self.root / paths.home(folder)).is_dir():
                    self.mistakes.append(
                        document.mistake(
                            (name,),
                            f"{folder} is no directory",
                            "give a path relative to benchy's root",
                        )
                    )
        for engine, document in engines.values():
            if (
                engine
                and engine.kind == "engine"
                and not engine.main
                and not engine.default_version
            ):
                self.mistakes.append(
                    document.mistake(
                        (),
                        "names no default_version",
                        "give the release that serves where a config names none",
                    )
                )

    def known_name(
        self,
        kind: str,
        name: str,
        known: Mapping[str, Any],
        document: Document,
        at: Key,
        all_: _Known,
    ) -> bool:
        if name in known:
            return True
        if name not in all_.broken:  # a broken file has said what is wrong with it
            folder = {"engine": "engines", "harness": "engines"}.get(kind, f"{kind}s")
            nearest = near(name, known)
            self.mistakes.append(
                document.mistake(
                    at,
                    f"there is no {kind} {name!r}",
                    f"did you mean {nearest!r}?"
                    if nearest
                    else f"{kind}s are configs/{folder}/NAME.yaml: "
                    + (", ".join(sorted(known)) or "none"),
                )
            )
        return False

    def cells(self, stem: str, model: schema.Model, document: Document) -> list[Cell]:
        """The cells of a model's matrix; without one, the model itself."""
        if not model.matrix:
            return [(stem, Document(document.file))]
        fine = self.option_names(model.matrix, document, ("matrix",))
        if stem == QUICKSTART:
            self.mistakes.append(document.mistake(("matrix",), "is not for the quickstart"))
        for key in model.matrix:
            if key.replace("-", "_") in schema.neutral():
                what = "cannot change an answer, so it makes no cells"
                self.mistakes.append(document.mistake(("matrix", key), what, "leave it out"))
                fine = False
            if key.replace("-", "_") in self.command_line().data:
                raise UsageError(
                    f"{key} is varied by the matrix of {document.file}",
                    "select its cells instead: MODELS='NAME@*'", "SET",
                )  # fmt: skip
        count = math.prod(map(len, model.matrix.values()))
        if count > matrix.MOST:
            what = f"has {count} cells; {matrix.MOST} is the most"
            self.mistakes.append(document.mistake(("matrix",), what, "write several configs"))
            return []
        found = matrix.cells(stem, model.matrix, document)
        names = [name for name, _ in found]
        if longest := next((name for name in names if len(name) > MOST), ""):
            what = f"its cells' names are too long, such as {longest[:40]}…"
            self.mistakes.append(document.mistake(("matrix",), what, "vary fewer keys"))
            fine = False
        for name in sorted({name for name in names if names.count(name) > 1}):
            what = f"two of its cells would be named {name}"
            self.mistakes.append(document.mistake(("matrix",), what, "leave one of them away"))
            fine = False
        return found if fine else []

    def merge(
        self, name: str, model: schema.Model, document: Document, cell: Document, known: _Known
    ) -> Model | None:
        ok = True
        for i, task in enumerate(model.tasks):
            ok &= self.known_name("task", task, known.tasks, document, ("tasks", i), known)
            if task in model.tasks[:i]:
                self.mistakes.append(
                    document.mistake(("tasks", i), f"names {task!r} twice", "leave one away")
                )
                ok = False
        at: Key = ("vllm", "provider_config")
        if not self.known_name(
            "provider", model.vllm.provider_config, known.providers, document, at, known
        ):
            return None
        _, provider_document = known.providers[model.vllm.provider_config]
        written = {k.replace("-", "_"): v for k, v in model.vllm.overrides.items()}
        ok &= self.option_names(model.vllm.overrides, document, ("vllm", "overrides"))
        set_document = self.command_line()
        merged: dict[str, Any] = {}
        origin: dict[str, str] = {}
        keys: dict[str, str] = {}
        for data, source, at, above in (
            (provider_document.data, provider_document, (), ()),
            (model.vllm.overrides, document, ("vllm", "overrides"), ("vllm", "overrides")),
            (cell.data, cell, (), ("matrix",)),
            (set_document.data, set_document, (), ()),
        ):
            for key, value in data.items():
                option = key.replace("-", "_")
                merged[option] = value
                origin[option] = f"{source.file}:{source.line((*at, key))}"
                keys[option] = yamlfile.dotted((*above, key))
        # The provider alone is valid, so what is wrong here was written in a layer above it.
        for layer in (cell, set_document):
            if layer.data and not self.validated(schema.Provider, layer.data, layer):
                return None
        serving = self.validated(schema.Provider, merged, document, ("vllm", "overrides"))
        if serving is None:
            return None
        engine = known.engines.get(serving.engine)
        if engine is None:
            # The last layer that names one has the say; the provider's mistake has been told.
            for where_from, at, named in (
                (set_document, ("engine",), set_document.data),
                (document, ("matrix", "engine"), cell.data),
                (document, ("vllm", "overrides", "engine"), written),
            ):
                if "engine" in named:
                    name = serving.engine
                    self.known_name("engine", name, known.engines, where_from, at, known)
                    break
            return None
        if engine.kind != "engine":
            self.mistakes.append(
                document.mistake(
                    ("vllm",), f"{serving.engine} is a {engine.kind}, no engine", "name an engine"
                )
            )
            return None
        options = {k: v for k, v in merged.items() if k not in OWN}
        # As benchy spells them, where the schema has read them (defaults included).
        for key in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if key in options and options[key] == 1:
                del options[key]  # the engine's own default, and not every release has all three
        if options.get("limit_mm_per_prompt") is not None:
            options["limit_mm_per_prompt"] = _singular(options["limit_mm_per_prompt"])
        where = model.model.name
        if where[0] in "/.~" and not (self.root / paths.home(where)).is_dir():
            self.mistakes.append(
                document.mistake(
                    ("model", "name"),
                    f"{where} is no directory",
                    "give the directory of a model, or its name on the hub: org/name",
                )
            )
            ok = False
        wheel = local_wheel(serving.engine_source, self.root)
        if wheel:
            self.inputs.append(wheel)
            if not wheel.is_file():
                here = f"{origin['engine_source']}".rpartition(":")
                self.mistakes.append(
                    Mistake(
                        here[0],
                        int(here[2]),
                        "engine_source",
                        f"there is no wheel {serving.engine_source}",
                        "give its path relative to benchy's root, or its URL",
                    )
                )
                ok = False
        token = origin.get("hf_token", "").rpartition(":")[0] if merged.get("hf_token") else None
        return (
            Model(
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
                resources=model.resources,
                origin=origin,
                keys=keys,
            )
            if ok
            else None
        )

    def option_names(self, names: Iterable[str], document: Document, at: Key) -> bool:
        ok = True
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
                self.mistakes.append(
                    document.mistake(
                        (*at, name),
                        "is no name of an option",
                        "write it as the engine's manual does, without its dashes",
                    )
                )
                ok = False
                continue
            if own := slip(name):
                self.mistakes.append(
                    document.mistake((*at, name), "unknown key", f"did you mean {own!r}?")
                )
                ok = False
        return ok

    def command_line(self) -> Document:
        """SET="key=value …" as a document: each value is read as YAML would read it."""
        lines, seen = [], set()
        for word in self.knobs.get("SET", "").split():
            name, equals, value = word.partition("=")
            if not equals or not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in seen:
                raise ConfigError(
                    [
                        Mistake(
                            "",
                            0,
                            "SET",
                            f"{word!r} is not key=value, or stands twice",
                            "write SET='max_model_len=2048 enforce_eager=true'",
                        )
                    ]
                )
            seen.add(name)
            quoted = name.endswith("version") and re.fullmatch(r"[\w.+!]+", value)
            lines.append(
                f"{name.replace('-', '_')}: {chr(34) + value + chr(34) if quoted else value}"
            )
        if not lines:
            return Document("SET")
        return yamlfile.parse("\n".join(lines), "SET")


@functools.cache
def slip(name: str) -> str:
    """The key of benchy's own that an option's name is a slip of the pen away from, "" for none.

    An engine may have any option, but this is told before an environment is built to ask it.
    """
    name = name.replace("-", "_")
    own = difflib.get_close_matches(name, list(schema.Provider.model_fields), n=1, cutoff=0.9)
    return own[0] if own and own[0] != name else ""


def _variables(engine: schema.Engine, serving: schema.Provider) -> dict[str, str]:
    out = dict(engine.variables)
    for repair in engine.repairs:
        if serving.vllm_version and repair_holds(repair, serving.vllm_version):
            out.update(repair.variables)
    return dict(sorted({**out, **serving.engine_env}.items()))


def local_wheel(source: str | None, root: Path) -> Path | None:
    """The wheel's path if a source is a file of this machine."""
    if source is None or "://" in source:
        return None
    return root / paths.home(source)


def repair_holds(repair: schema.Repair, version: str) -> bool:
    try:
        return SpecifierSet(repair.versions, prereleases=True).contains(Version(version))
    except InvalidVersion:
        return False


def _singular(value: Any) -> Any:
    """limit_mm_per_prompt as a mapping, however it was written: image=16,video=2, JSON or YAML.

    vLLM's keys are image, audio, video in all releases; older benchy files say images.
    """
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if all(re.fullmatch(r" *[0-9]{1,9} *", number) for _, _, number in pairs):
            value = {key.strip(): int(number) for key, _, number in pairs}
        else:
            with contextlib.suppress(ValueError, RecursionError):
                read = json.loads(value)
                canonical(read).encode()  # what JSON could not say again stays a text
                value = read
    if isinstance(value, dict):
        return {k[:-1] if k in ("images", "audios", "videos") else k: v for k, v in value.items()}
    return value
