"""Expands the configuration into rules and spec files: what would be built, from what.

Reads configs/, uv.lock and the markers of environments that could not be built
(venvs/.failed/*.json). Writes, below build/: rules.mk (always), plan.json (what the other commands
need to know of it) and specs/… (each only if it changed, because Make takes a newer spec as a
reason to build). Fast, offline and idempotent: `make -n` runs it too.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import Version

from benchy import config, kept, names, options, paths, planfiles, schema
from benchy.config import House, Model
from benchy.content import canonical, content_of, digest, sha256
from benchy.envspec import (
    Surroundings,
    environment_of,
    environment_spec,
    git_source,
    main_environment,
    path_source,
)
from benchy.errors import ConfigError, UsageError

Spec = dict[str, Any]
TINY = Path("build/models/tiny")  # the model that benchy makes itself


@dataclass
class Plan:
    """What would be built. Keys are the names that the spec files are kept under."""

    environments: dict[str, Spec] = field(default_factory=dict)
    servers: dict[str, Spec] = field(default_factory=dict)
    tasks: dict[str, Spec] = field(default_factory=dict)
    results: dict[tuple[str, str], Spec] = field(default_factory=dict)
    models: dict[str, Spec] = field(default_factory=dict)
    neutral: dict[str, set[str]] = field(default_factory=dict)  # model → options that say nothing
    sources: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)  # of models that were not expanded anew
    limit: int | None = None
    launcher: str = "local"
    inputs: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def meant(self, task: str) -> str:
        """A hash of all that a task comes to."""
        if task not in self.digests:
            self.digests[task] = digest(self.tasks[task])
        return self.digests[task]

    def add(self, spec: Spec) -> None:
        """Take an environment; the last guard against two sets of packages in one directory."""
        there = self.environments.setdefault(spec["env"], spec)
        if any(spec.get(key) != there.get(key) for key in {*spec, *there} - _places(spec)):
            raise UsageError(
                f"{there['source']} and {spec['source']} ask for two sets of packages, and both "
                f"would be venvs/{spec['env']}",
                "rename one of the engines' files",
            )


def _places(spec: Spec) -> set[str]:
    """Keys of an environment's spec that only say who asks for it and where it lies: the name of
    one that comes from a wheel of this machine says what the wheel holds."""
    return {"source", "requirements", "checkout"} if spec.get("checkout") else {"source"}


def expand(
    house: House, around: Surroundings, limit: int | None, extra: tuple[str, ...] = ()
) -> Plan:
    """The plan of a configuration.

    limit: requests a task, None for all. extra: tasks planned for every model besides its own.
    """
    plan = Plan(limit=limit, launcher=house.settings.launcher)
    for name in sorted({t for m in house.models for t in m.tasks} | set(extra)):
        add_task(plan, name, house, around)
    for model in house.models:
        add_model(plan, model, house, around, extra)
    return finished(plan, house.inputs, around.root)


def add_task(plan: Plan, name: str, house: House, around: Surroundings) -> None:
    if name not in plan.tasks:
        plan.tasks[name], env = task_spec(name, house, around, plan)
        plan.add(env)


def add_model(
    plan: Plan, model: Model, house: House, around: Surroundings, extra: tuple[str, ...] = ()
) -> None:
    """Its server, its results and their environments; its tasks are there already."""
    asked = environment_of(model, around)
    serving, fallback = asked, None
    if around.fallback and asked["env"] in around.failures:
        instead = main_environment(model, around)
        if instead["env"] != asked["env"] and instead["env"] not in around.failures:
            failure = around.failures[asked["env"]]
            fallback = {
                "environment": asked["env"],
                "version": asked["version"],
                "error": str(failure.get("what", "")),
            }
            serving = instead
    for spec in (asked, serving):
        plan.add(spec)
    plan.neutral[model.name] = {*model.engine.neutral, *schema.neutral()}
    plan.servers[model.name] = server_spec(model, serving, fallback, house)
    tasks = [*model.tasks, *(t for t in extra if t not in model.tasks)]
    for task in tasks:
        plan.results[model.name, task] = result_spec(model, task, plan, around, plan.limit)
    plan.models[model.name] = {
        "source": model.file,
        "tasks": tasks,
        "asked": asked["env"],
        "environment": serving["env"],
        "fallback": fallback,
        "harnesses": sorted({plan.tasks[t]["environment"] for t in tasks}),
    }


def finished(plan: Plan, inputs: Iterable[Path], root: Path) -> Plan:
    """The plan with its inputs: relative, so that a copy of the checkout looks at its own files."""
    inside = f"{root}/"
    plan.inputs += [str(p).removeprefix(inside) for p in inputs]
    plan.inputs += shared_locks(plan, root)
    return plan


def expand_kept(
    base: config.Base, around: Surroundings, limit: int | None, directory: Path
) -> tuple[Plan, Callable[[], None]]:
    """The plan of all configs, of which those that have not changed since the last plan in this
    directory are taken from there; and what keeps this one, to be called once it is saved.

    Raises ConfigError with all mistakes of all files.
    """
    files = base.files()
    if base.reader.mistakes:
        base.house([model for path in files for model in base.models(path)])
    house = base.house([])
    knobs = [str(around.root), limit, around.fallback, around.failures, base.reader.knobs]
    code = Path(__file__).parent.glob("*.py")
    same = kept.base([*base.inputs, *code, around.root / "uv.lock"], knobs)
    memory = kept.Kept(directory / "kept.json", same)
    plan, fresh = Plan(limit=limit, launcher=house.settings.launcher), {}
    for path in files:
        name = base.reader.shown(path)
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            entry = memory.get(name, text)
            if entry and _recall(plan, entry, memory, house, around):
                base.reader.inputs.append(path)
                continue
            fresh[name] = text
        models = base.models(path)
        with contextlib.suppress(OSError):
            if fresh.get(name) != path.read_bytes():
                fresh.pop(name, None)  # edited just now: what was read may be either
        for model in models:
            for task in model.tasks:
                add_task(plan, task, house, around)
            add_model(plan, model, house, around)
        if any(_asks_the_machine(model) for model in models):
            fresh.pop(name, None)
    try:
        house = base.house([])
    except ConfigError as error:  # with the options' mistakes: a person mends all in one go
        more = options.mistakes(_servers(plan), options.Known(around.root))
        raise ConfigError([*error.mistakes, *more]) from None

    def keep() -> None:
        models: dict[str, list[str]] = {name: [] for name in fresh}
        for model, facts in plan.models.items():
            if facts["source"] in models:
                models[facts["source"]].append(model)
        for name, text in fresh.items():
            _remember(plan, name, text, models[name], memory)
        memory.save({facts["source"] for facts in plan.models.values()}, plan.environments)

    return finished(plan, house.inputs, around.root), keep


def _servers(plan: Plan) -> Iterator[Spec]:
    """The servers of a plan; of models that were taken from the plan before, what it wrote."""
    yield from plan.servers.values()
    for model in sorted(plan.models.keys() - plan.servers.keys()):
        with contextlib.suppress(OSError, ValueError):
            yield json.loads(paths.server_spec(model).read_text())


def _asks_the_machine(model: Model) -> bool:
    """Does what it comes to depend on files that are no part of the configuration?"""
    return bool(model.facts.make or model.facts.name[0] in "/.~" or model.serving.engine_source)


def _recall(
    plan: Plan, entry: kept.Entry, memory: kept.Kept, house: House, around: Surroundings
) -> bool:
    """Take what a config came to into the plan; False if its tasks mean something else now."""
    for task, meant in entry["tasks"].items():
        add_task(plan, task, house, around)
        if plan.meant(task) != meant:
            return False
    for env in entry["environments"]:
        plan.add(memory.environments[env])
    plan.models.update(entry["models"])
    plan.rules.update(entry["rules"])
    return True


def _remember(plan: Plan, name: str, text: bytes, models: Sequence[str], memory: kept.Kept) -> None:
    facts = {model: plan.models[model] for model in models}
    tasks = sorted({task for each in facts.values() for task in each["tasks"]})
    specs = [str(paths.server_spec(model)) for model in models]
    specs += [
        paths.spec_named(m, t, plan.limit) for m, each in facts.items() for t in each["tasks"]
    ]
    entry = {
        "models": facts,
        "tasks": {task: plan.meant(task) for task in tasks},
        "environments": sorted({e for f in facts.values() for e in (f["asked"], f["environment"])}),
        "rules": {model: plan.rules[model] for model in models},
    }
    memory.put(name, text, specs, entry)


def shared_locks(plan: Plan, root: Path) -> list[str]:
    """The locks that are shared for the plan's environments, and where new ones would appear."""
    locks = [p for p in map(paths.shared_lock, plan.environments) if (root / p).is_file()]
    folder = paths.CONFIGS / "locks"
    place = folder if (root / folder).is_dir() else folder.parent
    return [str(path) for path in (place, *locks)]


# --- what a model's server is ---------------------------------------------------------------


def _identity(model: Model) -> Spec:
    facts = model.facts
    local = facts.name[0] in "/.~"
    path = str(TINY) if facts.make else str(paths.home(facts.name)) if local else None
    return {"name": facts.name, "revision": facts.revision, "path": path}


def server_spec(model: Model, environment: Spec, fallback: Spec | None, house: House) -> Spec:
    serving, engine = model.serving, model.engine
    wanted = resources(model, house)
    return {
        "model": model.name,
        "source": model.file,
        **_identity(model),
        "make": model.facts.make,
        "engine": model.engine_name,
        "title": engine.title or engine.package,
        "package": engine.package,
        "module": engine.module,
        "version": None if environment["env"] == paths.MAIN else environment["version"],
        "release": environment["version"],
        "environment": environment["env"],
        "fallback": fallback,
        "device": engine.device,
        "gpus": model.gpus if engine.device == "gpu" else 0,
        "cuda_devices": _devices(serving.cuda_devices),
        "host": serving.host,
        "port": serving.port,
        "command": engine.command,
        "options": model.options,
        "defaults": model.defaults,
        "variables": model.variables,
        "origin": {k: v for k, v in sorted(model.origin.items()) if k not in config.OWN},
        "keys": {k: v for k, v in model.keys.items() if k not in config.OWN and k != v},
        "gone": _gone(model),
        "chat": model.chat,
        "trust_remote_code": serving.trust_remote_code,
        "startup_timeout": serving.startup_timeout,
        "hf_cache": serving.hf_cache or house.settings.paths.get("hf_cache"),
        "token_from": model.token_from,
        **({"resources": wanted} if wanted else {}),
        **({"nodes": over} if (over := _nodes(model, wanted)) else {}),
    }


def resources(model: Model, house: House) -> Spec:
    """What a launcher is told of it: config.yaml's `slurm`, and over it the model's own."""
    own = model.resources.model_dump(exclude_unset=True)
    return {**house.settings.slurm.model_dump(exclude_unset=True), **own}


def _nodes(model: Model, wanted: Mapping[str, Any]) -> Spec | None:
    """How a server is run over several nodes, where a launcher has them; None for one node."""
    each = wanted.get("gpus_per_node") if model.engine.device == "gpu" else None
    count = wanted.get("nodes") or (-(-model.gpus // each) if each else 1)
    if count < 2:
        return None
    return {"count": count, "words": model.engine.nodes, "follower": model.engine.follower}


def _gone(model: Model) -> list[Spec]:
    """Of the engine's options that are gone, those that this model's options have to do with."""
    gone = model.engine.gone_options()
    named = set(model.options)
    named |= {use for option in named & gone.keys() for use in gone[option].use}
    return [
        {"option": option, "since": each.since, "use": each.use, "why": each.why}
        for option, each in gone.items()
        if {option, *each.use} & named
    ]


def _devices(value: str | int | list[int] | None) -> list[int] | None:
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return [value]
    return [int(part) for part in (value.split(",") if isinstance(value, str) else value)]


# --- tasks and results ----------------------------------------------------------------------


def task_spec(name: str, house: House, around: Surroundings, plan: Plan) -> tuple[Spec, Spec]:
    """How a task is run, and the environment of its harness."""
    task = house.tasks[name]
    source = f"configs/tasks/{name}.yaml"
    engine = house.engines[task.harness]
    elsewhere = None
    version = task.harness_version
    if task.lm_eval_git:
        elsewhere = git_source(task.lm_eval_git)
    elif task.lm_eval_path:
        elsewhere = path_source((around.root / paths.home(task.lm_eval_path)).resolve())
    else:
        version = version or engine.default_version
        if version is None:
            raise UsageError(
                f"no release of {task.harness} is named", f"add harness_version to {source}"
            )
    packages = tuple(task.extra_packages)
    env = environment_spec(task.harness, engine, version, None, source, elsewhere, packages)
    folder = task.include_path
    files = {}
    if folder:
        for file in sorted((around.root / folder).rglob("*")):
            if "__pycache__" in file.parts:
                continue
            if not paths.watchable(file):
                raise UsageError(
                    f"{str(file)!r} has a name that can't be used",
                    f"rename it, or give {source} another include_path",
                )
            inside = file.is_relative_to(around.root)
            plan.inputs.append(str(file.relative_to(around.root) if inside else file))
            if file.is_file():
                files[str(file.relative_to(around.root / folder))] = sha256(file)
        plan.inputs.append(folder)
    names = [task.task_name] if isinstance(task.task_name, str) else task.task_name
    meaning = {
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
    how = {
        "name": name,
        "source": source,
        "environment": env["env"],
        "include_path": folder,
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
        "meaning": meaning,
    }
    return how, env


def result_spec(
    model: Model, task: str, plan: Plan, around: Surroundings, limit: int | None
) -> Spec:
    """Everything that can change an answer, and nothing else: its bytes are what Make compares."""
    server = plan.servers[model.name]
    written = {**model.defaults, **model.options}.items()
    options = {k: v for k, v in written if k not in plan.neutral[model.name]}
    local = content_of(Path(server["path"])) if server["path"] and not server["make"] else None
    if server["make"]:
        local = sha256(paths.ROOT / "lib/benchy/tiny.py")
    return {
        "model": {**_identity(model), "content": local},
        "engine": {k: server[k] for k in ("engine", "package", "version", "environment")}
        | {"device": server["device"], "command": server["command"]},
        "fallback": server["fallback"]
        and {k: server["fallback"][k] for k in ("environment", "version")},
        "options": options,
        "variables": model.variables,
        "chat": model.chat,
        "task": plan.tasks[task]["meaning"],
        "limit": limit,
    }


def locked_main_version(root: Path) -> str | None:
    """The vllm that uv.lock holds for this Python; None if it holds none.

    uv.lock has one [[package]] for each release that some Python gets; the newest Pythons get the
    newest (pyproject.toml).
    """
    found = re.findall(
        r'^\[\[package\]\]\nname = "vllm"\nversion = "([^"]+)"',
        (root / "uv.lock").read_text(),
        re.M,
    )
    versions = sorted(map(Version, found))
    if not versions:
        return None
    return str(versions[0] if sys.version_info < (3, 11) else versions[-1])


def failures() -> dict[str, Spec]:
    """The markers of environments that could not be built, by environment."""
    out = {}
    for path in sorted(paths.FAILED.glob("*.json")):
        try:
            out[path.stem] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # being written, or removed just now
    return out


def surroundings() -> Surroundings:
    return Surroundings(
        paths.ROOT,
        lambda: locked_main_version(paths.ROOT),
        failures(),
        os.environ.get("FALLBACK", "1") != "0",
    )


def limit_knob(settings: schema.Settings | None) -> int | None:
    text = os.environ.get("LIMIT", "")
    if not text:
        return settings.evaluation.default_limit if settings else None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise UsageError(f"{text!r} is not a whole number of requests", "write LIMIT=10", "LIMIT")
    return int(text)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/plan", description="expand configs/ into build/rules.mk and spec files"
    )
    parser.add_argument("--dir", default="build", help="where rules.mk goes (default: build)")
    parser.add_argument("--config", help="plan this one model's file alone; it may lie anywhere")
    parser.add_argument("--show", choices=["text", "json"], help="print the plan, write nothing")
    args = parser.parse_args(argv)
    with uncollected():
        return plan_for(args)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: a plan is a hundred thousand small objects, all of them in use
    until it ends."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def plan_for(args: argparse.Namespace) -> int:
    """Make or show the plan that the command line asks for."""
    only = None
    if args.config is not None:
        if not args.config:
            raise UsageError("is empty", "write CONFIG=configs/quickstart.yaml", "CONFIG")
        only = Path(os.environ.get("BENCHY_CWD", "."), args.config).absolute()
    base = config.Base(paths.ROOT, {"SET": os.environ.get("SET", "")})
    directory = Path(args.dir)
    if not only and not args.show:
        plan, keep = expand_kept(base, surroundings(), limit_knob(base.settings), directory)
        planfiles.save(plan, directory)
        keep()
        return 0
    house = base.house([model for path in base.files(only) for model in base.models(path)])
    extra = tuple(os.environ.get("TASKS", "").split()) if only else ()
    for task in extra:
        if task not in house.tasks:
            nearest = names.near(task, house.tasks)
            raise UsageError(
                f"there is no task {task!r}",
                f"did you mean {nearest!r}?"
                if nearest
                else "known: " + ", ".join(sorted(house.tasks)),
                "TASKS",
            )
    plan = expand(house, surroundings(), limit_knob(house.settings), extra)
    if args.show:
        options.refuse(plan.servers.values())
        print(show(plan, args.show), end="")
    else:
        planfiles.save(plan, directory)
    return 0


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
