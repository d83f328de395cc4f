"""Checks of a task on a model, from the facts of the harness's own files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.core import names, paths
from benchy.core.errors import Mistake
from benchy.core.specs import ServerSpec, TaskSpec
from benchy.core.text import listed
from benchy.evaluation.environment_questions import Facts
from benchy.evaluation.harness_questions import tokenizer_backend
from benchy.evaluation.result_specs import Specs
from benchy.plan import origins
from benchy.scripts import harness_arguments

GENERATES = "generate_until"
# What a task needs besides text → (what is wrong, hint).
NEEDS = {
    "code": ("runs code that the model wrote", "remove it; benchy has no sandbox for it"),
    "images": (
        "has images in its prompts, which the completions endpoint does not accept",
        "remove it, or try use_chat_completions: true in the model",
    ),
    "audio": ("has audio in its prompts, which the harness can't send", "remove it"),
}


def mistakes(specs: Specs, facts: Facts) -> list[Mistake]:
    """Return what is wrong with a task according to its facts from harness_facts.py."""
    subtasks: dict[str, Facts] = facts.get("tasks") or {}
    # A subtask that is a Python class has no facts, and an older harness gives only its output.
    described = {name: subtask for name, subtask in subtasks.items() if "repeats" in subtask}
    return [
        *_loading(specs, facts),
        *_chat(specs, subtasks),
        *_content(specs, described),
        *_shots(specs, described, len(subtasks)),
        *_generation(specs, described),
        *(_metric(specs, described, facts) if len(described) == len(subtasks) else ()),
        *_backend(specs, subtasks),
    ]


def _loading(specs: Specs, facts: Facts) -> Iterator[Mistake]:
    """Yield the tasks that the harness does not know or can't load."""
    environment = specs.result["task"]["harness_environment"]
    for name, similar in (facts.get("unknown") or {}).items():
        hint = f"did you mean {similar[0]!r}?" if similar else "check its name, or include_path"
        what = f"there is no task {name!r} in {environment}"
        yield mistake(specs.task, "task_name", what, hint)
    for name, error in (facts.get("errors") or {}).items():
        hint = "fix its files, or add the packages that it needs to extra_packages"
        what = f"the harness can't load {name!r}: {error}"
        yield mistake(specs.task, "task_name", what, hint)


def _chat(specs: Specs, subtasks: Mapping[str, Facts]) -> Iterator[Mistake]:
    kinds = {name: subtask.get("output_type", GENERATES) for name, subtask in subtasks.items()}
    scored = sorted(name for name, kind in kinds.items() if kind != GENERATES)
    if specs.server["chat"] and scored:
        yield chat_mistake(specs.server, specs.task["name"], scored)


def _content(specs: Specs, subtasks: Mapping[str, Facts]) -> Iterator[Mistake]:
    """Yield what benchy or the endpoint does not support, and missing data files."""
    task = specs.task
    for name, subtask in subtasks.items():
        for file in (f for f in subtask["data_files"] if not Path(f).exists()):
            what = f"{name}: its data file {file} is missing"
            yield mistake(task, "task_name", what, "fix data_files")
        for need in subtask["needs"]:
            # The chat endpoint takes images. The harness sends audio to neither endpoint.
            if need != "images" or not specs.server["chat"]:
                what, hint = NEEDS[need]
                yield mistake(task, "task_name", f"{name} {what}", hint)
        if subtask["repeats"] != 1:
            what = f"{name}: repeats: {subtask['repeats']} would give the same answer each time"
            yield mistake(task, "task_name", what, "remove it; repeats are not supported yet")


def _shots(specs: Specs, subtasks: Mapping[str, Facts], count: int) -> Iterator[Mistake]:
    """Yield the mistake if none of the `count` subtasks uses the requested num_fewshot."""
    fixed = [name for name, subtask in subtasks.items() if subtask["num_fewshot"] == 0]
    if specs.result["task"]["num_fewshot"] and fixed and len(fixed) == count:
        what = (
            f"{listed(fixed)} has num_fewshot: 0 in the harness's own file, and ignores "
            "other values"
        )
        hint = "write 0 here, or remove num_fewshot from that file"
        yield mistake(specs.task, "num_fewshot", what, hint)


def _generation(specs: Specs, subtasks: Mapping[str, Facts]) -> list[Mistake]:
    """Return the mistakes in generation arguments.

    These are arguments that would not reach the server, and answers so long that no prompt fits.
    """
    ours, server = specs.result["task"]["gen_kwargs"], specs.server
    hints: dict[str, str] = {}
    for name, subtask in subtasks.items():
        if subtask["output_type"] != GENERATES:
            continue
        given = {**(subtask["generation_kwargs"] or {}), **ours}
        try:
            kwargs = harness_arguments.normalized(name, given, ours)
        except harness_arguments.TaskRefused as refused:
            hints[f"{name}: {refused.what}"] = refused.hint
            continue
        for key, hint in _unknown_arguments(server["engine"], kwargs, ours):
            hints[f"{name}: requests have no generation argument {key!r}"] = hint
        context, length = server["options"].get("max_model_len"), kwargs.get("max_gen_toks", 256)
        if isinstance(context, int) and length >= context:
            what = f"answers of up to {length} tokens leave no room in max_model_len {context}"
            hint = "write a lower max_gen_toks in gen_kwargs, or a higher max_model_len"
            hints[f"{name}: {what}"] = hint
    return [mistake(specs.task, "gen_kwargs", what, hint) for what, hint in hints.items()]


def _unknown_arguments(
    engine: str, kwargs: Mapping[str, Any], ours: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield (name, hint) of each generation argument that no release of the engine knows.

    Args:
        engine: Name of the engine.
        kwargs: All generation arguments.
        ours: Those of benchy's task file.
    """
    unknown = sorted(set(kwargs) - harness_arguments.OWN)
    fields = request_options(engine) if unknown else []
    for name in unknown if fields else ():
        if name in fields:
            continue
        near = names.near(name, [*fields, *harness_arguments.OWN])
        hint = f"write gen_kwargs: {{{name}: null}} to leave it out"
        if name in ours:
            hint = f"did you mean {near!r}?" if near else "remove it"
        yield name, hint


def request_options(engine: str) -> list[str]:
    """Return the fields that a request may have in some release of an engine.

    Returns [] if they are not known.
    """
    from benchy.config import loader  # noqa: PLC0415 - imports the schema, which is rarely needed

    definition = loader.load_engines(paths.ROOT).get(engine)
    return definition.request_options if definition else []


def _metric(specs: Specs, subtasks: Mapping[str, Facts], facts: Facts) -> Iterator[Mistake]:
    requested = specs.task["metric"]
    if not requested or not subtasks:
        return
    pairs = [tuple(pair) for subtask in subtasks.values() for pair in subtask["metrics"]]
    metrics = {*(metric for metric, _ in pairs), *(f"{m},{f}" for m, f in pairs)}
    metrics |= {metric for group in (facts.get("groups") or {}).values() for metric in group}
    if requested in metrics:
        return
    shown = sorted({m if f == "none" else f"{m},{f}" for m, f in pairs})
    near = names.near(requested, metrics)
    hint = f"did you mean {near!r}?" if near else f"it has {listed(shown, 8)}"
    yield mistake(specs.task, "metric", f"the task has no metric {requested!r}", hint)


def _backend(specs: Specs, subtasks: Mapping[str, Facts]) -> Iterator[Mistake]:
    server, backend = specs.server, tokenizer_backend(specs.result)
    if server["chat"]:
        return
    kinds = {name: subtask.get("output_type", "") for name, subtask in subtasks.items()}
    scored = [name for name, kind in kinds.items() if kind not in ("", GENERATES)]
    if backend == "none" and scored:
        what = f"{listed(scored)} needs log-likelihoods, which need a tokenizer"
        yield mistake(specs.task, "tokenizer_backend", what, "write huggingface")
    if backend == "remote" and not server["options"].get("enable_tokenizer_info_endpoint"):
        yield mistake(
            specs.task,
            "tokenizer_backend",
            f"remote needs an endpoint that {server['source']} does not enable",
            "write enable_tokenizer_info_endpoint: true in its overrides, or huggingface here",
        )


def mistake(task: TaskSpec, key: str, what: str, hint: str) -> Mistake:
    """Return a mistake at a key of a task's file. `task` is the task spec."""
    place = origins.place(task["where"], key) if key else ""
    file, _, line = place.rpartition(":")
    if not line.isdecimal():
        return Mistake(task["source"], 0, key, what, hint)
    return Mistake(file, int(line), key, what, hint)


def chat_mistake(server: ServerSpec, task: str, subtasks: Sequence[str]) -> Mistake:
    """Return the mistake for a task with multiple choice on a chat endpoint."""
    return Mistake(
        server["source"],
        0,
        "use_chat_completions",
        f"the task {task} has multiple choice ({listed(subtasks)}), which a chat endpoint cannot "
        "answer",
        f"remove {task} from `tasks`, or remove use_chat_completions",
    )


def refusal(source: str, refused: Mapping[str, str]) -> Mistake:
    """Return the mistake for a task that the wrapper refused. `source` is the task's file."""
    task = f"{refused['task']}: " if refused["task"] else ""
    return Mistake(source, 0, "", f"{task}{refused['what']}", refused["hint"])
