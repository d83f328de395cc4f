"""bin/preview: the first prompts of a task on a model, as its server will receive them.

Runs the harness's own command line in its environment and stops before the requests are sent
(harness_preview.py). preview_text.py formats the output. Needs no server, no device and no plan on
disk. Of the model, it needs only the tokenizer, from its directory or from the hub; transformers
downloads the small files and no weights.

Reads configs/ and run/fetched/. Writes logs/preview/MODEL/TASK.log and the cache of preflight.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchy.config import loader
from benchy.core import names, paths, temporary_files
from benchy.core.errors import ConfigError, Failure, UsageError
from benchy.core.specs import ResultSpec, ServerSpec, TaskMeaning
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.engines import option_check
from benchy.environments import usage_locks
from benchy.evaluation import harness, model_checks, preflight, task_checks, task_list
from benchy.evaluation.harness import RunFiles
from benchy.evaluation.output_checks import read_facts
from benchy.evaluation.result_specs import Specs
from benchy.hub import access, model_info, tokens
from benchy.plan import planner
from benchy.plan.selection import config_file
from benchy.process import runner
from benchy.scripts import harness_arguments
from benchy.serving import preparation, tiny_model_folder

TAG = "PREVIEW"
MOST = 3  # documents of each subtask
UNKNOWN = 1 << 30  # tokens, for a context of unknown length


def specs(given: str, task: str, limit: int | None) -> Specs:
    """Return the specs of a task on a model, as bin/plan writes them.

    Builds the environment of the harness if it is missing. Raises ConfigError, Failure.
    """
    if not given:
        hint = "write make preview CONFIG=configs/quickstart.yaml TASK=smoke"
        raise UsageError("is missing", hint, "CONFIG")
    path = config_file(given)
    surroundings = planner.surroundings()
    base = loader.ConfigLoader(paths.ROOT, {"SET": os.environ.get("SET", "")})
    config = planner.checked(base, base.files(path), surroundings)
    model = config.models[0]
    if len(config.models) > 1:
        say(TAG, f"{path.stem} is a matrix; this is its first cell, {model.name}")
    if not task and len(model.tasks) == 1:
        (task,) = model.tasks
    if not task:
        raise UsageError("which task?", f"one of {', '.join(model.tasks)}", "TASK")
    if task not in config.tasks:
        near = names.near(task, config.tasks)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(sorted(config.tasks))}"
        raise UsageError(f"there is no task {task!r}", hint, "TASK")
    plan = planner.expand(config, surroundings, limit, (task,))
    selected = Specs(plan.servers[model.name], plan.results[model.name, task], plan.tasks[task])
    option_check.refuse([selected.server])
    env = selected.task["environment"]
    task_list.ready(env, plan.environments[env])
    return selected


def of(specs: Specs) -> dict[str, Any]:
    """Return the preview: the output of harness_preview.py and the settings that it depends on.

    `preview_text.lines` formats it; `--format json` prints it. Raises ConfigError, Failure.
    """
    server = specs.server
    make_model(server)
    base = dict(os.environ)
    if token := tokens.of(server):
        base["HF_TOKEN"] = token
    files = preparation.fetched(server)
    specs, notes = locally(specs)
    wrong = model_checks.mistakes(server, base)
    if wrong := [*wrong, *preflight.mistakes(specs, files, base, not wrong)]:
        raise ConfigError(wrong)
    spec, task = specs.result, specs.task
    length, source = context(server, base)
    endpoint = harness.HarnessEndpoint(
        "http://server.invalid", server["name"], length or UNKNOWN, _at_once(server), files
    )
    notes += remarks(server, spec)
    with usage_locks.used(spec["task"]["harness_environment"]):
        recording = recorded(specs, endpoint, base)
    return {
        "model": server["model"],
        "task": task["name"],
        "source": task["source"],
        "harness": spec["task"]["harness_environment"],
        "endpoint": "/v1/chat/completions" if spec["chat"] else "/v1/completions",
        "tokenizer": harness.tokenizer(spec, endpoint)[0],
        "chat_template": model_checks.template(server)[1],
        "max_model_len": length,
        "max_model_len_from": source,
        "limit": spec["limit"],
        "seed": spec["task"]["seed"],
        **recording,
        "notes": [*notes, *recording["notes"]],
    }


def locally(specs: Specs) -> tuple[Specs, list[str]]:
    """Return the specs with a tokenizer that needs no server, and a note if it is another."""
    result = specs.result
    if result["chat"] or result["task"]["tokenizer_backend"] != "remote":
        return specs, []
    task: TaskMeaning = {**result["task"], "tokenizer_backend": "huggingface"}
    note = (
        "a run encodes with the server's tokenizer (tokenizer_backend: remote); this preview "
        "encodes with the model's"
    )
    return replace(specs, result={**result, "task": task}), [note]


def recorded(
    specs: Specs, endpoint: harness.HarnessEndpoint, base: Mapping[str, str]
) -> dict[str, Any]:
    """Run harness_preview.py and return its output. Raises ConfigError, Failure."""
    spec, task, model = specs.result, specs.task, specs.server["model"]
    env = harness.environment(spec, task, specs.server, None, base)
    title = f"{model}/{task['name']}"
    log = paths.LOGS / "preview" / model / f"{task['name']}.log"
    with temporary_files.folder("preview") as inside, Step(TAG, title) as step:
        out = inside / "out.json"
        files = RunFiles(inside / "output", inside / "set.json", inside / "facts.jsonl")
        files.settings.write_text(json.dumps(_settings(specs, endpoint, files.facts, out)))
        step.at("prompts")
        command = harness.command(spec, task, endpoint, files, harness.PREVIEW)
        try:
            runner.run(
                command,
                env,
                log,
                step=step,
                timeout=task["timeout"],
                stall=task["stall_timeout"],
            )
            recording: dict[str, Any] = json.loads(out.read_bytes())
            return recording
        except runner.Ended as ended:
            refused = read_facts(files.facts).refused
            if ended.status == harness_arguments.REFUSED and refused:
                raise ConfigError([task_checks.refusal(task["source"], refused)]) from ended
            raise _failed(title, log, ended.words()) from ended
        except OSError as error:
            raise _failed(title, log, "recorded no prompts") from error


def _failed(title: str, log: Path, end: str) -> Failure:
    """Return the failure of a preview. `end` says how the harness ended."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in lines:
        if line.startswith("benchy: this harn"):
            what, hint = line.removeprefix("benchy: "), "a preview needs lm_eval 0.4.12 or 0.4.13"
            return Failure(f"{title}: {what}", f"{hint} (harness_version)", log)
    return Failure(f"{title}: the harness {end}", "its log says why", log, lines[-6:])


def _settings(
    specs: Specs, endpoint: harness.HarnessEndpoint, facts: Path, out: Path
) -> dict[str, Any]:
    """Return the settings for harness_preview.py, which writes `out`."""
    spec, server = specs.result, specs.server
    name, revision = harness.tokenizer(spec, endpoint)
    fields = request_fields(server)
    return {
        **harness.settings(spec, facts, fields, ("", 0), 0),  # no server, since nothing is sent
        "preview": str(out),
        "tokenizer": {
            "name": name,
            "revision": revision,
            "trust_remote_code": bool(spec["options"].get("trust_remote_code")),
        },
        "chat_template": model_checks.template(server)[0],
        "chat_template_kwargs": server["options"].get("default_chat_template_kwargs"),
    }


def request_fields(server: ServerSpec) -> list[str] | None:
    """Return the fields that a request may have, or None if they are not known.

    A run gets them from its server.
    """
    fields = task_checks.request_options(server["engine"])
    return [*fields, "continue_final_message"] if fields else None  # benchy adds it to chats


def make_model(server: ServerSpec) -> None:
    """Make the directory of the tiny model if it is missing. Raises Failure.

    The plan has already checked any other directory.
    """
    tiny_model_folder.ready(server)


def context(server: ServerSpec, base: Mapping[str, str]) -> tuple[int | None, str]:
    """Return the tokens of prompt and answer together, and the source of that number.

    The number is None if it is not known.
    """
    length = server["options"].get("max_model_len")
    if isinstance(length, int):
        return length, "the configuration"
    if length and (number := readable(str(length))):
        return number, "the configuration"
    folder = server["path"] or preparation.fetched(server).package
    if not folder and access.network_forbidden(base):
        return None, ""
    try:
        return model_info.of(folder or server["name"], base).context, "the model"
    except Failure:
        return None, ""


def readable(text: str) -> int | None:
    """Return a number of tokens in vLLM's notation, or None if it is not one.

    32k is 32,000 and 32K is 32,768, as in vLLM's human_readable_int.
    """
    units = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "")
    try:
        return int(float(number) * units.get(unit, 1))
    except ValueError:
        return None


def _at_once(server: ServerSpec) -> int | None:
    count = server["options"].get("max_num_seqs")
    return count if isinstance(count, int) and count > 0 else None


def remarks(server: ServerSpec, spec: ResultSpec) -> list[str]:
    """Return notes on what the server does and the preview does not show."""
    notes = []
    if server["options"].get("tokenizer_mode") == "mistral":
        notes.append(
            "the server encodes with mistral_common (tokenizer_mode: mistral); this preview "
            "encodes with transformers, which may render a chat differently"
        )
    if spec["chat"] and server["options"].get("reasoning_parser"):
        notes.append("the server removes the model's reasoning from the answer (reasoning_parser)")
    return notes
