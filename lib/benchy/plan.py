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
from pathlib import Path

from packaging.version import Version

from benchy import (
    board,
    config,
    content,
    kept,
    names,
    optionfiles,
    options,
    paths,
    planfiles,
    schema,
    specs,
    switches,
)
from benchy.content import canonical
from benchy.envspec import (
    Surroundings,
    environment_of,
    main_environment,
)
from benchy.errors import NO_SUCH_RELEASE, ConfigError, Failure, UsageError, say
from benchy.graph import select
from benchy.house import House, Model
from benchy.knobs import config_file
from benchy.planned import Plan, Spec
from benchy.yamlfile import Document


def expand(
    house: House, around: Surroundings, limit: int | None, extra: tuple[str, ...] = ()
) -> Plan:
    """The plan of a configuration.

    limit: requests a task, None for all. extra: tasks planned for every model besides its own.
    """
    plan = empty(house, limit)
    for name in sorted({t for m in house.models for t in m.tasks} | set(extra)):
        add_task(plan, name, house, around)
    for model in house.models:
        add_model(plan, model, house, around, extra)
    return finished(plan, house.inputs, around.root)


def empty(house: House, limit: int | None) -> Plan:
    """A plan of nothing yet."""
    build = house.settings.slurm.build.model_dump(exclude_unset=True)
    return Plan(limit=limit, launcher=house.settings.launcher, build=build)


def add_task(plan: Plan, name: str, house: House, around: Surroundings) -> None:
    if name not in plan.tasks:
        plan.tasks[name], env = specs.task(name, house, around, plan)
        plan.add(env)


def add_model(
    plan: Plan, model: Model, house: House, around: Surroundings, extra: tuple[str, ...] = ()
) -> None:
    """Its server, its results and their environments; its tasks are there already."""
    asked = environment_of(model, around)
    serving, fallback = asked, None
    if around.fallback and failed_to_build(asked, around):
        instead = main_environment(model, around)
        if instead["env"] != asked["env"] and instead["env"] not in around.failures:
            failure = around.failures[asked["env"]]
            fallback = {
                "environment": asked["env"],
                "version": asked["version"],
                "error": str(failure.get("what", "")),
            }
            serving = instead
    plan.sources[model.name] = {spec["env"]: spec["source"] for spec in (asked, serving)}
    for spec in (asked, serving):
        plan.add(spec)
    plan.neutral[model.name] = neutral = {*model.engine.neutral, *schema.neutral()}
    plan.servers[model.name] = specs.server(model, serving, fallback, house, neutral)
    plan.inputs += map(specs.shown, optionfiles.inputs(specs.named_files(model, neutral)))
    tasks = [*model.tasks, *(t for t in extra if t not in model.tasks)]
    for task in tasks:
        plan.results[model.name, task] = specs.result(
            plan.servers[model.name], plan.tasks[task], plan.limit
        )
    plan.models[model.name] = {
        "source": model.file,
        "tasks": tasks,
        "asked": asked["env"],
        "environment": serving["env"],
        "fallback": fallback,
        "harnesses": sorted({plan.tasks[t]["environment"] for t in tasks}),
    }


def failed_to_build(asked: Spec, around: Surroundings) -> bool:
    """Whether another environment may serve instead. Not where the configuration asks for something
    that does not exist: a score of another release would hide the mistake."""
    failure = around.failures.get(asked["env"])
    return failure is not None and failure.get("kind") != NO_SUCH_RELEASE


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
        checked(base, files, around)
    house = base.house([])
    knobs = [str(around.root), limit, around.fallback, around.failures, base.reader.knobs]
    code = Path(__file__).parent.glob("*.py")
    same = kept.base([*base.inputs, *code, around.root / "uv.lock"], knobs)
    memory = kept.Kept(directory / "kept.json", same)
    plan, fresh = empty(house, limit), {}
    for path in files:
        name = base.reader.shown(path)
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            entry = memory.get(name, text)
            if entry and _recall(plan, entry, {}, memory, house, around):
                base.reader.inputs.append(path)
                continue
            fresh[name] = text
        document = base.reader.read(path)
        with contextlib.suppress(OSError):
            if fresh.get(name) != path.read_bytes():
                fresh.pop(name, None)  # edited just now: what was read may be either
        if not document:
            continue
        if found := memory.alike(document):
            entry, moved = found
            digests = {document.file: document.sha256}
            if _recall(plan, entry, moved, memory, house, around, digests):
                continue
        models = base.models_of(path, document)
        for model in models:
            for task in model.tasks:
                add_task(plan, task, house, around)
            add_model(plan, model, house, around)
        if any(_asks_the_machine(model) for model in models):
            fresh.pop(name, None)
    with all_mistakes(base, around, _servers(plan)):
        house = base.house([])

    def keep() -> None:
        models: dict[str, list[str]] = {name: [] for name in fresh}
        for model, facts in plan.models.items():
            if facts["source"] in models:
                models[facts["source"]].append(model)
        for name, text in fresh.items():
            _remember(plan, text, base.reader.documents[name], models[name], memory)
        memory.save({facts["source"] for facts in plan.models.values()}, plan.environments)

    return finished(plan, house.inputs, around.root), keep


def checked(base: config.Base, files: Sequence[Path], around: Surroundings) -> House:
    """The configuration with the models of these files. Raises ConfigError, with all mistakes."""
    models = [model for path in files for model in base.models(path)]
    with all_mistakes(base, around, (_server(model, base, around) for model in models)):
        return base.house(models)


@contextlib.contextmanager
def all_mistakes(
    base: config.Base, around: Surroundings, servers: Iterable[Spec]
) -> Iterator[None]:
    """Where the files have mistakes, add those that their releases see in the options: of these
    servers, and of the models with mistakes. A person mends them in one go."""
    try:
        yield
    except ConfigError as error:
        found = list(servers)
        for model in base.flawed:
            with contextlib.suppress(ConfigError, OSError):  # its mistakes may stand in the way
                found.append(_server(model, base, around))
        told = {(one.file, one.line, one.key) for one in error.mistakes}
        more = [
            one
            for one in options.mistakes(found, options.Known(around.root))
            if (one.file, one.line, one.key) not in told
        ]
        raise ConfigError([*error.mistakes, *more]) from None


def _server(model: Model, base: config.Base, around: Surroundings) -> Spec:
    return specs.server(model, environment_of(model, around), None, base.so_far(()), ())


def _servers(plan: Plan) -> Iterator[Spec]:
    """The servers of a plan; of models that were taken from the plan before, what it wrote."""
    yield from plan.servers.values()
    for model in sorted(plan.models.keys() - plan.servers.keys()):
        with contextlib.suppress(OSError, ValueError):
            yield json.loads(paths.server_spec(model).read_text())


def _asks_the_machine(model: Model) -> bool:
    """Does what it comes to depend on files that are no part of the configuration?"""
    if model.facts.make or model.facts.name[0] in "/.~" or model.serving.engine_source:
        return True
    return optionfiles.paths_in({**model.defaults, **model.options}, model.variables)


def _recall(
    plan: Plan,
    entry: kept.Entry,
    moved: Mapping[str, str],
    memory: kept.Kept,
    house: House,
    around: Surroundings,
    digests: Mapping[str, str] | None = None,
) -> bool:
    """Take what a config came to into the plan; False if its tasks mean something else now. moved:
    "file:line" of each of its lines that is another now → as it is now. digests: of its file, where
    its text is another now."""
    for task, meant in entry["tasks"].items():
        add_task(plan, task, house, around)
        if plan.meant(task) != meant:
            return False

    def now(places: Mapping[str, str]) -> dict[str, str]:
        return {
            what: ", ".join(moved.get(place, place) for place in there.split(", "))
            for what, there in places.items()
        }

    for model, facts in entry["models"].items():
        sources = now(entry["sources"][model])
        for env in (facts["asked"], facts["environment"]):
            plan.add({**memory.environments[env], "source": sources[env]})
        plan.sources[model] = sources
        if digests:
            spec = json.loads(paths.server_spec(model).read_text())
            lines = {k: now(spec[k]) for k in ("origin", "where")}
            plan.servers[model] = {**spec, **lines, "inputs": {**spec["inputs"], **digests}}
    plan.models.update(entry["models"])
    plan.rules.update(entry["rules"])
    return True


def _remember(
    plan: Plan, text: bytes, document: Document, models: Sequence[str], memory: kept.Kept
) -> None:
    facts = {model: plan.models[model] for model in models}
    tasks = sorted({task for each in facts.values() for task in each["tasks"]})
    written = [str(paths.server_spec(model)) for model in models]
    written += [
        paths.spec_named(m, t, plan.limit) for m, each in facts.items() for t in each["tasks"]
    ]
    entry = {
        "models": facts,
        "tasks": {task: plan.meant(task) for task in tasks},
        "sources": {model: plan.sources[model] for model in models},
        "rules": {model: plan.rules[model] for model in models},
    }
    memory.put(text, document, written, entry)


def shared_locks(plan: Plan, root: Path) -> list[str]:
    """The locks that are shared for the plan's environments, and where new ones would appear."""
    locks = [p for p in map(paths.shared_lock, plan.environments) if (root / p).is_file()]
    folder = paths.CONFIGS / "locks"
    place = folder if (root / folder).is_dir() else folder.parent
    return [str(path) for path in (place, *locks)]


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
        switches.on("FALLBACK", default=True),
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
    with uncollected(), alone(args.show is None) as mine:
        return plan_for(args, mine)


@contextlib.contextmanager
def alone(writes: bool) -> Iterator[bool]:
    """One process at a time makes a plan. Whether it may change what is there: not while a run is
    under way, which goes by the specs that all plans share, unless it is a run's itself."""
    if not writes or paths.apart():
        yield True
        return
    with content.locked(paths.RUN / "planning"):
        yield bool(board.run_of()) or not any(board.runs())


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


def renew(directory: Path) -> None:
    """Write the plan of all configs into a directory, for a caller that holds no lock yet."""
    with uncollected(), alone(True) as mine:
        refresh(directory, config.Base(paths.ROOT, {"SET": os.environ.get("SET", "")}), mine)


def refresh(directory: Path, base: config.Base, mine: bool) -> None:
    """Write the plan of all configs. mine: as in alone()."""
    plan, keep = expand_kept(base, surroundings(), limit_knob(base.settings), directory)
    if saved(plan, directory, mine):
        keep()


def plan_for(args: argparse.Namespace, mine: bool = True) -> int:
    """Make or show the plan that the command line asks for. mine: as in alone()."""
    if args.show and switches.on("CHECK"):
        from benchy import check  # noqa: PLC0415 - it imports what a plan has no need of

        return check.run()
    only = None
    if args.config is not None:
        if not args.config:
            raise UsageError("is empty", "write CONFIG=configs/quickstart.yaml", "CONFIG")
        only = config_file(args.config)
    base = config.Base(paths.ROOT, {"SET": os.environ.get("SET", "")})
    directory = Path(args.dir)
    if not only and not args.show:
        refresh(directory, base, mine)
        return 0
    house = checked(base, base.files(only), surroundings())
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
        if globs := os.environ.get("MODELS", "").split():
            chosen = select({"models": plan.models}, globs, []).models
            plan.models = {model: plan.models[model] for model in chosen}
            plan.results = {key: spec for key, spec in plan.results.items() if key[0] in chosen}
        print(show(plan, args.show), end="")
    else:
        saved(plan, directory, mine)
    return 0


def saved(plan: Plan, directory: Path, mine: bool) -> bool:
    """Write the plan, and whether it was: not where a run goes by what it would change. Raises
    Failure where there is then none."""
    if mine or planfiles.adds(plan):
        planfiles.save(plan, directory)
        return True
    if not (directory / "rules.mk").exists():
        raise Failure(
            "there is no plan yet, and a run of other options is under way",
            "ask again when it is over",
        )
    say("PLAN", f"{directory} stays as it is while a run of other options is under way")
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
