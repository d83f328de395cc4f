"""Every field of every configuration file is changed once, and real Make says what is stale then:
all that uses it where the schema says that it can change an answer, nothing where it cannot, and
the lock where it decides what is installed.

A field with no value below fails the walk: whoever adds one says what a change of it looks like.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from trees import Tree

from benchy import schema

CPU = ("four", "one", "three", "two")
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
    "constraints": ["never-asked-for<8"], "python": ">=3.9", "variables": {"A": "b"},
    "why": "other words", "link": "other words",
}  # fmt: skip
RESOURCES: dict[str, Any] = {
    "partition": "gpu", "account": "lab", "qos": "high", "time": "10:00", "memory": "8G",
    "cpus_per_gpu": 4, "cpus": 2, "constraint": "a100", "gpu_option": "gpus", "gpu_type": "a100",
    "extra": ["--exclusive"],
}  # fmt: skip
# File → field → the value that it is changed to. A tuple: (value, what is stale besides the rule).
VALUES: dict[str, dict[str, Any]] = {
    # Model three has a max_model_len of its own.
    "provider": {**SERVING, "max_model_len": (300, ALL - {"three/alpha"})},
    "override": SERVING,
    "repair": REPAIR,
    "model": {
        "model.name": "acme/uno", "model.revision": "abc", "model.make": "tiny",
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
        "lm_eval_git": "https://example.org/harness@abc", "include_path": "mk", "offline": False,
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
        "command": ["-m", "other"], "variables": {"A": "b"}, "options": {"seed": 1},
        "neutral": ["seed"], "gone": [{"options": ["x"], "since": "9.0"}], "like": "standin_gpu",
        "python": ">=3.10", "cutoff": "2026-01-02", "index": "https://example.org/simple",
        "slack_days": 9, "torch_backend": "cpu", "drop": ["never-asked-for"],
        "repairs": [{**BASE_REPAIR, "constraints": ["never-asked-for<7"]}],
    },
    "launcher": {
        "command": ["nice"], "environment": {"A": "b"}, "queue": ["true"], "cancel": ["true"],
        "running": ["R"], "ended": ["E"], "again": ["A"], "retries": 1,
    },
    "config": {
        "launcher": "wrap", **{f"slurm.{key}": value for key, value in RESOURCES.items()},
        "paths": {"hf_cache": "elsewhere"},
        "evaluation.default_limit": (7, {f"limit-7/{title}" for title in ALL}),
        "logging.log_dir": "elsewhere", "logging.level": "debug",
        "leaderboard.groups": {"both": {"tasks": {"alpha": 2, "beta": 1}, "about": "words"}},
    },
}  # fmt: skip
# What cannot be changed where it is used; each with its reason.
FIXED = {
    "engine.kind": "a harness serves no model: a mistake",
    "engine.main": "the main environment is uv.lock's, and holds vLLM: tests/golden has it",
}
KINDS: dict[str, type[schema.Strict]] = {
    **schema.FILES, "override": schema.Provider, "repair": schema.Repair,
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


def leaves(kind: type[schema.Strict]) -> Iterator[tuple[str, str]]:
    """Every field of a file kind, dotted, with its verdict; those of mappings inside it too."""
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, schema.Strict):
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


def test_the_walk_leaves_no_field_out() -> None:
    without = [f"{file}.{field}" for file, field, _ in FIELDS if field not in VALUES[file]]
    assert not without, "say in VALUES what a change of these looks like"
    known = {(file, field) for file, field, _ in FIELDS}
    assert not [(f, field) for f in VALUES for field in VALUES[f] if (f, field) not in known]


class Walk:
    """A complete tree that is put back after each step."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.base = ["build", "configs", "venvs", "results"]
        repairs = tree.root / "configs/engines/standin.yaml"
        data = yaml.safe_load(repairs.read_text())
        repairs.write_text(yaml.safe_dump({**data, "repairs": [BASE_REPAIR]}))
        harness = tree.root / "configs/engines/lm_eval.yaml"
        shutil.copy(harness, harness.with_name("other_harness.yaml"))
        (tree.root / "configs/launchers").mkdir()
        (tree.root / "configs/launchers/wrap.yaml").write_text("command: [env]\n")
        done = tree.results()
        assert done.status == 0, done.text
        # Of another repair that changes no package, nothing runs again; here really run.
        assert tree.events() == []
        for name in self.base:
            shutil.copytree(tree.root / name, tree.base / "kept" / name, symlinks=True)

    def restore(self) -> None:
        for name in ("build", "configs"):
            shutil.rmtree(self.tree.root / name)
            shutil.copytree(self.tree.base / "kept" / name, self.tree.root / name, symlinks=True)
        for lock in (self.tree.root / "venvs").glob("*.lock"):
            kept = self.tree.base / "kept/venvs" / lock.name
            shutil.copy2(kept, lock) if kept.exists() else lock.unlink()
        shutil.rmtree(self.tree.root / "venvs/.failed", ignore_errors=True)
        shutil.copytree(self.tree.base / "kept/venvs/.failed", self.tree.root / "venvs/.failed")

    def graph(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", "-s", "-f", "mk/graph.mk", *words],
            cwd=self.tree.root, env=self.tree.environ(), capture_output=True, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def stale(self) -> set[str]:
        """What Make would build for the models on the CPU: results as MODEL/TASK, and locks."""
        self.graph("planned")
        plan = json.loads((self.tree.root / "build/plan.json").read_text())
        top = "results" if plan["limit"] is None else f"results/limit-{plan['limit']}"
        wanted = [
            f"{top}/{model}/{task}/results.json"
            for model, facts in plan["models"].items()
            for task in facts["tasks"]
            if model.partition("@")[0] in CPU
        ]
        told = self.graph("-n", "question=1", *wanted).stdout.splitlines()
        found = {line.removeprefix("stale ") for line in told if line.startswith("stale ")}
        return {
            name.removeprefix("results/").removesuffix("/results.json")
            if name.startswith("results/")
            else name
            for name in found
        }

    def change(self, file: str, field: str, value: Any) -> None:
        name, inside, _ = PLACES[file]
        path = self.tree.root / "configs" / name
        data = yaml.safe_load(path.read_text()) or {}
        place = data
        for key in (*inside, *field.split(".")[:-1]):
            place = place[key] if isinstance(key, int) else place.setdefault(key, {})
        place[field.rsplit(".", maxsplit=1)[-1]] = copy.deepcopy(value)
        path.write_text(yaml.safe_dump(data))
        os.utime(path.parent)


@pytest.fixture(scope="module")
def walk(complete: tuple[Path, Any, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Walk:
    base = tmp_path_factory.mktemp("walk")
    subprocess.run(["cp", "-a", f"{complete[0]}/.", str(base)], check=True)
    return Walk(Tree(base))


@pytest.mark.parametrize(
    ("file", "field", "verdict"), FIELDS, ids=[f"{f}.{field}" for f, field, _ in FIELDS]
)
def test_a_change_re_runs_what_the_schema_says(
    walk: Walk, file: str, field: str, verdict: str
) -> None:
    walk.restore()
    assert walk.stale() == set(), "the tree is not at rest"
    value = VALUES[file][field]
    users = PLACES[file][2]
    if isinstance(value, tuple):
        value, users = value
    walk.change(file, field, value)
    stale = walk.stale()
    locks = {name for name in stale if name.endswith(".lock")}
    results = stale - locks
    if verdict == "no":
        if locks:  # asked anew, and the same came out
            walk.graph(*sorted(locks))
            results = walk.stale()
        assert results == set()
        return
    assert results <= users, "what does not use it"
    if verdict == "yes":
        assert results == users, "what uses it"
    else:
        assert locks or results, "nothing would be resolved anew"
