"""Whole specs for tests, as bin/plan and bin/serve write them. Keywords replace keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from benchy.core.specs import (
    EnvironmentRequest,
    FailureMarker,
    ModelEntry,
    PlanIndex,
    PlannedTask,
    ResultSpec,
    ServerMeaning,
    ServerRecord,
    ServerSpec,
    TaskMeaning,
    TaskSpec,
)
from benchy.evaluation.result_specs import Specs

HARNESS = "lm_eval_0_4_13"


def server(**changes: Any) -> ServerSpec:
    """Return the spec of a server on the CPU. Its meaning follows from its other keys."""
    found: dict[str, Any] = {
        "model": "one", "source": "configs/one.yaml", "name": "org/one", "revision": None,
        "path": None, "make": None, "engine": "vllm", "title": "vLLM", "package": "vllm",
        "module": "vllm", "version": "0.32.0", "release": "0.32.0", "environment": "vllm_0_32_0",
        "fallback": None, "device": "cpu", "gpus": 0, "cuda_devices": None, "host": "127.0.0.1",
        "port": None, "command": ["-m", "vllm.entrypoints.openai.api_server"], "options": {},
        "defaults": {}, "variables": {}, "origin": {}, "where": {}, "inputs": {}, "keys": {},
        "gone": [], "chat": False, "trust_remote_code": False, "startup_timeout": 1800,
        "hf_cache": None, "token_from": None, **changes,
    }  # fmt: skip
    found.setdefault("meaning", meaning(**{key: found[key] for key in found.keys() & MEANT}))
    return cast("ServerSpec", found)


# Keys of a server's spec that are in its meaning too.
MEANT = {"name", "revision", "path", "engine", "package", "version", "environment", "device",
         "command", "options", "variables", "chat"}  # fmt: skip


def meaning(**changes: Any) -> ServerMeaning:
    """Return what can change an answer about a server. Keywords may be keys of its parts."""
    model = {"name": "org/one", "revision": None, "path": None, "content": None}
    engine = {
        "engine": "vllm", "package": "vllm", "version": "0.32.0", "environment": "vllm_0_32_0",
        "device": "cpu", "command": ["-m", "vllm.entrypoints.openai.api_server"],
    }  # fmt: skip
    found: dict[str, Any] = {
        "model": {key: changes.pop(key, value) for key, value in model.items()},
        "fallback": None, "options": {}, "variables": {}, "chat": False,
    }  # fmt: skip
    if not isinstance(changes.get("engine"), dict):
        found["engine"] = {key: changes.pop(key, value) for key, value in engine.items()}
    return cast("ServerMeaning", {**found, **changes})


def task_meaning(**changes: Any) -> TaskMeaning:
    """Return what can change an answer about a task."""
    found = {
        "name": "mine", "task_name": ["t"], "harness_environment": HARNESS, "num_fewshot": None,
        "gen_kwargs": {}, "max_length": None, "tokenizer_backend": "huggingface",
        "trust_remote_code": False, "seed": 7, "files": {}, **changes,
    }  # fmt: skip
    return cast("TaskMeaning", found)


def result(**changes: Any) -> ResultSpec:
    """Return the spec of a result. Keywords may be keys of its parts, as those of meaning()."""
    task = changes.pop("task", None) or task_meaning()
    limit = changes.pop("limit", None)
    return {**meaning(**changes), "task": task, "limit": limit}


def task(**changes: Any) -> TaskSpec:
    """Return the spec of a task."""
    found = {
        "name": "mine", "source": "configs/tasks/mine.yaml", "where": {}, "inputs": {},
        "environment": HARNESS, "include_path": None, "offline": False, "batch_size": 1,
        "log_samples": True, "cache_requests": True, "num_concurrent": 8,
        "subdirectory": "harness", "timeout": None, "stall_timeout": 3600,
        "request_timeout": 600, "description": "", "metric": None, **changes,
    }  # fmt: skip
    return cast("TaskSpec", found)


def planned_task(**changes: Any) -> PlannedTask:
    """Return a task as a plan has it, with what can change an answer."""
    meaning = changes.pop("meaning", None) or task_meaning()
    return {**task(**changes), "meaning": meaning}


def of_result(
    served: Mapping[str, Any] | None = None,
    requested: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> Specs:
    """Return the specs of a result.

    Args:
        served: Options of the server, and `chat`.
        requested: Keys of what can change an answer about the task.
        run: Keys of the task's spec.
    """
    options = {key: value for key, value in (served or {}).items() if key != "chat"}
    one = server(chat=(served or {}).get("chat", False), options=options)
    meant: ResultSpec = {**one["meaning"], "task": task_meaning(**requested or {}), "limit": None}
    where = {"": "configs/tasks/mine.yaml", "gen_kwargs": "configs/tasks/mine.yaml:4"}
    return Specs(one, meant, task(**{"where": where, **(run or {})}))


def environment(**changes: Any) -> EnvironmentRequest:
    """Return an environment of a release, as a plan has it."""
    found = {
        "env": "vllm_0_32_0", "kind": "engine", "name": "vllm", "package": "vllm",
        "version": "0.32.0", "requirements": ["vllm==0.32.0"], "overrides": [], "constraints": [],
        "python": None, "cutoff": "release", "slack_days": 7, "torch_backend": None,
        "variables": {}, "module": "vllm", "repairs": [], "source": "configs/one.yaml:3",
        **changes,
    }  # fmt: skip
    return cast("EnvironmentRequest", found)


def record(**changes: Any) -> ServerRecord:
    """Return server.json of a server on the CPU."""
    found = {
        "model": "one", "version": "0.32.0", "served_model": "org/one", "max_model_len": 1024,
        "max_num_seqs": None, "dtype": None, "commit": None, "arguments": [], "variables": {},
        "gpus": "cpu", "pid": 1, "guardian": 1, "started": "2026-01-31T23:59:59Z",
        "seconds_to_ready": {"total": 1.0}, "environment": "vllm_0_32_0", "package": "vllm",
        "package_version": "0.32.0", "lock_sha256": None, "fallback": None, "spec": server(),
        **changes,
    }  # fmt: skip
    return cast("ServerRecord", found)


def model(**changes: Any) -> ModelEntry:
    """Return a model of plan.json."""
    found = {
        "source": "configs/one.yaml", "tasks": ["mine"], "asked": "vllm_0_32_0",
        "environment": "vllm_0_32_0", "fallback": None, "harnesses": [HARNESS], **changes,
    }  # fmt: skip
    return cast("ModelEntry", found)


def plan(**changes: Any) -> PlanIndex:
    """Return plan.json of one model."""
    found = {
        "limit": None, "launcher": "local", "build": {}, "models": {"one": model()},
        "environments": {}, **changes,
    }  # fmt: skip
    return cast("PlanIndex", found)


def failure(**changes: Any) -> FailureMarker:
    """Return the marker of a failed build."""
    found = {
        "env": "vllm_0_32_0", "version": "0.32.0", "stage": "lock", "what": "no solution",
        "lines": [], "log": "", "when": "2026-01-31T23:59:59Z", **changes,
    }  # fmt: skip
    return cast("FailureMarker", found)
