"""Prints facts from the harness's environment about tasks or a tokenizer.

    ENV/bin/python lib/benchy/scripts/harness_facts.py tasks '{"include_path": …, "names": […]}'
    ENV/bin/python lib/benchy/scripts/harness_facts.py tokenizer '{"backend": …, "name": …, …}'

Runs in the harness's own environment, imports nothing of benchy, loads no data and sends no request
to a server. The last line of output is JSON.

tasks: {"tasks": {subtask: {"output_type", "num_fewshot", "generation_kwargs", "repeats", "metrics":
[["acc", "none"], …], "gen_prefix", "examples_from_test", "data_files", "needs"}}, "groups": {group:
["acc", …]}, "unknown": {name: [similar names]}, "errors": {name: text}, "inline": whether a group's
file contains whole tasks}. A task that is a Python class has no facts: {}. A harness with other
code (before 0.4.12) gives {"tasks": {subtask: {"output_type"}}} or {}.

tokenizer: {"prefix", "suffix": token ids that it adds before and after a text, "plain", "special":
the ids of each probe text without and with those, "bos", "eos": ids or null}, or {"error": text}.
"""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

# Key of a task's file → what the task needs besides text; code: it runs code of the model.
NEEDS = {"unsafe_code": "code", "doc_to_image": "images", "doc_to_audio": "audio"}


def _module(name: str) -> Any:
    return importlib.import_module(name)


def tasks(request: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the named tasks and of all tasks below them."""
    names, include = request["names"], request["include_path"]
    try:
        factory = _module("lm_eval.tasks._factory")
    except ImportError:
        return {"tasks": output_types(names, include)}
    # Reading the whole index takes about 20 s; the user's own folder is enough for most tasks.
    result = facts(names, factory, include, defaults=False) if include else None
    if not result or result["unknown"] or result["errors"] or result["inline"]:
        result = facts(names, factory, include, defaults=True)
    return result


def facts(names: list[str], factory: Any, include: str | None, defaults: bool) -> dict[str, Any]:
    """Load configurations as the harness does, with stub tasks that load no data."""
    task, group = _module("lm_eval.api.task"), _module("lm_eval.api.group")
    manager = _module("lm_eval.tasks").TaskManager(include_path=include, include_defaults=defaults)

    class Leaf(task.ConfigurableTask):  # type: ignore[misc, name-defined]
        """A task with a configuration and nothing else."""

        inline = False

        def __init__(self, config: dict[str, Any]) -> None:
            self.leaf = dict(config)

        @property
        def task_name(self) -> Any:
            return self.leaf["task"]

    class Inline(Leaf):
        """A task that a group's file defines.

        The harness also builds one for a member of a group whose name it does not know.
        """

        inline = True

    def build(self: Any, entry: Any, overrides: Any) -> Leaf:
        config = self._load_full_config(entry, overrides)
        return Leaf({k: v for k, v in config.items() if k not in ("tag", "group", "task_list")})

    factory.TaskFactory._build_task, factory.ConfigurableTask = build, Inline
    out: dict[str, Any] = {"tasks": {}, "groups": {}, "unknown": {}, "errors": {}, "inline": False}

    def take(item: Any) -> None:
        if isinstance(item, group.Group):
            listed = getattr(item, "aggregate_metric_list", None) or []
            out["groups"][item.name] = [m.metric for m in listed]
            for subtask in item.get_all_tasks():
                take(subtask)
            for subgroup in item.get_all_groups():
                out["groups"].setdefault(
                    subgroup.name,
                    [m.metric for m in getattr(subgroup, "aggregate_metric_list", None) or []],
                )
        elif item.inline and not item.leaf.keys() & {"dataset_path", "custom_dataset", "class"}:
            member = str(item.task_name).rpartition("::")[2]
            out["unknown"][member] = difflib.get_close_matches(member, manager.all_tasks, 3, 0.6)
        else:
            out["inline"] |= item.inline
            out["tasks"][item.task_name] = describe(item.leaf)

    for name in names:
        if "*" in name:
            matched = manager.match_tasks([name])
        else:
            matched = [name] if name in manager.task_index or Path(name).is_file() else []
        if not matched and (broken := unreadable(name, include)):
            out["errors"][name] = broken
        elif not matched:
            out["unknown"][name] = difflib.get_close_matches(name, manager.all_tasks, 3, 0.6)
        for task_name in matched:
            try:
                loaded = manager._load_spec(task_name)
                for item in loaded if isinstance(loaded, list) else [loaded]:
                    take(item)
            except Exception as error:  # a task's own code can raise anything
                out["errors"][name] = f"{type(error).__name__}: {error}"[:500]
    return out


def unreadable(name: str, include: str | None) -> str:
    """Return the error of an unreadable file that names this task, or "".

    The harness silently ignores files in the folder that it cannot read.
    """
    load_yaml = _module("lm_eval.tasks._yaml_loader").load_yaml
    names_it = re.compile(rf"^\s*(- )?(task|group|tag):\s*['\"]?{re.escape(name)}['\"]?\s*$", re.M)
    for path in sorted(Path(include).rglob("*.yaml")) if include else []:
        if not names_it.search(path.read_text(encoding="utf-8", errors="replace")):
            continue
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:
            return f"{path}: {type(error).__name__}: {error}"[:500]
    return ""


def describe(config: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a task's configuration.

    The defaults are those of TaskConfig (lm_eval/config/task.py) and ConfigurableTask
    (lm_eval/api/task.py).
    """
    if "class" in config:
        return {}
    kind = config.get("output_type", "generate_until")
    delimiter = config.get("fewshot_delimiter", "\n\n")
    kwargs = config.get("generation_kwargs")
    if kind == "generate_until":
        kwargs = {"until": [delimiter], **(kwargs or {"do_sample": False, "max_gen_toks": 256})}
    listed = config.get("metric_list")
    if listed is None:
        registry = _module("lm_eval.api.registry")
        metrics = list(registry.DEFAULT_METRIC_REGISTRY.get(kind, ()))
    else:
        names = [entry.get("metric") for entry in listed if isinstance(entry, dict)]
        metrics = [n.__name__ if callable(n) else str(n) for n in names]
    filters = [entry["name"] for entry in config.get("filter_list") or []] or ["none"]
    examples = config.get("fewshot_config") or {}
    return {
        "output_type": kind,
        "num_fewshot": config.get("num_fewshot"),
        "generation_kwargs": kwargs,
        "repeats": config.get("repeats", 1),
        "metrics": [[metric, chosen] for metric in metrics for chosen in filters],
        "gen_prefix": bool(config.get("gen_prefix")),
        "examples_from_test": not any(
            (
                config.get("fewshot_split"),
                config.get("training_split"),
                config.get("validation_split"),
                isinstance(examples, dict) and (examples.get("split") or examples.get("samples")),
            )
        ),
        "data_files": data_files(config),
        "needs": [word for key, word in NEEDS.items() if config.get(key)],
    }


def data_files(config: dict[str, Any]) -> list[str]:
    """Return the local data files that a configuration names."""
    kwargs = config.get("dataset_kwargs") or {}
    if config.get("dataset_path") not in ("json", "csv", "parquet", "text"):
        return []
    files = kwargs.get("data_files") or {}
    named = files.values() if isinstance(files, dict) else [files]
    flat = [f for paths in named for f in (paths if isinstance(paths, list) else [paths])]
    local = [f for f in flat if isinstance(f, str) and "://" not in f and "*" not in f]
    folder = Path(kwargs.get("data_dir") or "")
    return [str(folder / f) for f in local]


def output_types(names: list[str], include: str | None) -> dict[str, Any]:
    """Return subtask → {"output_type"}, for harnesses before 0.4.12."""
    manager = _module("lm_eval.tasks").TaskManager(include_path=include)
    load_yaml = _module("lm_eval.tasks._yaml_loader").load_yaml
    types: dict[str, Any] = {}

    def walk(item: Any) -> None:
        name = item if isinstance(item, str) else item.get("task")
        if not isinstance(name, str) or name in types:
            return
        entry = manager.task_index.get(name)
        if entry is None or entry.yaml_path is None:
            for member in sorted(entry.tags) if entry else ():
                walk(member)
            return
        config = load_yaml(entry.yaml_path, resolve_func=False)
        members = config.get("task")
        if isinstance(members, list):
            for member in members:
                walk(member)
        else:
            types[name] = {"output_type": config.get("output_type", "generate_until")}

    for name in names:
        walk(name)
    return types


def tokenizer(request: dict[str, Any]) -> dict[str, Any]:
    """Load a tokenizer as the harness does, and encode the probe texts."""
    name = request["name"]
    try:
        _module("tiktoken" if request["backend"] == "tiktoken" else "transformers")
    except ModuleNotFoundError:
        return {}  # this harness loads no tokenizers
    if request["backend"] == "tiktoken":
        encoding = _module("tiktoken").encoding_for_model(name)

        def encode(text: str, special: bool) -> list[int]:
            return list(encoding.encode(text))

        bos = eos = None
    else:
        loaded = _module("transformers").AutoTokenizer.from_pretrained(
            name,
            revision=request["revision"] or "main",
            trust_remote_code=request["trust_remote_code"],
            use_fast=True,
        )

        def encode(text: str, special: bool) -> list[int]:
            return list(loaded(text, add_special_tokens=special).input_ids)

        bos, eos = loaded.bos_token_id, loaded.eos_token_id
    plain = [encode(text, False) for text in request["texts"]]
    special = [encode(text, True) for text in request["texts"]]
    word, with_special = encode("word", False), encode("word", True)
    starts = [n for n in range(len(with_special)) if with_special[n : n + len(word)] == word]
    at = starts[0] if starts else 0
    return {
        "prefix": with_special[:at],
        "suffix": with_special[at + len(word) :],
        "plain": plain,
        "special": special,
        "bos": bos,
        "eos": eos,
    }


def main(argv: list[str]) -> int:
    sys.path[0] = ""  # as when the harness runs
    work = {"tasks": tasks, "tokenizer": tokenizer}[argv[0]]
    try:
        result = work(json.loads(argv[1]))
    except Exception as error:
        if argv[0] == "tasks":
            raise
        result = {"error": f"{type(error).__name__}: {error}"[:1000]}
    print(json.dumps(result, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
