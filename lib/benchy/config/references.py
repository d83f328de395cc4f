"""Checks the references between files: engines of providers, harnesses of tasks, and so on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchy.config import generation_arguments, option_checks
from benchy.config.engine_schema import Engine
from benchy.config.file_reader import ConfigFile, ConfigFolder
from benchy.config.provider_schema import Provider
from benchy.config.settings_schema import Settings
from benchy.config.task_schema import Task
from benchy.config.yaml_file import Document
from benchy.core import paths
from benchy.core.errors import Mistake
from benchy.core.names import near


@dataclass(frozen=True)
class KnownNames:
    """The names that files may refer to.

    broken: names of files that exist but have mistakes of their own.
    """

    engines: Mapping[str, Engine]
    providers: Mapping[str, tuple[Provider, Document]]
    tasks: Mapping[str, Task]
    broken: Collection[str]

    def of_kind(self, kind: str) -> list[str]:
        """Return the names of all engines, or of all harnesses; one cannot replace the other."""
        return sorted(name for name, engine in self.engines.items() if engine.kind == kind)

    def unknown(self, kind: str, name: str) -> tuple[str, str] | None:
        """Return what is wrong with a name, and a hint; None if it is known or its file is broken.

        kind: engine, harness, provider or task.
        """
        of = {"provider": self.providers, "task": self.tasks}.get(kind, self.engines)
        if name in of or name in self.broken:
            return None
        folder = "engines" if of is self.engines else f"{kind}s"
        names = self.of_kind(kind) if of is self.engines else sorted(of)
        nearest = near(name, names)
        among = f"known in configs/{folder}: {', '.join(names) or 'none'}"
        return f"there is no {kind} {name!r}", f"did you mean {nearest!r}?" if nearest else among


def with_like(engines: Mapping[str, ConfigFile[Engine]]) -> dict[str, ConfigFile[Engine]]:
    """Return all engines, each with the lists that it takes from the engine in its `like`."""
    out = dict(engines)
    for name, file in engines.items():
        engine = file.value
        if not engine or not engine.like:
            continue
        other = engines[engine.like].value if engine.like in engines else None
        if engine.like not in engines or (other and other.like):
            known = ", ".join(n for n, e in engines.items() if e.value and not e.value.like)
            what = "does not name an engine without a `like` of its own"
            mistake = file.document.mistake(("like",), what, f"write one of {known}")
            out[name] = replace(file, mistakes=[*file.mistakes, mistake])
        elif other:
            taken = {
                "neutral": [*other.neutral, *engine.neutral],
                "gone": [*other.gone, *engine.gone],
                "unsupported": [*other.unsupported, *engine.unsupported],
                "caps": {**other.caps, **engine.caps},
                "request_options": [*other.request_options, *engine.request_options],
            }
            out[name] = replace(file, value=engine.model_copy(update=taken))
    return out


def of_engines(engines: ConfigFolder[Engine]) -> Iterator[Mistake]:
    for name, engine in engines.valid.items():
        document = engines.files[name].document
        yield from option_checks.reserved(engine.options, document, ("options",))
        if engine.kind == "engine" and not engine.main and not engine.default_version:
            hint = "write the release for configs without vllm_version"
            yield document.mistake((), "has no default_version", hint)


def of_providers(providers: ConfigFolder[Provider], known: KnownNames) -> Iterator[Mistake]:
    for name, provider in providers.valid.items():
        document = providers.files[name].document
        yield from option_checks.names(provider.model_extra or {}, document, ())
        if wrong := known.unknown("engine", provider.engine):
            yield document.mistake(("engine",), *wrong)


def of_tasks(tasks: ConfigFolder[Task], known: KnownNames, root: Path) -> Iterator[Mistake]:
    for name, task in tasks.valid.items():
        yield from _of_task(task, tasks.files[name].document, known, root)


def _of_task(task: Task, document: Document, known: KnownNames, root: Path) -> Iterator[Mistake]:
    if wrong := known.unknown("harness", task.harness):
        yield document.mistake(("harness",), *wrong)
    elif task.harness in known.engines and known.engines[task.harness].kind != "harness":
        yield _no_harness(task.harness, document, known)
    for name, what, hint in generation_arguments.refused(task.gen_kwargs):
        yield document.mistake(("gen_kwargs", name), what, hint)
    if task.lm_eval_path and task.lm_eval_git:
        yield document.mistake(("lm_eval_git",), "is set together with lm_eval_path", "keep one")
    for name in ("include_path", "lm_eval_path"):
        folder = getattr(task, name)
        if folder and not (root / paths.home(folder)).is_dir():
            hint = "write a path relative to benchy's root"
            yield document.mistake((name,), f"{folder} is not a directory", hint)


def _no_harness(name: str, document: Document, known: KnownNames) -> Mistake:
    if not document.line(("harness",)):  # the default: the engine's own file is wrong
        file, what = f"configs/engines/{name}.yaml", "is the default harness, but of another kind"
        return Mistake(file, 0, "", what, "write kind: harness")
    names = ", ".join(known.of_kind("harness"))
    hint = f"name a harness: {names}" if names else "add one to configs/engines"
    return document.mistake(("harness",), f"{name} is an engine, not a harness", hint)


def of_settings(
    settings: ConfigFile[Settings], tasks: Collection[str], launchers: Collection[str]
) -> Iterator[Mistake]:
    if settings.value is None:
        return
    yield from of_groups(settings.value, settings.document, tasks)
    launcher = settings.value.launcher
    if launcher not in ("local", *launchers):
        what = f"there is no launcher {launcher!r}"
        hint = f"known: {', '.join(['local', *sorted(launchers)])}"
        yield Mistake("configs/config.yaml", 0, "launcher", what, hint)


def of_groups(settings: Settings, document: Document, tasks: Collection[str]) -> Iterator[Mistake]:
    """Yield a mistake for each task in the leaderboard's groups that no file defines."""
    for name, group in settings.leaderboard.groups.items():
        for task in group.weights:
            if task not in tasks:
                nearest = near(task, tasks)
                hint = f"did you mean {nearest!r}?" if nearest else f"one of {', '.join(tasks)}"
                key = ("leaderboard", "groups", name, "tasks")
                yield document.mistake(key, f"there is no task {task!r}", hint)
