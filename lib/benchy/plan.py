"""Expands the configuration into rules and spec files: what would be built, from what.

Reads configs/, uv.lock and the markers of environments that could not be built
(venvs/.failed/*.json). Writes, below build/: rules.mk (always), plan.json (what the other commands
need to know of it) and specs/… (each only if it changed, because Make takes a newer spec as a
reason to build). Fast, offline and idempotent: `make -n` runs it too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import Version

from benchy import config, options, paths, planfiles, schema, wording
from benchy.config import House, Model
from benchy.content import canonical, content_of, sha256
from benchy.envspec import (
    Surroundings,
    environment_of,
    environment_spec,
    git_source,
    main_environment,
    path_source,
)
from benchy.errors import UsageError

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
    limit: int | None = None
    inputs: list[str] = field(default_factory=list)

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
    # Relative, so that a copy of the checkout looks at its own files.
    root = around.root
    inputs = [p.relative_to(root) if p.is_relative_to(root) else p for p in house.inputs]
    plan = Plan(limit=limit, inputs=[str(p) for p in inputs])
    for name in sorted({t for m in house.models for t in m.tasks} | set(extra)):
        plan.tasks[name], env = task_spec(name, house, around, plan)
        plan.add(env)
    for model in house.models:
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
            plan.results[model.name, task] = result_spec(model, task, plan, around, limit)
        plan.models[model.name] = {
            "source": model.file,
            "tasks": tasks,
            "asked": asked["env"],
            "environment": serving["env"],
            "fallback": fallback,
            "harnesses": sorted({plan.tasks[t]["environment"] for t in tasks}),
        }
    plan.inputs += shared_locks(plan, root)
    return plan


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
    path = str(TINY) if facts.make else str(Path(facts.name).expanduser()) if local else None
    return {"name": facts.name, "revision": facts.revision, "path": path}


def server_spec(model: Model, environment: Spec, fallback: Spec | None, house: House) -> Spec:
    serving, engine = model.serving, model.engine
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
    }


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
        elsewhere = path_source((around.root / Path(task.lm_eval_path).expanduser()).resolve())
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
    if not re.fullmatch(r"[1-9]\d*", text):
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
    only = None
    if args.config is not None:
        if not args.config:
            raise UsageError("is empty", "write CONFIG=configs/quickstart.yaml", "CONFIG")
        only = Path(os.environ.get("BENCHY_CWD", "."), args.config).absolute()
    house = config.load(paths.ROOT, only, {"SET": os.environ.get("SET", "")})
    extra = tuple(os.environ.get("TASKS", "").split()) if only else ()
    for task in extra:
        if task not in house.tasks:
            nearest = wording.near(task, house.tasks)
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
        planfiles.save(plan, Path(args.dir))
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
