"""Reads the files of configs/ and checks each one and its references to others.

Mistakes are collected so that all of them can be reported at once.
"""

from __future__ import annotations

import copy
import difflib
import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from benchy.config import generation_arguments, schema, yaml_file
from benchy.config.messages import hidden, mistake, telling
from benchy.config.reserved_options import OURS
from benchy.config.yaml_file import Document, Key
from benchy.core import paths
from benchy.core.errors import ConfigError, Mistake, UsageError
from benchy.core.names import MOST, NO_MODELS, good, near, secret

# Options that would hold a secret → what to do instead.
SECRETS = {option: hint for option, hint in OURS.items() if secret(option)}

T = TypeVar("T", bound=schema.Strict)


@dataclass
class Known:
    """The names that models may refer to.

    broken: names of files that exist but have mistakes of their own.
    """

    engines: dict[str, schema.Engine]
    providers: dict[str, tuple[schema.Provider, Document]]
    tasks: dict[str, schema.Task]
    broken: set[str]

    def of_kind(self, kind: str) -> list[str]:
        """Return the names of all engines, or of all harnesses; one cannot replace the other."""
        return sorted(name for name, engine in self.engines.items() if engine.kind == kind)


class Reader:
    """Reads configuration files and collects their mistakes.

    Attributes:
        root: benchy's root directory.
        knobs: knobs by name; `SET` as the user gave it.
        mistakes: all mistakes so far.
        inputs: every file and directory that was read.
        documents: file, as shown in messages → its document.
    """

    def __init__(self, root: Path, knobs: dict[str, str]) -> None:
        self.root, self.knobs = root, knobs
        self.mistakes: list[Mistake] = []
        self.inputs: list[Path] = []
        self.documents: dict[str, Document] = {}

    def shown(self, path: Path) -> str:
        """Return a path as messages and rules show it: relative to the root if it is below it."""
        return str(path).removeprefix(f"{self.root}/")

    def yamls(self, folder: Path) -> list[Path]:
        """Return the YAML files of a folder, sorted. A name that Make cannot use is a mistake."""
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

    def read(self, path: Path) -> Document | None:
        """Return the document of a file, or None if it has mistakes, which are recorded."""
        self.inputs.append(path)
        name = self.shown(path)
        if not self.good_name(path):
            return None
        try:
            document = yaml_file.read(path, name)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return None
        self.documents[name] = document
        return document

    def file(self, path: Path, kind: type[T]) -> tuple[T | None, Document]:
        """Return a file validated as `kind`, or None if it has mistakes, which are recorded."""
        document = self.read(path)
        if document is None:
            return None, Document(self.shown(path))
        return self.validated(kind, document.data, document), document

    def validated(
        self, kind: type[T], data: dict[str, Any], document: Document, at: Key = ()
    ) -> T | None:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=True)
            self.mistakes += [mistake(kind, detail, document, at) for detail in telling(details)]
            return None

    def rest(
        self, kind: type[T], data: Mapping[str, Any], instead: Mapping[str, Any] | None = None
    ) -> T | None:
        """Validate a mapping without its wrong keys, so that the other keys can be checked too.

        Return None if the mapping is not valid without them. instead: values that replace required
        keys.
        """
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            left = copy.deepcopy(dict(data))
            for detail in error.errors(include_url=False, include_context=False):
                _take_away(left, detail["loc"])
        try:
            return kind.model_validate({**(instead or {}), **left})
        except ValidationError:
            return None

    def engines(self, folder: Path) -> dict[str, tuple[schema.Engine | None, Document]]:
        """Return all engines, each with the lists that it takes from the engine in its `like`."""
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
                    "unsupported": [*model.unsupported, *engine.unsupported],
                    "caps": {**model.caps, **engine.caps},
                    "request_options": [*model.request_options, *engine.request_options],
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
        known: Known,
        engines: Mapping[str, tuple[schema.Engine | None, Document]],
        providers: Mapping[str, tuple[schema.Provider | None, Document]],
        tasks: Mapping[str, tuple[schema.Task | None, Document]],
    ) -> None:
        """Check references between files: engines of providers, harnesses of tasks."""
        for provider, document in providers.values():
            if provider:
                self.option_names(provider.model_extra or {}, document, ())
                self.known_name(
                    "engine", provider.engine, known.engines, document, ("engine",), known
                )
        for task, document in tasks.values():
            if not task:
                continue
            at = ("harness",)
            if (
                self.known_name("harness", task.harness, known.engines, document, at, known)
                and known.engines[task.harness].kind != "harness"
            ):
                names = ", ".join(known.of_kind("harness"))
                hint = f"name a harness: {names}" if names else "add one to configs/engines"
                wrong = document.mistake(at, f"{task.harness} is an engine, no harness", hint)
                if not document.line(at):  # the default: the engine's own file is wrong
                    file = f"configs/engines/{task.harness}.yaml"
                    what = "is the default, and no harness"
                    wrong = Mistake(file, 0, "", what, "write kind: harness")
                if wrong not in self.mistakes:
                    self.mistakes.append(wrong)
            self.mistakes += [
                document.mistake(("gen_kwargs", name), what, hint)
                for name, what, hint in generation_arguments.refused(task.gen_kwargs)
            ]
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

    def check_groups(
        self, path: Path, settings: schema.Settings | None, known: Collection[str]
    ) -> None:
        """Check that the tasks in the leaderboard's groups exist.

        path: config.yaml. known: the names of all tasks.
        """
        for name, group in settings.leaderboard.groups.items() if settings else ():
            for task in group.weights:
                if task not in known:
                    nearest = near(task, known)
                    hint = f"did you mean {nearest!r}?" if nearest else f"one of {', '.join(known)}"
                    key = ("leaderboard", "groups", name, "tasks")
                    document = yaml_file.read(path, self.shown(path))
                    self.mistakes.append(document.mistake(key, f"no task is named {task!r}", hint))

    def known_name(
        self,
        kind: str,
        name: str,
        known: Mapping[str, Any],
        document: Document,
        at: Key,
        all_: Known,
    ) -> bool:
        if name in known:
            return True
        if name not in all_.broken:  # mistakes of a broken file are recorded already
            folder = {"engine": "engines", "harness": "engines"}.get(kind, f"{kind}s")
            if folder == "engines":  # a harness cannot serve, an engine cannot evaluate
                known = dict.fromkeys(all_.of_kind(kind))
            nearest = near(name, known)
            self.mistakes.append(
                document.mistake(
                    at,
                    f"there is no {kind} {name!r}",
                    f"did you mean {nearest!r}?"
                    if nearest
                    else f"known in configs/{folder}: {', '.join(sorted(known)) or 'none'}",
                )
            )
        return False

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
            option = name.replace("-", "_")
            if told := SECRETS.get(option):
                if option not in schema.Provider.model_fields:
                    self.mistakes.append(document.mistake((*at, name), "is a secret", told))
                    ok = False
                continue
            if own := slip(name):
                self.mistakes.append(
                    document.mistake((*at, name), "unknown key", f"did you mean {own!r}?")
                )
                ok = False
        return ok

    def command_line(self) -> Document:
        """Return SET="key=value …" as a document. Each value is read as YAML."""
        lines, seen = [], set()
        for word in self.knobs.get("SET", "").split():
            name, equals, value = word.partition("=")
            if told := SECRETS.get(name.replace("-", "_")):
                raise UsageError(f"{name} is a secret, and knobs are written to files", told, "SET")
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
        return yaml_file.parse("\n".join(lines), "SET")

    def set_without_secrets(self) -> str:
        """Return `SET` without the passwords in URLs. `command_line` refuses other secrets."""
        return " ".join(hidden(word) for word in self.knobs.get("SET", "").split())


def _take_away(data: Any, location: Sequence[str | int]) -> bool:
    """Delete the innermost existing key of a location; return whether there was one."""
    if not location or not isinstance(data, dict) or location[0] not in data:
        return False
    if not _take_away(data[location[0]], location[1:]):
        del data[location[0]]
    return True


@functools.cache
def slip(name: str) -> str:
    """Return benchy's own key that an option's name probably misspells, or "" if there is none.

    An engine may have any option, but this check needs no environment.
    """
    name = name.replace("-", "_")
    own = difflib.get_close_matches(name, list(schema.Provider.model_fields), n=1, cutoff=0.9)
    return own[0] if own and own[0] != name else ""
