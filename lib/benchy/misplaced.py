"""Keys that people write where they do not belong: where they do."""

from __future__ import annotations

from benchy import schema

FILES = {  # kind → where
    "model": "the model's file, beside vllm and tasks",
    "task": "a task's file, configs/tasks/NAME.yaml",
    "config": "configs/config.yaml",
    "launcher": "a launcher's file, configs/launchers/NAME.yaml",
}
PARTS: dict[str, type[schema.Strict]] = {  # of a file: what its keys are of
    "defaults of a task's file, configs/tasks/NAME.yaml": schema.TaskDefaults,
    "vllm in the model's file": schema.ModelVllm,
    "model in the model's file": schema.ModelFacts,
}
# Arguments of a request (OpenAI's and vLLM's names) and of the harness's generate_until.
GENERATION = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens",
    "max_new_tokens", "max_gen_toks", "do_sample", "until", "stop", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "chat_template_kwargs", "enable_thinking",
)  # fmt: skip
TOLD = {
    "base_url": "benchy starts the server itself; one that runs elsewhere can't be evaluated",
    "path": "a directory is written as the name: model: {name: /path/to/model}",
    "limit": "it is a knob: make eval LIMIT=10 CONFIG=…, or evaluation.default_limit in "
    "configs/config.yaml",
    "chat": "write use_chat_completions: true in the model's file, beside vllm and tasks",
}


def home(key: str) -> str:
    """Where a key belongs, as a hint; "" where nobody knows it."""
    if key in TOLD:
        return TOLD[key]
    if key in GENERATION:
        return f"write it in a task's file: gen_kwargs: {{{key}: …}} in configs/tasks/NAME.yaml"
    for kind, place in FILES.items():
        if key in schema.FILES[kind].model_fields:
            return f"it is a key of {place}"
    for place, part in PARTS.items():
        if key in part.model_fields:
            return f"it is a key of {place}"
    return ""
