"""Makes the specs of servers, tasks and results: the contents of build/specs/.

A result's spec is everything that can change an answer, and nothing else. The specs of servers and
tasks say how to run them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from benchy.config import engine_schema, option_files
from benchy.config.configuration import Configuration, ModelConfig
from benchy.config.reserved_options import OWN
from benchy.core import paths
from benchy.core.errors import UsageError
from benchy.core.hashing import content_of, sha256
from benchy.core.specs import (
    EnvironmentRequest,
    Fallback,
    FallbackRelease,
    GoneOption,
    ModelMeaning,
    Nodes,
    PackagedWeights,
    PlannedTask,
    ResourceRequest,
    ResultSpec,
    ServerMeaning,
    ServerSpec,
    TaskMeaning,
)
from benchy.plan import origins, task_files
from benchy.plan.environment_specs import (
    PlanContext,
    ReleaseRequest,
    environment_spec,
    git_source,
    path_source,
)
from benchy.plan.plan import Plan
from benchy.plan.task_data import SKIPPED

TINY = Path("build/models/tiny")  # the model that benchy generates


def _path(model: ModelConfig) -> str | None:
    """Return the directory of a local model, None for a model on the hub."""
    facts = model.facts
    local = facts.name[0] in "/.~"
    return str(TINY) if facts.make else str(paths.home(facts.name)) if local else None


def server(
    model: ModelConfig,
    environment: EnvironmentRequest,
    fallback: Fallback | None,
    config: Configuration,
    neutral: Collection[str],
) -> ServerSpec:
    """Return how to run a server. neutral: options that cannot change an answer.

    `meaning` is everything that can change an answer. Each result's spec starts with it, so a
    server that was started for another meaning is detected.
    """
    serving, engine = model.serving, model.engine
    request = resources(model, config)
    spec: ServerSpec = {
        "model": model.name,
        "source": model.file,
        "name": model.facts.name,
        "revision": model.facts.revision,
        "path": _path(model),
        "make": model.facts.make,
        "engine": model.engine_name,
        "title": engine.title or engine.package,
        "package": engine.package,
        "module": engine.module,
        "version": _version(environment),
        "release": environment["version"],
        "environment": environment["env"],
        "fallback": fallback,
        "device": engine.device,
        "gpus": model.gpus if engine.device == "gpu" else 0,
        "cuda_devices": model.pins,
        "host": serving.host,
        "port": serving.port,
        "command": engine.command,
        "options": model.options,
        "defaults": model.defaults,
        "variables": model.variables,
        "origin": {k: v for k, v in sorted(model.origin.items()) if k not in OWN},
        "where": origins.of_model(model, config),
        "inputs": _inputs_of_model(model, config, neutral),
        "keys": {k: v for k, v in model.keys.items() if k not in OWN and k != v},
        "gone": _removed_options(model),
        "chat": model.chat,
        "trust_remote_code": serving.trust_remote_code,
        "startup_timeout": serving.startup_timeout,
        "hf_cache": serving.hf_cache or config.settings.paths.get("hf_cache"),
        "token_from": model.token_from,
        "meaning": _meaning(model, environment, fallback, neutral),
    }
    if engine.caps:
        spec["caps"] = engine.caps
    if model.set:
        spec["set"] = model.set
    if request:
        spec["resources"] = request
    if nodes := _nodes(model, request):
        spec["nodes"] = nodes
    if package := _package(model):
        spec["weights"] = package
    return spec


def _package(model: ModelConfig) -> PackagedWeights | None:
    """Return the package of the index that has the model's weights, if the config names one."""
    if not (package := model.facts.package):
        return None
    return {"name": package.name, "version": package.version, "sha256": package.sha256}


def _version(environment: EnvironmentRequest) -> str | None:
    """Return the release that has to answer, None in the main environment."""
    return None if environment["env"] == paths.MAIN else environment["version"]


def _inputs_of_model(
    model: ModelConfig, config: Configuration, neutral: Collection[str]
) -> dict[str, str]:
    """Return the files that decide how a model is served, each with its digest when read."""
    files = [
        model.file, f"configs/providers/{model.provider}.yaml", "configs/config.yaml",
        *_engine_files(model.engine_name, model.engine),
    ]  # fmt: skip
    digests = {
        shown(file.path): option_files.digest(file.path) for file in named_files(model, neutral)
    }
    return dict(sorted({**_digests(files, config), **digests}.items()))


def _engine_files(name: str, engine: engine_schema.Engine) -> list[str]:
    return [f"configs/engines/{file}.yaml" for file in (name, engine.like) if file]


def _digests(files: Iterable[str], config: Configuration) -> dict[str, str]:
    known = config.documents
    return {file: known[file].sha256 for file in sorted(files) if file in known}


def shown(path: Path) -> str:
    """Return a path relative to the root if it is below it."""
    return str(path).removeprefix(f"{paths.ROOT}/")


def named_files(model: ModelConfig, neutral: Collection[str]) -> list[option_files.Named]:
    """Return the files and folders that the model names and that can change an answer."""
    return option_files.named({**model.defaults, **model.options}, model.variables, neutral)


def _meaning(
    model: ModelConfig,
    environment: EnvironmentRequest,
    fallback: Fallback | None,
    neutral: Collection[str],
) -> ServerMeaning:
    """Return everything about a server that can change an answer, and nothing else."""
    written = {**model.defaults, **model.options}.items()
    facts, engine, path = model.facts, model.engine, _path(model)
    content = content_of(Path(path)) if path and not facts.make else None
    if facts.make:
        content = sha256(paths.SCRIPTS / "tiny_model.py")
    requested: FallbackRelease | None = None
    if fallback:
        requested = {"environment": fallback["environment"], "version": fallback["version"]}
    which: ModelMeaning = {
        "name": facts.name,
        "revision": facts.revision,
        "path": path,
        "content": content,
    }
    if package := _package(model):
        which["package"] = package
    return {
        "model": which,
        "engine": {
            "engine": model.engine_name,
            "package": engine.package,
            "version": _version(environment),
            "environment": environment["env"],
            "device": engine.device,
            "command": engine.command,
        },
        "fallback": requested,
        "options": {k: v for k, v in written if k not in neutral},
        "variables": model.variables,
        "chat": model.chat,
        **option_files.meaning(named_files(model, neutral)),
    }


def resources(model: ModelConfig, config: Configuration) -> ResourceRequest:
    """Return what to request from a launcher: `slurm` of config.yaml, then the model's own keys."""
    general = config.settings.slurm.model_dump(exclude_unset=True, exclude={"build"})
    merged: Any = {**general, **model.resources.model_dump(exclude_unset=True)}
    request: ResourceRequest = merged
    return request


def _nodes(model: ModelConfig, request: ResourceRequest) -> Nodes | None:
    """Return how to run a server on several nodes of a launcher, None for one node."""
    per_node = request.get("gpus_per_node") if model.engine.device == "gpu" else None
    count = request.get("nodes") or (-(-model.gpus // per_node) if per_node else 1)
    if count < 2:
        return None
    return {"count": count, "words": model.engine.nodes, "follower": model.engine.follower}


def _removed_options(model: ModelConfig) -> list[GoneOption]:
    """Return the engine's removed options that concern this model's options."""
    removed = model.engine.gone_options()
    named = set(model.options)
    named |= {use for option in named & removed.keys() for use in removed[option].use}
    relevant: list[GoneOption] = []
    for option, entry in removed.items():
        if {option, *entry.use} & named:
            relevant.append(
                {"option": option, "since": entry.since, "use": entry.use, "why": entry.why}
            )
            if entry.back:
                relevant[-1]["back"] = entry.back
    return relevant


def task(
    name: str, config: Configuration, context: PlanContext, plan: Plan
) -> tuple[PlannedTask, EnvironmentRequest]:
    """Return how to run a task, and the environment of its harness. Raise UsageError."""
    task = config.tasks[name]
    source = f"configs/tasks/{name}.yaml"
    engine = config.engines[task.harness]
    elsewhere = None
    version = task.harness_version
    if task.lm_eval_git:
        elsewhere = git_source(task.lm_eval_git)
    elif task.lm_eval_path:
        elsewhere = path_source((context.root / paths.home(task.lm_eval_path)).resolve())
    else:
        version = version or engine.default_version
        if version is None:
            raise UsageError(
                f"no release of {task.harness} is named", f"add harness_version to {source}"
            )
    extra = tuple(task.extra_packages)
    env = environment_spec(
        ReleaseRequest(task.harness, engine, version, source, elsewhere=elsewhere, extra=extra)
    )
    names = [task.task_name] if isinstance(task.task_name, str) else task.task_name
    files, elsewhere_files = _task_files(names, task.include_path, source, context.root, plan)
    meaning: TaskMeaning = {
        "name": name,
        "task_name": names,
        "harness_environment": env["env"],
        "num_fewshot": task.num_fewshot,
        "gen_kwargs": task.gen_kwargs,
        "max_length": task.defaults.max_length,
        "tokenizer_backend": task.tokenizer_backend,
        "trust_remote_code": task.defaults.trust_remote_code,
        "seed": task.seed,
        "files": files,
    }
    if elsewhere_files:
        meaning["files_elsewhere"] = elsewhere_files
    how: PlannedTask = {
        "name": name,
        "source": source,
        "where": origins.of_task(name, config),
        "inputs": _digests([source, *_engine_files(task.harness, engine)], config),
        "environment": env["env"],
        "include_path": task.include_path,
        "offline": task.offline,
        "batch_size": task.defaults.batch_size,
        "log_samples": task.defaults.log_samples,
        "cache_requests": task.defaults.cache_requests,
        "num_concurrent": task.defaults.num_concurrent,
        "subdirectory": task.output.subdirectory,
        "timeout": task.timeout,
        "stall_timeout": task.stall_timeout,
        "request_timeout": task.request_timeout,
        "description": task.description,
        "metric": task.metric,
        "meaning": meaning,
    }
    return how, env


def _task_files(
    names: list[str], folder: str | None, source: str, root: Path, plan: Plan
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files of a harness task with their digests: those in its folder, and others.

    Files in the folder are named relative to it. Add the plan's inputs: any file of the folder may
    become a part of the task.
    """
    below = root / folder if folder else None
    inputs: list[str] = []
    if below and folder not in plan.task_folders:
        plan.task_folders[str(folder)] = task_files.TaskFolder(below, root)
        for file in sorted(below.rglob("*")):
            if not SKIPPED & set(file.parts):
                inputs.append(shown_at(file, root))
        inputs.append(str(folder))
    known = plan.task_folders[str(folder)] if folder else task_files.TaskFolder(None, root)
    files, others = {}, {}
    for file, digest in known.follow(names).digests().items():
        if below and file.is_relative_to(below):
            files[str(file.relative_to(below))] = digest
        else:
            others[shown_at(file, root)] = digest
    inputs += others
    plan.inputs += inputs
    for name in inputs:
        if not paths.watchable(Path(name)):
            raise UsageError(
                f"{name!r} has an invalid name",
                f"rename it, or give {source} another include_path",
            )
    return files, others


def shown_at(path: Path, root: Path) -> str:
    """Return a path relative to a root if it is below it."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def result(server: ServerSpec, task: PlannedTask, limit: int | None) -> ResultSpec:
    """Return everything that can change an answer, and nothing else. Make compares its bytes."""
    return {**server["meaning"], "task": task["meaning"], "limit": limit}
