"""Finds where a key belongs that was written in the wrong place."""

from __future__ import annotations

from typing import Any

from benchy.config import field_types, model_schema, schema, settings_schema, task_schema
from benchy.config.yaml_file import Document
from benchy.core import knobs

FILES = {  # kind of file → its place
    "model": "the model's file, next to vllm and tasks",
    "task": "a task's file, configs/tasks/NAME.yaml",
    "config": "configs/config.yaml",
    "launcher": "a launcher's file, configs/launchers/NAME.yaml",
}
PARTS: dict[str, type[field_types.Strict]] = {  # section of a file → schema of its keys
    "defaults of a task's file, configs/tasks/NAME.yaml": task_schema.TaskDefaults,
    "vllm in the model's file": model_schema.ModelVllm,
    "model in the model's file": model_schema.ModelFacts,
    "evaluation in configs/config.yaml": settings_schema.Evaluation,
    "logging in configs/config.yaml": settings_schema.Logging,
}
# Arguments of a request (named as in OpenAI's API and vLLM) and of the harness's generate_until.
GENERATION = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens",
    "max_new_tokens", "max_gen_toks", "do_sample", "until", "stop", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "chat_template_kwargs", "enable_thinking",
)  # fmt: skip
HINTS = {
    "base_url": "benchy starts the server itself; it cannot evaluate one that runs elsewhere",
    "path": "write a directory as the name: model: {name: VALUE}",
    "limit": "it is a knob: make eval CONFIG=FILE LIMIT=VALUE, or evaluation.default_limit in "
    "configs/config.yaml",
    "chat": "write use_chat_completions: true in the model's file, next to vllm and tasks",
}


def home(key: str, value: Any = None, document: Document | None = None) -> str:
    """Return a hint that says where a key belongs, with the value as written; "" if unknown."""
    hint = _home(key)
    own = document.file if document else ""
    if own.startswith("configs/tasks/") and key in task_schema.TaskDefaults.model_fields:
        hint = f"write defaults: {{{key}: VALUE}}"
    if own == "configs/config.yaml" and key in settings_schema.Evaluation.model_fields:
        hint = f"write evaluation: {{{key}: VALUE}}"
    plain = isinstance(value, str | int | float) and str(value).isprintable()
    written = str(value) if plain else "…"
    if key == "limit" and not knobs.is_limit(written):
        written = "10"
    hint = hint.replace("VALUE", written)
    models = document and "model" in document.data  # make eval accepts no other file
    hint = hint.replace("FILE", own if models else "configs/quickstart.yaml")
    tasks = document.data.get("tasks") if document else None
    if isinstance(tasks, list) and tasks and all(isinstance(task, str) for task in tasks):
        if len(tasks) > 1:
            shown = f"tasks/NAME.yaml, where NAME is {', '.join(tasks[:-1][:5])} or {tasks[-1]}"
            return hint.replace("tasks/NAME.yaml", shown)
        return hint.replace("tasks/NAME.yaml", f"tasks/{tasks[0]}.yaml")
    return hint


def _home(key: str) -> str:
    if key in HINTS:
        return HINTS[key]
    if key in GENERATION:
        return f"write it in a task's file: gen_kwargs: {{{key}: VALUE}} in configs/tasks/NAME.yaml"
    for kind, place in FILES.items():
        if key in schema.FILES[kind].model_fields:
            return f"it is a key of {place}"
    for place, part in PARTS.items():
        if key in part.model_fields:
            return f"it is a key of {place}"
    return ""
