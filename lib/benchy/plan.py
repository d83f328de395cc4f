"""Expands the configuration into rules and spec files: what would be built, from what.

Reads configs/, uv.lock and the markers of environments that could not be built
(venvs/.failed/*.json). Writes, below build/: rules.mk (always), plan.json (what the other commands
need to know of it) and specs/… (each only if it changed, because Make takes a newer spec as a
reason to build). Fast, offline and idempotent: `make -n` runs it too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import Version

from benchy import config, paths, schema
from benchy.config import House, Model
from benchy.errors import UsageError
from benchy.rules import Writer

Spec = dict[str, Any]
TINY = Path("build/models/tiny")  # the model that benchy makes itself
GENERATOR = "plan config schema yamlfile rules paths errors"


@dataclass
class Plan:
    """What would be built. Keys are the names that the spec files are kept under."""

    environments: dict[str, Spec] = field(default_factory=dict)
    servers: dict[str, Spec] = field(default_factory=dict)
    tasks: dict[str, Spec] = field(default_factory=dict)
    results: dict[tuple[str, str], Spec] = field(default_factory=dict)
    models: dict[str, Spec] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    inputs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What the plan takes from outside the configuration, each a question asked at most once."""

    root: Path
    main_version: Callable[[], str | None]
    failures: dict[str, Spec]  # environment → its marker
    fallback: bool = True


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
        plan.environments.setdefault(env["env"], env)
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
            plan.environments.setdefault(spec["env"], spec)
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
    return plan


# --- environments ---------------------------------------------------------------------------


def slug(text: str) -> str:
    """A version as part of a directory's name: 0.8.5.post1 → 0_8_5_post1."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def environment_spec(
    engine_name: str,
    engine: schema.Engine,
    version: str,
    serving: schema.Provider | None,
    source: str,
    requirement: str | None = None,
    extra: tuple[str, ...] = (),
    tag: str = "",
) -> Spec:
    """The spec of an environment that holds one release; what varies it makes its name longer."""
    repairs = [r for r in engine.repairs if config.repair_holds(r, version)]
    transformers = serving.transformers_version if serving else None
    packages = [*(serving.extra_packages if serving else []), *extra]
    drop = sorted({*engine.drop, *(d for r in repairs for d in r.drop)})
    overrides = sorted(
        {*(o for r in repairs for o in r.overrides)}
        | {f"{name} ; python_version < '3'" for name in drop}
    )
    if transformers:
        # An override, because many releases pin transformers below what their models need.
        overrides.append(f"transformers=={transformers}")
    python = [p for p in (engine.python, *(r.python for r in repairs)) if p]
    if serving and serving.python:
        asked = serving.python
        python.append(
            f"=={asked}.*"
            if re.fullmatch(r"3\.\d+", asked)
            else f"=={asked}"
            if re.fullmatch(r"[\d.]+", asked)
            else asked
        )
    cutoff = (serving.cutoff if serving else None) or engine.cutoff
    torch_backend = (serving.torch_backend if serving else None) or engine.torch_backend
    name = f"{engine_name}_{tag or slug(version)}"
    if transformers:
        name += f"_transformers_{slug(transformers)}"
    unusual = [
        packages,
        serving.python if serving else None,
        serving.torch_backend if serving else None,
        serving.cutoff if serving else None,
    ]
    if any(unusual):
        name += "_x" + digest(unusual)[:8]
    # Every requirement that isn't the release itself comes after it: errors name the first.
    requirements = [requirement or f"{engine.package}=={version}", *engine.requirements, *packages]
    if transformers:
        requirements.append("transformers")
    return {
        "env": name,
        "kind": engine.kind,
        "name": engine_name,
        "package": engine.package.partition("[")[0],
        "version": version,
        "requirements": requirements,
        "overrides": overrides,
        "constraints": sorted({c for r in repairs for c in r.constraints}),
        "python": ",".join(python) or None,
        "cutoff": cutoff,
        "slack_days": engine.slack_days,
        "torch_backend": torch_backend,
        "variables": {k: v for r in repairs for k, v in r.variables.items()},
        "module": engine.module,
        "repairs": [{"why": r.why, "link": r.link, "versions": r.versions} for r in repairs],
        "source": source,
    }


def environment_of(model: Model, around: Surroundings) -> Spec:
    """The environment that a model asks for."""
    serving = model.serving
    varied = bool(
        serving.transformers_version
        or serving.extra_packages
        or serving.python
        or serving.torch_backend
        or serving.cutoff
    )
    if serving.vllm_version is None and not varied:
        return main_environment(model, around)
    version = serving.vllm_version or model.engine.default_version or around.main_version()
    if version is None:
        raise UsageError(
            "uv.lock holds no vllm for this Python", "name a vllm_version in the config"
        )
    source = model.origin.get("vllm_version", model.file)
    return environment_spec(model.engine_name, model.engine, version, serving, source)


def main_environment(model: Model, around: Surroundings) -> Spec:
    """What serves a model that names no release: .venv for the engine that uv.lock holds, the
    default release's environment for any other."""
    engine = model.engine
    if not engine.main:
        assert engine.default_version is not None  # config.check_references
        source = f"configs/engines/{model.engine_name}.yaml"
        return environment_spec(model.engine_name, engine, engine.default_version, None, source)
    return {
        "env": paths.MAIN,
        "kind": "main",
        "name": model.engine_name,
        "package": engine.package,
        "version": around.main_version(),
        "requirements": [],
        "overrides": [],
        "constraints": [],
        "python": None,
        "cutoff": "none",
        "slack_days": 0,
        "torch_backend": None,
        "variables": {},
        "module": engine.module,
        "repairs": [],
        "source": "uv.lock",
        "uv_lock": sha256(around.root / "uv.lock"),
    }


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
        "package": engine.package,
        "module": engine.module,
        "version": None if environment["env"] == paths.MAIN else environment["version"],
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
        "chat": model.chat,
        "trust_remote_code": serving.trust_remote_code,
        "startup_timeout": serving.startup_timeout,
        "hf_cache": serving.hf_cache or house.settings.paths.get("hf_cache"),
        "token_from": model.token_from,
    }


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
    version = task.harness_version or engine.default_version
    requirement, tag = None, ""
    fork: Spec | None = None
    if task.lm_eval_git:
        requirement = f"{engine.package} @ git+{task.lm_eval_git}"
        tag = "git_" + digest(task.lm_eval_git)[:8]
    elif task.lm_eval_path:
        path = (around.root / Path(task.lm_eval_path).expanduser()).resolve()
        fork = {"path": str(path), "content": content_of(path)}
        requirement, tag = f"{engine.package} @ {path.as_uri()}", "path_" + digest(str(path))[:8]
    if version is None and not tag:
        raise UsageError(
            f"no release of {task.harness} is named", f"add harness_version to {source}"
        )
    env = environment_spec(
        task.harness,
        engine,
        version or "0",
        None,
        source,
        requirement,
        tuple(task.extra_packages),
        tag,
    )
    if tag:
        env["version"] = None
    if fork:
        env["checkout"] = fork
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
        "description": task.description,
        "meaning": meaning,
    }
    return how, env


def result_spec(
    model: Model, task: str, plan: Plan, around: Surroundings, limit: int | None
) -> Spec:
    """Everything that can change an answer, and nothing else: its bytes are what Make compares."""
    server = plan.servers[model.name]
    neutral = {"host", "port", *model.engine.neutral, *_neutral_fields()}
    options = {k: v for k, v in {**model.defaults, **model.options}.items() if k not in neutral}
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


@cache
def _neutral_fields() -> frozenset[str]:
    """Keys of the provider of which the schema says that they never change an answer."""
    return frozenset(
        name
        for name, info in schema.Provider.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra["affects"] == "no"
    )


# --- digests ---------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """JSON that is the same for the same meaning."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def content_of(path: Path) -> str:
    """What a directory holds, cheaply: git's word where it is a checkout; else each file's name
    and size, and the content of small ones (weights are too large to read at each plan)."""
    if (path / ".git").exists():
        git = ["git", "-C", str(path)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        changed = subprocess.run([*git, "diff", "HEAD"], capture_output=True).stdout
        return head.strip() + ("+" + hashlib.sha256(changed).hexdigest()[:12] if changed else "")
    parts = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and not {".git", "__pycache__"} & set(file.parts):
            size = file.stat().st_size
            parts.append(
                [str(file.relative_to(path)), size, sha256(file) if size < 1 << 20 else ""]
            )
    return digest(parts)


# --- writing ---------------------------------------------------------------------------------


def makefile(plan: Plan, directory: str) -> str:
    """The text of rules.mk for a plan that lies in a directory of build/."""
    w = Writer()
    w.comment(
        "Made by bin/plan from configs/; edits are lost. What `run` does stands\n"
        "in mk/command.mk. Paste any command into a shell: it does the same there."
    )
    w.blank()
    w.variable(
        "all",
        [
            str(paths.result(m, t, plan.limit))
            for m, t in sorted(plan.results)
            if m != config.QUICKSTART
        ],
    )
    again = {m["asked"] for m in plan.models.values() if m["fallback"]}
    w.variable("retry", (f"environment/{env}" for env in sorted(again)))
    w.variable("environments", (str(paths.stamp(e)) for e in sorted(plan.environments)))
    w.blank()
    for env, spec in sorted(plan.environments.items()):
        w.comment(spec["source"])
        asked = [str(paths.env_spec(env))]
        w.rule(str(paths.lock(env)), asked, ("LOCK", f"bin/venv lock {env}"))
        w.rule(
            str(paths.stamp(env)),
            [str(paths.lock(env))],
            ("VENV", f"bin/venv create {env}"),
            touch=True,
        )
        w.blank()
    for (model, task), _ in sorted(plan.results.items()):
        server = plan.servers[model]
        w.comment(
            f"{server['source']}: {task}"
            + (
                f" (fallback: {server['fallback']['environment']} could not be built)"
                if server["fallback"]
                else ""
            )
        )
        locks = [server["environment"], plan.tasks[task]["environment"]]
        option = f" --limit {plan.limit}" if plan.limit else ""
        w.rule(
            str(paths.result(model, task, plan.limit)),
            [str(paths.result_spec(model, task, plan.limit)), *(str(paths.lock(e)) for e in locks)],
            ("EVAL", f"bin/eval{option} {model} {task}"),
        )
    w.blank()
    w.comment(
        "The models: each is one server for all its stale tasks. An environment that can't be\n"
        "built stops no model here; the model's own step decides what to do without it."
    )
    scope = f" --plan {directory}"
    for name, facts in sorted(plan.models.items()):
        needs = sorted({facts["asked"], facts["environment"], *facts["harnesses"]})
        w.rule(
            f"model/{name}",
            [f"environment/{e}" for e in needs],
            ("MODEL", f"bin/run model{scope} {name}"),
        )
    for env in sorted(plan.environments):
        w.rule(f"environment/{env}", [], ("VENV", f"bin/venv create --soft {env}"))
    w.phony(
        [f"model/{m}" for m in sorted(plan.models)]
        + [f"environment/{e}" for e in sorted(plan.environments)]
    )
    w.blank()
    w.comment("What this file is made from; one that vanished is a reason to make it again.")
    inputs = sorted(
        {
            *plan.inputs,
            "uv.lock",
            str(paths.FAILED),
            *(f"lib/benchy/{m}.py" for m in GENERATOR.split()),
        }
    )
    usable = [i for i in inputs if re.fullmatch(r"[\w./+@,~-]+", i)]
    w.rule(f"{directory}/rules.mk", usable)
    for name in usable:
        w.rule(name)
    return w.text()


def write(path: Path, text: str) -> bool:
    """Write a file if its content changes, through a rename; whether it did."""
    try:
        if path.read_text() == text:
            return False
    except (OSError, UnicodeDecodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.rename(path)
    return True


def settle(spec: Path, text: str, result: Path) -> None:
    """Give a spec that was written anew the age of a result that was made from the same bytes.

    Specs are compared by age, and build/ may be thrown away: the result says in spec_sha256 what
    it was made from, so that nothing is run again because a folder was cleaned.
    """
    try:
        made_from = json.loads(result.read_text())["spec_sha256"]
        if made_from == hashlib.sha256(text.encode()).hexdigest():
            before = result.stat().st_mtime_ns - 1_000_000
            os.utime(spec, ns=(before, before))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no result, or a damaged one: the spec is new


def save(plan: Plan, directory: Path) -> None:
    """Write specs, plan.json and, last, rules.mk."""
    for env, spec in plan.environments.items():
        # Without its source: another line number is no reason to resolve again.
        write(paths.env_spec(env), canonical({k: v for k, v in spec.items() if k != "source"}))
    for model, spec in plan.servers.items():
        write(paths.server_spec(model), canonical(spec))
    for task, spec in plan.tasks.items():
        write(paths.task_spec(task), canonical({k: v for k, v in spec.items() if k != "meaning"}))
    for (model, task), spec in plan.results.items():
        path = paths.result_spec(model, task, plan.limit)
        text = canonical(spec)
        if write(path, text):
            settle(path, text, paths.result(model, task, plan.limit))
    paths.FAILED.mkdir(parents=True, exist_ok=True)
    index = {
        "limit": plan.limit,
        "models": plan.models,
        "environments": {
            e: {k: s[k] for k in ("kind", "name", "version", "source")}
            for e, s in plan.environments.items()
        },
    }
    write(directory / "plan.json", canonical(index))
    rules = directory / "rules.mk"
    aside = directory / f".rules.mk.{os.getpid()}"
    aside.write_text(makefile(plan, str(directory)))
    aside.rename(rules)  # always: its age tells when the configuration was last read
    if "BENCHY_KNOBS" in os.environ:  # mk/graph.mk compares: other knobs, another plan
        write(directory / "knobs", os.environ["BENCHY_KNOBS"] + "\n")


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
            nearest = config.near(task, house.tasks)
            raise UsageError(
                f"there is no task {task!r}",
                f"did you mean {nearest!r}?"
                if nearest
                else "known: " + ", ".join(sorted(house.tasks)),
                "TASKS",
            )
    plan = expand(house, surroundings(), limit_knob(house.settings), extra)
    if args.show:
        print(show(plan, args.show), end="")
    else:
        save(plan, Path(args.dir))
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
        version = plan.environments[model["environment"]]["version"]
        note = f"  fallback for {model['asked']}" if model["fallback"] else ""
        lines.append(f"  served by {model['environment']} (release {version}){note}")
        lines += [f"  {paths.result(name, t, plan.limit)}" for t in model["tasks"]]
    return "\n".join(lines) + "\n"
