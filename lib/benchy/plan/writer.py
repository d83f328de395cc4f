"""Writes a plan: rules.mk always, plan.json and the spec files only if they changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from benchy.core import names, paths, temporary_files
from benchy.core.files import not_older, write
from benchy.core.hashing import canonical, of_bytes, of_text, sha256
from benchy.core.specs import PlanIndex
from benchy.plan import environment_specs
from benchy.plan.makefile import Writer
from benchy.plan.plan import Plan

CODE = "lib/benchy/*/*.py"


def made_from(plan: Plan) -> set[str]:
    """Return the inputs of rules.mk, besides CODE."""
    return {*plan.inputs, "uv.lock", str(paths.FAILED)}


def makefile(plan: Plan, directory: str) -> str:
    """Return the text of rules.mk for a plan in a directory below build/."""
    w = Writer()
    w.comment(
        "Made by bin/plan from configs/; edits are lost. What `run` does stands\n"
        "in mk/command.mk. Paste any command into a shell: it does the same there."
    )
    w.blank()
    w.variable(
        "all",
        [
            paths.target(m, t, plan.limit)
            for m, facts in sorted(plan.models.items())
            for t in sorted(facts["tasks"])
            if m != names.QUICKSTART
        ],
    )
    retried = {m["asked"] for m in plan.models.values() if m["fallback"]}
    w.variable("retry", (f"environment/{env}" for env in sorted(retried)))
    w.variable("environments", (str(paths.stamp(e)) for e in sorted(plan.environments)))
    w.blank()
    for env, spec in sorted(plan.environments.items()):
        w.comment(spec["source"])
        inputs = [str(paths.env_spec(env))]
        w.rule(str(paths.lock(env)), inputs, ("LOCK", f"bin/venv lock {env}"))
        w.rule(
            str(paths.stamp(env)),
            [str(paths.lock(env))],
            ("VENV", f"bin/venv create {env}"),
            touch=True,
        )
        w.blank()
    for model in sorted(plan.models):
        if model not in plan.rules:
            plan.rules[model] = model_rules(plan, model)
        w.out.write(plan.rules[model])
    w.blank()
    w.comment(
        "An environment that can't be built stops nothing: a model is then served by another."
    )
    for env in sorted(plan.environments):
        w.rule(f"environment/{env}", [], ("VENV", f"bin/venv create --soft {env}"))
    w.phony(f"environment/{e}" for e in sorted(plan.environments))
    w.blank()
    w.comment("What this file is made from; one that vanished is a reason to make it again.")
    # Characters that are special to Make (spaces, $, #, =) become a pattern, which Make expands to
    # the files, so it sees an edit whatever the file's name.
    shown = sorted(
        {re.sub(r"[^\w./+@,~-]+", "*", name, flags=re.ASCII) for name in made_from(plan)} | {CODE}
    )
    w.rule(f"{directory}/rules.mk", shown)
    for name in shown:
        w.rule(name)
    return w.text()


def model_rules(plan: Plan, model: str) -> str:
    """Return the rules of one model's results."""
    w, server = Writer(), plan.servers[model]
    without = server["fallback"]
    note = f" (fallback: {without['environment']} could not be built)" if without else ""
    option = f" --limit {plan.limit}" if plan.limit else ""
    for task in sorted(plan.models[model]["tasks"]):
        w.comment(f"{server['source']}: {task}{note}")
        locks = (server["environment"], plan.tasks[task]["environment"])
        w.rule(
            paths.target(model, task, plan.limit),
            [paths.spec_named(model, task, plan.limit), *(str(paths.lock(e)) for e in locks)],
            ("EVAL", f"bin/eval{option} {model} {task}"),
        )
    return w.text()


def outdate_others(directory: Path) -> None:
    """Make the plans in other directories out of date, because all plans share their specs.

    If SET, for example, changes a spec for `make eval`, the plan of `make results` must be made
    again. Otherwise it would use what was meant for that one run.
    """
    for pattern in ("rules.mk", "limit-*/rules.mk", "eval/*/rules.mk", "eval/*/limit-*/rules.mk"):
        for rules in paths.BUILD.glob(pattern):
            if rules.parent != directory:
                with contextlib.suppress(OSError):
                    os.utime(rules, (10, 10))  # older than any file; 0 is special to Make


def result_texts(plan: Plan) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield canonical() of each result's spec.

    Results of a model differ only in the task, and a task is the same for all models, so each is
    encoded once.
    """
    tasks = {name: canonical(spec["meaning"]).rstrip().replace("\n", "\n ")
             for name, spec in plan.tasks.items()}  # fmt: skip
    frames: dict[str, list[str]] = {}
    hole = '\n "task": '
    for (model, task), spec in plan.results.items():
        if model not in frames:
            frames[model] = canonical({**spec, "task": None}).split(f"{hole}null", 1)
        yield (model, task), f"{hole}{tasks[task]}".join(frames[model])


def settle(
    spec: Path,
    text: str,
    result: Path,
    neutral: Collection[str] = (),
    folder: Path | None = None,
) -> None:
    """Give a newly written spec the age of a result that was made from the same meaning.

    Make compares specs by age, and build/ may be deleted. The result's spec_sha256 says what it was
    made from, so cleaning a folder re-runs nothing.

    Args:
        neutral: options that cannot change an answer, even if they could when the result was made.
        folder: the task's include_path. An older benchy counted all files in it as the task's; a
            result that it made from the current files is up to date.
    """
    try:
        made_from = json.loads(result.read_text())["spec_sha256"]
        same = made_from == of_text(text)
        if not same:
            stored = result.with_name("spec.json").read_bytes()
            was = json.loads(stored)
            was["options"] = {k: v for k, v in was["options"].items() if k not in neutral}
            if folder and was["task"]["files"] == _bytes_of(folder):
                now = json.loads(text)["task"]
                was["task"] |= {k: now[k] for k in ("files", "files_elsewhere") if k in now}
            same = made_from == of_bytes(stored) and canonical(was) == text
        age = result.stat().st_mtime_ns
        if same:
            os.utime(spec, ns=(age - 1_000_000, age - 1_000_000))
        elif spec.stat().st_mtime_ns <= age:  # the clock was ahead when the result was made
            os.utime(spec, ns=(age + 1_000_000, age + 1_000_000))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no result, or a damaged one: the spec stays new


def _bytes_of(folder: Path) -> dict[str, str]:
    """Return name → sha256 of each file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in files
        if "__pycache__" not in path.parts
    }


def shared_specs(plan: Plan) -> Iterator[tuple[Path, str]]:
    """Yield the specs of a plan except those of its results."""
    for env, request in plan.environments.items():
        yield paths.env_spec(env), canonical(environment_specs.stored(request, paths.ROOT))
    for model, server in plan.servers.items():
        yield paths.server_spec(model), canonical(server)
    for name, task in plan.tasks.items():
        yield (
            paths.task_spec(name),
            canonical({k: v for k, v in task.items() if k != "meaning"}),
        )


def adds(plan: Plan) -> bool:
    """Return whether a plan changes no existing spec."""
    results = (
        (paths.result_spec(model, task, plan.limit), text)
        for (model, task), text in result_texts(plan)
    )
    return all(
        path.read_text(errors="surrogateescape") == text
        for path, text in (*shared_specs(plan), *results)
        if path.exists()
    )


def index(plan: Plan) -> PlanIndex:
    """Return the content of plan.json."""
    return {
        "limit": plan.limit,
        "launcher": plan.launcher,
        "build": plan.build,
        "models": plan.models,
        "environments": {
            env: {
                "kind": spec["kind"],
                "name": spec["name"],
                "version": spec["version"],
                "source": spec["source"],
            }
            for env, spec in plan.environments.items()
        },
    }


def save(plan: Plan, directory: Path) -> None:
    """Write the specs, plan.json and, last, rules.mk."""
    replaced = False

    def put(path: Path, text: str) -> bool:
        nonlocal replaced
        existed = path.exists()
        done = write(path, text)
        replaced |= done and existed
        return done

    for path, text in shared_specs(plan):
        put(path, text)
    for (model, task), text in result_texts(plan):
        path = paths.result_spec(model, task, plan.limit)
        if put(path, text):
            folder = plan.tasks[task]["include_path"]
            settle(
                path,
                text,
                paths.result(model, task, plan.limit),
                plan.neutral[model],
                paths.ROOT / folder if folder else None,
            )
    if replaced and not paths.apart():
        outdate_others(directory)
    paths.FAILED.mkdir(parents=True, exist_ok=True)
    write(
        directory / "plan.json", json.dumps(index(plan), sort_keys=True, ensure_ascii=False) + "\n"
    )
    rules = directory / "rules.mk"
    # Always write it: its age is the time at which the configuration was last read.
    temporary_files.write(rules, makefile(plan, str(directory)))
    # Otherwise Make would rebuild it every time.
    not_older(rules, [*map(Path, made_from(plan)), *paths.ROOT.glob(CODE)])
    if "BENCHY_KNOBS" in os.environ:  # mk/graph.mk compares them: other knobs, another plan
        write(directory / "knobs", os.environ["BENCHY_KNOBS"] + "\n")
