"""Every field of every configuration file, another value for it, and the results that use it.

test_walk.py fails if a field has no value here. If you add a field to the schema, add a value.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from typing import Any

import yaml

from benchy.config import engine_schema, field_types, launcher_schema, provider_schema, schema
from trees import Tree

ALL = {"four/beta", "four/gamma", "one/alpha", "one/beta", "three/alpha", "two/alpha", "two/beta"}
ONE, ALPHA = {"one/alpha", "one/beta"}, {"one/alpha", "two/alpha", "three/alpha"}
BASE_REPAIR = {"versions": ">=1.0", "constraints": ["never-asked-for<9"], "why": "a", "link": "b"}

SERVING: dict[str, Any] = {
    "engine": "standin_gpu", "engine_env": {"A": "b"}, "vllm_version": "1.1.0",
    "transformers_version": "4.55.4", "extra_packages": ["never-asked-for"], "python": ">=3.10",
    "engine_source": "https://example.org/standin_engine-9.0-py3-none-any.whl",
    "index": "https://example.org/simple", "torch_backend": "cpu", "cutoff": "2026-01-02",
    "host": "localhost", "port": 8123, "tensor_parallel_size": 2, "pipeline_parallel_size": 2,
    "data_parallel_size": 2, "max_model_len": 300, "gpu_memory_utilization": 0.5,
    "kv_cache_memory": 1000, "enforce_eager": True, "limit_mm_per_prompt": {"image": 1},
    "multimodal": False, "trust_remote_code": True, "hf_cache": "elsewhere", "hf_token": "secret",
    "startup_timeout": 77, "cuda_devices": "0",
}  # fmt: skip
REPAIR: dict[str, Any] = {
    "versions": ">=9", "overrides": ["never-asked-for==1"], "drop": ["never-asked-for"],
    "constraints": ["never-asked-for<8"], "python": ">=3.9", "variables": {"C": "d"},
    "why": "other words", "link": "other words",
}  # fmt: skip
RESOURCES: dict[str, Any] = {
    "partition": "gpu", "account": "lab", "qos": "high", "time": "10:00", "memory": "8G",
    "cpus_per_gpu": 4, "cpus": 2, "constraint": "a100", "gpu_option": "gpus", "gpu_type": "a100",
    "extra": ["--exclusive"], "gpus_per_node": 4, "scratch": "$TMPDIR", "nodes": 2,
}  # fmt: skip
# File → field → new value, or (new value, users) if the field's users differ from those in PLACES.
VALUES: dict[str, dict[str, Any]] = {
    # Model three sets its own max_model_len.
    "provider": {**SERVING, "max_model_len": (300, ALL - {"three/alpha"})},
    "override": SERVING,
    "repair": REPAIR,
    "model": {
        "model.name": "acme/uno", "model.revision": "abc", "model.make": "tiny",
        "model.package": {"name": "uno-gguf", "version": "1.0", "sha256": "0" * 64},
        "vllm.provider_config": "standin_gpu", "vllm.overrides": {"dtype": "half"},
        "tasks": (["alpha", "beta", "gamma"], {"one/gamma"}),
        "matrix": ({"dtype": ["half"]}, {"one@half/alpha", "one@half/beta"}),
        "use_chat_completions": True,
        **{f"resources.{key}": value for key, value in RESOURCES.items()},
    },
    "task": {
        "name": "something", "description": "words", "task_name": "standin_other",
        "harness": "other_harness", "harness_version": "0.0.1",
        "extra_packages": ["never-asked-for"], "lm_eval_path": "lib",
        "lm_eval_git": "https://example.org/harness@abc", "include_path": "configs/tasks/own",
        "offline": False,
        "num_fewshot": 3, "gen_kwargs": {"max_gen_toks": 5}, "seed": 5,
        "tokenizer_backend": "none", "timeout": 99, "stall_timeout": 98, "request_timeout": 97,
        "metric": "exact_match",
        "defaults.batch_size": 4, "defaults.log_samples": False, "defaults.cache_requests": False,
        "defaults.trust_remote_code": True, "defaults.num_concurrent": 3,
        "defaults.max_length": 200, "output.subdirectory": "files",
    },
    "engine": {
        "title": "words", "package": "standin-engine[extra]", "module": "other",
        "requirements": ["never-asked-for"], "device": "gpu", "default_version": "1.1.0",
        "command": ["-m", "other"], "variables": {"B": "c"}, "options": {"seed": 1},
        "nodes": ["--nnodes={{ nodes }}"], "follower": ["-m", "other"],
        "unsupported": [{"options": ["x"], "why": "a", "use": "b"}],
        "caps": {"STANDIN_CAP": "9"}, "request_options": ["top_p"],
        "neutral": ["seed"], "gone": [{"options": ["x"], "since": "9.0"}], "like": "standin_gpu",
        "python": ">=3.10", "cutoff": "2026-01-02", "index": "https://example.org/simple",
        "slack_days": 9, "torch_backend": "cpu", "drop": ["never-asked-for"],
        "repairs": [{**BASE_REPAIR, "constraints": ["never-asked-for<7"]}],
    },
    "launcher": {
        "command": ["nice"], "environment": {"A": "b"}, "queue": ["true"], "cancel": ["true"],
        "running": ["R"], "ended": ["E"], "again": ["A"], "retries": 1, "past": ["true"],
        "ending": ["G"], "by_itself": ["F"], "rank": "RANK", "leases": "job",
        "without": ["JOB_*"], "keeping": ["JOB_X"],
    },
    "config": {
        "launcher": "wrap", **{f"slurm.{key}": value for key, value in RESOURCES.items()},
        **{f"slurm.build.{key}": RESOURCES[key] for key in launcher_schema.Build.model_fields},
        "paths": {"hf_cache": "elsewhere"},
        "evaluation.default_limit": (7, {f"limit-7/{title}" for title in ALL}),
        "logging.log_dir": "elsewhere", "logging.level": "debug",
        "leaderboard.groups": {"both": {"tasks": {"alpha": 2, "beta": 1}, "about": "words"}},
    },
}  # fmt: skip
# Field → why the walk cannot change it.
FIXED = {
    "engine.kind": "a harness serves no model: a mistake",
    "engine.main": "the main environment is uv.lock's, and holds vLLM: tests/golden has it",
}
KINDS: dict[str, type[field_types.Strict]] = {
    **schema.FILES, "override": provider_schema.Provider, "repair": engine_schema.Repair,
}  # fmt: skip
PLACES: dict[str, tuple[str, tuple[str | int, ...], set[str]]] = {
    "provider": ("providers/standin.yaml", (), ALL),
    "override": ("models/one.yaml", ("vllm", "overrides"), ONE),
    "repair": ("engines/standin.yaml", ("repairs", 0), ALL),
    "model": ("models/one.yaml", (), ONE),
    "task": ("tasks/alpha.yaml", (), ALPHA),
    "engine": ("engines/standin.yaml", (), ALL),
    "launcher": ("launchers/wrap.yaml", (), ALL),
    "config": ("config.yaml", (), ALL),
}


def leaves(kind: type[field_types.Strict]) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, `affects` of the schema) of each field of a file kind, even nested."""
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, field_types.Strict):
            yield from ((f"{name}.{key}", verdict) for key, verdict in leaves(inner))
        else:
            extra = info.json_schema_extra
            assert isinstance(extra, dict)
            yield name, str(extra["affects"])


FIELDS = [
    (file, field, verdict)
    for file, kind in KINDS.items()
    for field, verdict in leaves(kind)
    if f"{file}.{field}" not in FIXED
]


def lay(tree: Tree) -> None:
    """Add what VALUES and PLACES refer to: a repair, a launcher and another harness."""
    repairs = tree.root / "configs/engines/standin.yaml"
    data = yaml.safe_load(repairs.read_text())
    repairs.write_text(yaml.safe_dump({**data, "repairs": [BASE_REPAIR]}))
    harness = tree.root / "configs/engines/lm_eval.yaml"
    shutil.copy(harness, harness.with_name("other_harness.yaml"))
    (tree.root / "configs/launchers").mkdir()
    (tree.root / "configs/launchers/wrap.yaml").write_text("command: [env]\n")


def change(tree: Tree, file: str, field: str, value: Any) -> None:
    """Write another value to a configuration file."""
    name, inside, _ = PLACES[file]
    path = tree.root / "configs" / name
    data = yaml.safe_load(path.read_text()) or {}
    place = data
    for key in (*inside, *field.split(".")[:-1]):
        place = place[key] if isinstance(key, int) else place.setdefault(key, {})
    place[field.rsplit(".", maxsplit=1)[-1]] = copy.deepcopy(value)
    path.write_text(yaml.safe_dump(data))
    os.utime(path.parent)
