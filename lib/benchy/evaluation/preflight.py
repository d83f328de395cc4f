"""Checks a task on a model before a device is taken.

Uses the harness's own files, and the model's tokenizer as loaded in the harness's environment. Runs
harness_facts.py there, once for each set of tasks and for each tokenizer. Its answers are cached in
build/preflight/KEY.json, where KEY is a hash of everything that they depend on. Errors and unknown
names are not cached: the hub may have been unreachable. `bin/fetch MODEL TASK…` runs these checks
before it takes a lease, bin/eval again before its first request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.core import hashing, names, paths
from benchy.core.errors import Mistake
from benchy.core.text import listed
from benchy.environments import lock_file
from benchy.evaluation import environment_questions, harness, model_checks, provenance
from benchy.evaluation.environment_questions import Facts, Question, Spec
from benchy.plan import origins
from benchy.scripts import harness_wrapper

SCRIPT = paths.SCRIPTS / "harness_facts.py"
# Texts on which tokenizers differ: named special tokens, spaces, accents, emoji, digits.
PROBE = (
    "Hello world",
    " leading,  two  spaces\tand a tab ",
    "line\nbreak\n\n  indented",
    "¿Dónde está el niño? São Paulo, coração.",
    "emoji 🙂 👩\u200d👩\u200d👧, 中文, العربية",
    "12345 3.14 1e-5",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] Hi [/INST]</s>",
)
# Errors of the hub's client. transformers raises them as OSError.
UNREACHED = ("OSError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError",
             "SSLError", "LocalEntryNotFoundError", "HfHubHTTPError", "GatedRepoError")  # fmt: skip


def mistakes(
    server: Spec,
    spec: Spec,
    how: Spec,
    commit: str | None,
    base: Mapping[str, str],
    files: bool = True,
) -> list[Mistake]:
    """Return everything wrong with a task on a model.

    Args:
        server: The server spec.
        spec: The result spec.
        how: The task spec.
        commit: Commit of the hub's files that are served; None if not known.
        base: Environment variables to build the harness's from.
        files: Whether the model's files are available.
    """
    env = harness.environment(spec, how, server, None, base)
    found = task_mistakes(server, spec, how, task_facts(spec, how, env))
    if not found and files and needs_tokenizer(spec):
        facts = tokenizer_facts(spec, commit, env)
        found = [*found, *tokenizer_mistakes(server, spec, how, commit, facts)]
    return found


def needs_tokenizer(spec: Spec) -> bool:
    """Return whether the harness itself loads a tokenizer."""
    backend = spec["task"]["tokenizer_backend"] or "huggingface"
    return not spec["chat"] and backend in ("huggingface", "tiktoken")


def _question(spec: Spec, kind: str, what: Spec, more: Any) -> Question:
    """Return a question. `more` is what the answer depends on besides the question."""
    env = spec["task"]["harness_environment"]
    made_from = [hashing.sha256(SCRIPT), env, *provenance.made_by(env), kind, what, more]
    return Question(
        kind, what, environment_questions.FOLDER / f"{hashing.digest(made_from)[:32]}.json"
    )


def _task_question(spec: Spec, how: Spec) -> Question:
    what = {"include_path": how["include_path"], "names": spec["task"]["task_name"]}
    files = {key: spec["task"].get(key) for key in ("files", "files_elsewhere")}
    return _question(spec, "tasks", what, files)


def _tokenizer_question(spec: Spec, commit: str | None) -> Question:
    endpoint = harness.Endpoint("", str(spec["model"]["name"]), 0, commit=commit)
    backend = spec["task"]["tokenizer_backend"] or "huggingface"
    name, revision = harness.tokenizer(spec, endpoint)
    what = {
        "backend": backend,
        "name": endpoint.served_model if backend == "tiktoken" else name,
        "revision": revision,
        "trust_remote_code": bool(spec["options"].get("trust_remote_code")),
        "texts": list(PROBE),
    }
    return _question(spec, "tokenizer", what, environment_questions.small_files(Path(name)))


def task_facts(spec: Spec, how: Spec, env: Mapping[str, str]) -> Facts:
    """Return the facts of a task from harness_facts.py, or {} if it gives none."""
    return environment_questions.ask(harness.python(spec), SCRIPT, _task_question(spec, how), env)


def tokenizer_facts(spec: Spec, commit: str | None, env: Mapping[str, str]) -> Facts:
    """Return the facts of the tokenizer from harness_facts.py, or {} if it gives none."""
    return environment_questions.ask(
        harness.python(spec), SCRIPT, _tokenizer_question(spec, commit), env
    )


def _lock(env: str) -> Path:
    """Return the lock that an environment was built from."""
    inside = paths.env_dir(env) / "lock"
    return inside if inside.exists() else paths.lock(env)


def task_mistakes(server: Spec, spec: Spec, how: Spec, facts: Facts) -> list[Mistake]:
    """Return what is wrong with a task according to the harness's files."""
    asked, name = spec["task"], how["name"]
    tasks: dict[str, Facts] = facts.get("tasks") or {}
    release = f"in {asked['harness_environment']}"
    found = []

    def wrong(key: str, what: str, hint: str) -> None:
        found.append(mistake(how, key, what, hint))

    for task, near in (facts.get("unknown") or {}).items():
        hint = f"did you mean {near[0]!r}?" if near else "check its name, or include_path"
        wrong("task_name", f"there is no task {task!r} {release}", hint)
    for task, error in (facts.get("errors") or {}).items():
        hint = "correct its files, or add what it needs to extra_packages"
        wrong("task_name", f"the harness can't load {task!r}: {error}", hint)
    if server["chat"]:
        kinds = {task: each.get("output_type", "generate_until") for task, each in tasks.items()}
        cannot = sorted(task for task, kind in kinds.items() if kind != "generate_until")
        if cannot:
            found.append(chat_mistake(server, name, cannot))
    known = {task: each for task, each in tasks.items() if "repeats" in each}
    for task, each in known.items():
        for file in (f for f in each["data_files"] if not Path(f).exists()):
            wrong("task_name", f"{task}: its data file {file} is missing", "correct data_files")
        for what, hint in (_NEEDS[need] for need in each["needs"]):
            # The chat endpoint takes images. The harness sends audio to neither endpoint.
            if not (what == _NEEDS["images"][0] and server["chat"]):
                wrong("task_name", f"{task} {what}", hint)
        if each["repeats"] != 1:
            what = f"{task}: repeats: {each['repeats']} would give one answer several times"
            wrong("task_name", what, "take it out; repeats are not supported yet")
    count = asked["num_fewshot"]
    fixed = [task for task, each in known.items() if each["num_fewshot"] == 0]
    if count and fixed and len(fixed) == len(tasks):
        what = f"{listed(fixed)} has num_fewshot: 0 in the harness's own file, which takes no other"
        wrong("num_fewshot", what, "write 0 here, or take num_fewshot out of that file")
    found += _generation_mistakes(server, spec, how, known)
    if tasks and len(known) == len(tasks):
        found += _metric_mistakes(how, known, facts.get("groups") or {})
    backend = asked["tokenizer_backend"] or "huggingface"
    scored = [t for t, each in tasks.items() if each.get("output_type", "") not in ("", _GENERATES)]
    if backend == "none" and scored and not server["chat"]:
        what = f"{listed(scored)} needs log-likelihoods, which need a tokenizer"
        wrong("tokenizer_backend", what, "write huggingface")
    options = server["options"]
    if (
        backend == "remote"
        and not server["chat"]
        and not options.get("enable_tokenizer_info_endpoint")
    ):
        wrong(
            "tokenizer_backend",
            f"remote needs an endpoint that {server['source']} does not switch on",
            "write enable_tokenizer_info_endpoint: true in its overrides, or huggingface here",
        )
    return found


_GENERATES = "generate_until"
_NEEDS = {
    "code": ("runs code that the model wrote", "take it out; benchy has no sandbox for it"),
    "images": (
        "has images in its prompts, which the completions endpoint does not take",
        "take it out, or try use_chat_completions: true in the model",
    ),
    "audio": ("has audio in its prompts, which the harness can't send", "take it out"),
}


def _generation_mistakes(
    server: Spec, spec: Spec, how: Spec, known: Mapping[str, Facts]
) -> list[Mistake]:
    """Return the mistakes in generation arguments.

    These are arguments that would not reach the server, and answers so long that no prompt fits.
    """
    ours = spec["task"]["gen_kwargs"]
    found = {}
    for task, each in known.items():
        if each["output_type"] != _GENERATES:
            continue
        given = {**(each["generation_kwargs"] or {}), **ours}
        try:
            kwargs = harness_wrapper.normalized(task, given, ours)
        except harness_wrapper.Refused as refused:
            found[f"{task}: {refused.what}"] = refused.hint
            continue
        unknown = sorted(set(kwargs) - harness_wrapper.OWN)
        if unknown and (fields := request_options(server["engine"])):
            for name in (name for name in unknown if name not in fields):
                near = names.near(name, [*fields, *harness_wrapper.OWN])
                hint = f"write gen_kwargs: {{{name}: null}} to go without it"
                if name in ours:
                    hint = f"did you mean {near!r}?" if near else "take it out"
                found[f"{task}: no request has a generation argument {name!r}"] = hint
        room, length = server["options"].get("max_model_len"), kwargs.get("max_gen_toks", 256)
        if isinstance(room, int) and length >= room:
            what = f"{task}: answers of up to {length} tokens leave no room in max_model_len {room}"
            found[what] = "write a lower max_gen_toks in gen_kwargs, or a higher max_model_len"
    return [mistake(how, "gen_kwargs", what, hint) for what, hint in found.items()]


def request_options(engine: str) -> list[str]:
    """Return the fields that a request may have in some release of an engine.

    Returns [] if they are not known.
    """
    from benchy.config import loader  # noqa: PLC0415 - imports the schema, which is rarely needed

    found = loader.load_engines(paths.ROOT).get(engine)
    return found.request_options if found else []


def _metric_mistakes(
    how: Spec, known: Mapping[str, Facts], groups: Mapping[str, list[str]]
) -> list[Mistake]:
    asked = how.get("metric")
    if not asked:
        return []
    pairs = [tuple(pair) for each in known.values() for pair in each["metrics"]]
    there = {*(m for m, _ in pairs), *(f"{m},{f}" for m, f in pairs)}
    there |= {metric for listed in groups.values() for metric in listed}
    if asked in there:
        return []
    shown = sorted({m if f == "none" else f"{m},{f}" for m, f in pairs})
    near = names.near(asked, there)
    hint = f"did you mean {near!r}?" if near else f"it has {listed(shown, 8)}"
    return [mistake(how, "metric", f"the task has no metric {asked!r}", hint)]


def tokenizer_mistakes(
    server: Spec, spec: Spec, how: Spec, commit: str | None, facts: Facts
) -> list[Mistake]:
    """Return the mistake that keeps the harness from loading the tokenizer, if any."""
    if "error" not in facts:
        return []
    name, _ = harness.tokenizer(spec, harness.Endpoint("", "", 0, commit=commit))
    env = how["environment"]
    packages = lock_file.packages(_lock(env))
    release = next((p.version for p in packages if p.name == "transformers"), "")
    what = f"the tokenizer of {name} can't be loaded in {env}"
    what += f" (transformers {release})" if release else ""
    what += f": {facts['error'].splitlines()[0][:200]}"
    if spec["task"]["tokenizer_backend"] == "tiktoken":
        return [mistake(how, "tokenizer_backend", what, "write huggingface")]
    if not environment_questions.has_tokenizer(Path(name)):
        hint = "the model has no tokenizer: name one with tokenizer: in the model's overrides"
        return [Mistake(server["source"], 0, "model.name", what, hint)]
    if not Path(name).is_dir() and facts["error"].startswith(UNREACHED):
        hint = "the hub did not give it: check the name, the token (HF_TOKEN), the network, OFFLINE"
        return [Mistake(server["source"], 0, "model.name", what, hint)]
    hint = f"take a pin of transformers out of {how['source']} (extra_packages), or change it"
    return [mistake(how, "extra_packages", what, hint)]


def tokenizer_differs(how: Spec, text: str, ours: list[int], theirs: list[int]) -> Mistake:
    """Return the mistake for two tokenizers that differ.

    `ours` are the harness's ids of the probe text, `theirs` the server's.
    """
    most = min(len(ours), len(theirs))
    at = next((n for n in range(most) if ours[n] != theirs[n]), most)
    shown = " and ".join(str(ids[max(0, at - 1) : at + 4]) for ids in (ours, theirs))
    return mistake(
        how,
        "tokenizer_backend",
        f"the tokenizer of {how['environment']} is not the server's: {text!r} is {len(ours)} and "
        f"{len(theirs)} tokens, from token {at} on {shown}",
        "leave tokenizer out of the model's options, write tokenizer_mode: hf there where the "
        "server has a tokenizer of its own (Mistral's), or pin releases of transformers that read "
        "it alike (extra_packages of the task, transformers_version)",
    )


def ends_prompts(how: Spec, token: int) -> Mistake:
    """Return the mistake for a server that appends a token to prompts sent as text."""
    what = f"the server's tokenizer ends each prompt with token {token}: answers would follow it"
    return mistake(how, "tokenizer_backend", what, "write huggingface, which sends token ids")


def mistake(how: Spec, key: str, what: str, hint: str) -> Mistake:
    """Return a mistake at a key of a task's file."""
    where = origins.place(how.get("where") or {}, key) if key else ""
    file, _, line = where.rpartition(":")
    if not line.isdecimal():
        return Mistake(how["source"], 0, key, what, hint)
    return Mistake(file, int(line), key, what, hint)


def chat_mistake(server: Spec, name: str, tasks: Sequence[str]) -> Mistake:
    return Mistake(
        str(server.get("source", "")),
        0,
        "use_chat_completions",
        f"the task {name} has multiple choice ({listed(tasks)}), which a chat endpoint cannot "
        "answer",
        f"take {name} out of `tasks`, or leave out use_chat_completions",
    )


def of_tasks(
    server: Spec,
    tasks: Iterable[str],
    limit: int | None,
    commit: str | None,
    token: str,
    files: bool = True,
) -> dict[str, list[Mistake]]:
    """Return the mistakes of each task of a model that has any.

    Args:
        server: The server spec.
        tasks: Names of the tasks.
        limit: Limit of documents for each task, or None.
        commit: Commit of the hub's files that are served; None if not known.
        token: Token of the hub, "" for none.
        files: Whether the model's files are available.

    Raises:
        OSError, ValueError: A spec cannot be read.
    """
    base = dict(os.environ) | ({"HF_TOKEN": token} if token else {})
    of_model = model_checks.mistakes(server, base)
    found = {}
    for task in tasks:
        spec, how = _specs(server["model"], task, limit)
        wrong = mistakes(server, spec, how, commit, base, files and not of_model)
        if of_model or wrong:
            found[task] = [*of_model, *wrong]
    return found


def _specs(model: str, task: str, limit: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    read = (paths.result_spec(model, task, limit), paths.task_spec(task))
    spec, how = (json.loads(path.read_text(encoding="utf-8")) for path in read)
    return spec, how


def passed(server: Spec, tasks: Iterable[str], limit: int | None, commit: str | None) -> bool:
    """Return whether these tasks have passed these checks before. Runs nothing."""
    if not model_checks.passed(server):
        return False
    try:
        for task in tasks:
            spec, how = _specs(server["model"], task, limit)
            needed = [_task_question(spec, how)]
            needed += [_tokenizer_question(spec, commit)] if needs_tokenizer(spec) else []
            if not all(question.path.is_file() for question in needed):
                return False
            if mistakes(server, spec, how, commit, {}):
                return False
    except (OSError, ValueError, KeyError):
        return False
    return True
