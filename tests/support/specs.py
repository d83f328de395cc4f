"""The specs of a result, for tests of the checks before a run."""

from __future__ import annotations

from typing import Any

from benchy.evaluation.result_specs import Specs


def server_spec(chat: bool = False, **options: Any) -> dict[str, Any]:
    return {"chat": chat, "engine": "vllm", "options": options, "source": "configs/one.yaml"}


def result_spec(**more: Any) -> dict[str, Any]:
    requested: dict[str, Any] = {
        "name": "mine", "task_name": ["t"], "gen_kwargs": {}, "num_fewshot": None, "files": {},
        "tokenizer_backend": "huggingface", "harness_environment": "lm_eval_0_4_13",
    }  # fmt: skip
    model = {"name": "org/one", "path": None, "revision": None}
    return {"task": requested | more, "chat": False, "model": model, "options": {}}


def task_spec(**more: Any) -> dict[str, Any]:
    where = {"": "configs/tasks/mine.yaml", "gen_kwargs": "configs/tasks/mine.yaml:4"}
    place = {"source": "configs/tasks/mine.yaml", "where": where, "include_path": None}
    return {"name": "mine", "metric": None, "environment": "lm_eval_0_4_13", **place, **more}


def specs(
    server: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
) -> Specs:
    """Return specs with these changes."""
    return Specs(server_spec(**server or {}), result_spec(**result or {}), task_spec(**task or {}))
