"""Expands the configuration into rules and spec files: what would be built, from what.

Reads configs/, uv.lock and the markers of environments that could not be built
(venvs/.failed/*.json). Writes below build/: rules.mk (always), plan.json (read by the other
commands) and specs/… (each only if it changed, because Make rebuilds whatever has a newer spec).
Fast, offline and idempotent: `make -n` runs it too.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from packaging.version import Version

from benchy.config import loader, option_files, schema, settings_schema
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.file_reader import Listing
from benchy.core import files, knobs, paths
from benchy.core.errors import ConfigError, Failure, FailureKind, UsageError
from benchy.core.hashing import canonical
from benchy.core.specs import EnvironmentRequest, FailureMarker, Fallback, ServerSpec
from benchy.display.messages import say
from benchy.engines import option_check
from benchy.plan import specs, writer
from benchy.plan.environment_specs import PlanContext, environment_of, main_environment
from benchy.plan.plan import Plan


def expand(
    config: Configuration, context: PlanContext, limit: int | None, extra: tuple[str, ...] = ()
) -> Plan:
    """Return the plan of a configuration.

    limit: requests per task, None for all. extra: tasks planned for every model besides its own.
    """
    plan = empty(config, limit)
    for name in sorted({t for m in config.models for t in m.tasks} | set(extra)):
        add_task(plan, name, config, context)
    for model in config.models:
        add_model(plan, model, config, context, extra)
    return finished(plan, config.inputs, context.root)


def empty(config: Configuration, limit: int | None) -> Plan:
    """Return a plan without models and tasks."""
    build: Any = config.settings.slurm.build.model_dump(exclude_unset=True)
    return Plan(limit=limit, launcher=config.settings.launcher, build=build)


def add_task(plan: Plan, name: str, config: Configuration, context: PlanContext) -> None:
    if name not in plan.tasks:
        plan.tasks[name], env = specs.task(name, config, context, plan)
        plan.add(env)


def add_model(
    plan: Plan,
    model: ModelConfig,
    config: Configuration,
    context: PlanContext,
    extra: tuple[str, ...] = (),
) -> None:
    """Add a model's server, results and environments. Its tasks must have been added."""
    requested = environment_of(model, context)
    fallback: Fallback | None = None
    serving = requested
    if context.fallback and failed_to_build(requested, context):
        main = main_environment(model, context)
        if main["env"] != requested["env"] and main["env"] not in context.failures:
            failure = context.failures[requested["env"]]
            fallback = {
                "environment": requested["env"],
                "version": requested["version"],
                "error": str(failure.get("what", "")),
            }
            serving = main
    plan.sources[model.name] = {spec["env"]: spec["source"] for spec in (requested, serving)}
    for spec in (requested, serving):
        plan.add(spec)
    plan.neutral[model.name] = neutral = {*model.engine.neutral, *schema.neutral()}
    plan.servers[model.name] = specs.server(model, serving, fallback, config, neutral)
    plan.inputs += map(specs.shown, option_files.inputs(specs.named_files(model, neutral)))
    tasks = [*model.tasks, *(t for t in extra if t not in model.tasks)]
    for task in tasks:
        plan.results[model.name, task] = specs.result(
            plan.servers[model.name], plan.tasks[task], plan.limit
        )
    plan.models[model.name] = {
        "source": model.file,
        "tasks": tasks,
        "asked": requested["env"],
        "environment": serving["env"],
        "fallback": fallback,
        "harnesses": sorted({plan.tasks[t]["environment"] for t in tasks}),
    }


def failed_to_build(requested: EnvironmentRequest, context: PlanContext) -> bool:
    """Return whether the requested environment could not be built, so another may serve.

    Return False if the configuration requests something that does not exist: a score of another
    release would hide the mistake.
    """
    failure = context.failures.get(requested["env"])
    return failure is not None and failure.get("kind") != FailureKind.NO_SUCH_RELEASE


def finished(plan: Plan, inputs: Iterable[Path], root: Path) -> Plan:
    """Add the inputs, with relative paths, so that a copy of the checkout uses its own files."""
    inside = f"{root}/"
    plan.inputs += [str(p).removeprefix(inside) for p in inputs]
    plan.inputs += shared_locks(plan, root)
    return plan


def checked(base: loader.ConfigLoader, listing: Listing, context: PlanContext) -> Configuration:
    """Return the configuration with the models in these files. Raise ConfigError."""
    read = [base.read(path) for path in listing.files]
    models = (model for file in read for model in file.models)
    with all_mistakes(base, read, context, (_server(model, base, context) for model in models)):
        return base.configuration(listing, read)


@contextlib.contextmanager
def all_mistakes(
    base: loader.ConfigLoader,
    read: Sequence[loader.ModelFile],
    context: PlanContext,
    servers: Iterable[ServerSpec],
) -> Iterator[None]:
    """If the files have mistakes, add those that releases find in the options.

    Checks the options of these servers and of the models with mistakes among `read`, so that a user
    can fix everything in one go.
    """
    try:
        yield
    except ConfigError as error:
        server_specs = list(servers)
        for model in (model for file in read for model in file.flawed):
            with contextlib.suppress(ConfigError, OSError):  # its mistakes may prevent this
                server_specs.append(_server(model, base, context))
        reported = {(mistake.file, mistake.line, mistake.key) for mistake in error.mistakes}
        flags = option_check.FlagsCache(context.root)
        more = [
            mistake
            for mistake in option_check.mistakes(server_specs, flags)
            if (mistake.file, mistake.line, mistake.key) not in reported
        ]
        raise ConfigError([*error.mistakes, *more]) from None


def _server(model: ModelConfig, base: loader.ConfigLoader, context: PlanContext) -> ServerSpec:
    return specs.server(model, environment_of(model, context), None, base.partial(), ())


def shared_locks(plan: Plan, root: Path) -> list[str]:
    """Return the shared locks of the plan's environments, and the folder where new ones appear."""
    locks = [p for p in map(paths.shared_lock, plan.environments) if (root / p).is_file()]
    folder = paths.CONFIGS / "locks"
    place = folder if (root / folder).is_dir() else folder.parent
    return [str(path) for path in (place, *locks)]


def locked_main_version(root: Path) -> str | None:
    """Return the vllm release that uv.lock holds for this Python, None if there is none.

    uv.lock has one [[package]] for each release that some Python gets; the newest Pythons get the
    newest release (pyproject.toml).
    """
    # A regular expression, because parsing the whole file as TOML takes 20 times as long (0.2 s).
    releases = re.findall(
        r'^\[\[package\]\]\nname = "vllm"\nversion = "([^"]+)"',
        (root / "uv.lock").read_text(),
        re.M,
    )
    versions = sorted(map(Version, releases))
    if not versions:
        return None
    return str(versions[0] if sys.version_info < (3, 11) else versions[-1])


def failures() -> dict[str, FailureMarker]:
    """Return environment → marker for the environments that could not be built."""
    out: dict[str, FailureMarker] = {}
    for path in sorted(paths.FAILED.glob("*.json")):
        if marker := files.read_json(path):  # {}: being removed right now
            out[path.stem] = cast("FailureMarker", marker)
    return out


def surroundings() -> PlanContext:
    return PlanContext(
        paths.ROOT,
        lambda: locked_main_version(paths.ROOT),
        failures(),
        knobs.on("FALLBACK", default=True),
    )


def limit_knob(settings: settings_schema.Settings | None) -> int | None:
    text = os.environ.get("LIMIT", "")
    if not text:
        return settings.evaluation.default_limit if settings else None
    if not knobs.is_limit(text):
        raise UsageError(f"{text!r} is not a whole number of requests", "write LIMIT=10", "LIMIT")
    return int(text)


def saved(plan: Plan, directory: Path, mine: bool) -> bool:
    """Write the plan unless it would change specs of a run; return whether it was written.

    Raise Failure if it is not written and there is no earlier plan. mine: the value that
    incremental.alone() yields.
    """
    if mine or writer.adds(plan):
        writer.save(plan, directory)
        return True
    if not (directory / "rules.mk").exists():
        raise Failure(
            "there is no plan yet, and a run with other options is in progress",
            "try again when it has ended",
        )
    say("PLAN", f"{directory} is not updated while a run with other options is in progress")
    return False


def show(plan: Plan, form: str) -> str:
    if form == "json":
        return canonical(
            {
                "limit": plan.limit,
                "environments": plan.environments,
                "servers": plan.servers,
                "results": {
                    str(paths.result(m, t, plan.limit)): s for (m, t), s in plan.results.items()
                },
            }
        )
    lines = []
    for name, model in sorted(plan.models.items()):
        lines.append(f"{name}  ({model['source']})")
        version = plan.environments[model["environment"]]["version"] or "as its source says"
        note = f"  fallback for {model['asked']}" if model["fallback"] else ""
        lines.append(f"  served by {model['environment']} (release {version}){note}")
        lines += [f"  {paths.result(name, t, plan.limit)}" for t in model["tasks"]]
    return "\n".join(lines) + "\n"
