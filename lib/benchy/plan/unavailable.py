"""Finds where the configuration requests something that does not exist: file, line and key.

Reads configs/ again, because the specs of environments do not say who requests them: another line
number is no reason to resolve again. Used only for messages, so it may take a second.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchy.config import engine_schema, loader, task_schema
from benchy.config.configuration import ModelConfig
from benchy.config.yaml_file import Document, Key
from benchy.core import paths
from benchy.core.errors import ConfigError, Mistake, UsageError
from benchy.environments.environment_spec import BuildSpec
from benchy.environments.release_date import Missing
from benchy.plan import environment_specs, planner, specs
from benchy.plan.plan import Plan


def mistakes(spec: BuildSpec, missing: Sequence[Missing], knob: str = "") -> list[Mistake]:
    """Return a mistake for each place that requests something missing.

    knob: what on the command line named the environment; reported if no file requests it.
    """
    places: list[Mistake] = []
    with contextlib.suppress(ConfigError, OSError):
        places = list(_places(spec, missing))
    reported = {mistake.what for mistake in places}
    rest = [entry for entry in missing if entry.what not in reported]
    return [*places, *(Mistake("", 0, knob, entry.what, entry.hint) for entry in rest)]


def _places(spec: BuildSpec, missing: Sequence[Missing]) -> Iterator[Mistake]:
    given = os.environ.get("CONFIG")
    only = Path(os.environ.get("BENCHY_CWD", "."), given).absolute() if given else None
    base = loader.ConfigLoader(paths.ROOT, {"SET": os.environ.get("SET", "")})
    version = planner.locked_main_version
    context = environment_specs.PlanContext(paths.ROOT, lambda: version(paths.ROOT), {})
    for path in base.files(only).files:
        file = base.read(path)
        own = file.source.document
        documents = base.documents | ({own.file: own} if own else {})
        for model in file.models:
            with contextlib.suppress(UsageError):
                if environment_specs.environment_of(model, context)["env"] == spec.env:
                    for entry in missing:
                        yield replace(
                            _of_model(model, entry.requirement, spec, documents),
                            what=entry.what, hint=entry.hint,
                        )  # fmt: skip
    config = base.partial()
    for name, task in base.known.tasks.items():
        with contextlib.suppress(UsageError, OSError):
            _, env = specs.task(name, config, context, Plan())
            if env["env"] == spec.env:
                document = base.documents.get(f"configs/tasks/{name}.yaml", Document(""))
                for entry in missing:
                    place = _of_task(task, document, entry.requirement, spec, base)
                    yield replace(place, what=entry.what, hint=entry.hint)


def _of_model(
    model: ModelConfig, requirement: str, spec: BuildSpec, documents: Mapping[str, Document]
) -> Mistake:
    """Return the place in a model's files, as a Mistake without text."""
    serving = model.serving
    key, item = "", -1
    if requirement == spec.requirements[0]:
        key = "engine_source" if " @ " in requirement else "vllm_version"
    elif requirement == f"transformers=={serving.transformers_version}":
        key = "transformers_version"
    elif requirement in serving.extra_packages:
        key, item = "extra_packages", serving.extra_packages.index(requirement)
    if key not in model.origin:
        return _of_engine(model.engine_name, model.engine, requirement, spec, documents)
    file, _, line = model.origin[key].rpartition(":")
    if file == "SET":
        return Mistake("SET", 0, key, "")
    dotted = model.keys[key]
    own = documents.get(file)
    if item >= 0 and own:
        at: Key = (*dotted.split("."), item)
        return Mistake(file, own.lines.get(at, int(line)), f"{dotted}.{item}", "")
    return Mistake(file, int(line), dotted, "")


def _of_task(
    task: task_schema.Task,
    own: Document,
    requirement: str,
    spec: BuildSpec,
    base: loader.ConfigLoader,
) -> Mistake:
    if requirement == spec.requirements[0]:
        for key in ("lm_eval_git", "lm_eval_path", "harness_version"):
            if getattr(task, key):
                return own.mistake((key,), "")
    elif requirement in task.extra_packages:
        return own.mistake(("extra_packages", task.extra_packages.index(requirement)), "")
    engine = base.known.engines[task.harness]
    return _of_engine(task.harness, engine, requirement, spec, base.documents)


def _of_engine(
    name: str,
    engine: engine_schema.Engine,
    requirement: str,
    spec: BuildSpec,
    documents: Mapping[str, Document],
) -> Mistake:
    file = f"configs/engines/{name}.yaml"
    own = documents.get(file, Document(file))
    if requirement in engine.requirements:
        return own.mistake(("requirements", engine.requirements.index(requirement)), "")
    if requirement == spec.requirements[0]:
        return own.mistake(("default_version",), "")
    return Mistake(file, 0, "", "")
