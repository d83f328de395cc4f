"""Installing the observer in a harness, for which modules in memory stand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchy.scripts import harness_clients
from benchy.scripts.harness_observations import FactsFile
from benchy.scripts.harness_observer import Observer


class Sampler:
    def sample(self, count: int) -> list[str]:
        return ["one", "two"][:count]


class Task:
    task_name = "t"
    sampler: Any = None

    def fewshot_context(self, doc: str, num_fewshot: int) -> str:
        return "".join(self.sampler.sample(num_fewshot)) + doc if self.sampler else doc


class Hook:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self.kept.append((attr, req, res))


@pytest.fixture(name="modules")
def modules_(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put the parts of lm_eval that the wrapper uses into sys.modules."""
    methods = dict.fromkeys(harness_clients.OVERRIDDEN, lambda self: None)
    contents: dict[str, dict[str, Any]] = {
        "": {},
        ".models": {},
        ".models.openai_completions": {
            "LocalCompletionsAPI": type("LocalCompletionsAPI", (), dict(methods)),
            "LocalChatCompletion": type("LocalChatCompletion", (), dict(methods)),
        },
        ".evaluator": {"evaluate": lambda task_dict: sorted(task_dict["tasks"])},
        ".api": {},
        ".api.registry": {"get_model": lambda name: name},
        ".api.model": {"CacheHook": type("CacheHook", (Hook,), {})},
        ".api.task": {"ConfigurableTask": type("ConfigurableTask", (Task,), {})},
        ".tasks": {},
        ".tasks._factory": {},
        ".utils": {
            "get_rolling_token_windows": None, "make_disjoint_window": None,
            "hash_string": len, "handle_non_serializable": str,
        },
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, content in contents.items():
        module = ModuleType(f"lm_eval{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        found[name.removeprefix(".")] = module
    return found


def facts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_observer_precedes_the_clients(modules: dict[str, Any], tmp_path: Path) -> None:
    observer: Any = type("Observed", (Observer,), {})
    harness_clients.install(FactsFile(str(tmp_path / "facts")), {"a": 1}, ["a"], observer)
    registry, clients = modules["api.registry"], modules["models.openai_completions"]
    chat = registry.get_model("local-chat-completions")
    assert chat.__mro__[1] is observer and chat.__mro__[-2] is clients.LocalChatCompletion
    assert registry.get_model("hf") == "hf"
    assert (observer.ours, observer.fields) == ({"a": 1}, ["a"])
    config = SimpleNamespace(
        output_type="generate_until", repeats=1, generation_kwargs={"max_tokens": 5}
    )
    task = SimpleNamespace(config=config)
    assert modules["evaluator"].evaluate(task_dict={"tasks": {"t": task}}) == ["t"]
    assert config.generation_kwargs["max_gen_toks"] == 5
    hook = modules["api.model"].CacheHook()
    for key in (None, "key"):
        hook.add_partial("loglikelihood", key, 1)
    assert hook.kept == [("loglikelihood", "key", 1)]


LEAKS: list[tuple[str, int, bool, list[str]]] = [
    ("one", 1, True, ["client", "examples", "leaked"]),
    ("two", 1, True, ["client", "examples"]),
    ("one", 0, True, ["client"]),
    ("one", 1, False, ["client"]),
]


@pytest.mark.parametrize(("doc", "shots", "sampled", "kinds"), LEAKS)
def test_document_among_its_own_examples_is_recorded(
    modules: dict[str, Any], tmp_path: Path, doc: str, shots: int, sampled: bool, kinds: list[str]
) -> None:
    path = tmp_path / "facts"
    harness_clients.install(FactsFile(str(path)), {}, None, type("Observed", (Observer,), {}))
    task = modules["api.task"].ConfigurableTask()
    task.sampler = Sampler() if sampled else None
    assert task.fewshot_context(doc, shots) == ("one" if shots and sampled else "") + doc
    assert [fact["kind"] for fact in facts(path)] == kinds
    if sampled:
        assert task.sampler.sample(2) == ["one", "two"] and "sample" not in vars(task.sampler)


MISSING = [
    ("evaluator", "evaluate"),
    ("utils", "make_disjoint_window"),
    ("utils", "hash_string"),
    ("api.model", "CacheHook"),
    ("models.openai_completions", "LocalChatCompletion"),
]


@pytest.mark.parametrize(("module", "name"), MISSING)
def test_release_with_other_code_is_unchanged(
    modules: dict[str, Any], tmp_path: Path, module: str, name: str
) -> None:
    delattr(modules[module], name)
    before = {key: dict(vars(each)) for key, each in modules.items()}
    task = dict(vars(modules["api.task"].ConfigurableTask))
    with pytest.raises(AttributeError, match=name):
        harness_clients.install(FactsFile(str(tmp_path / "facts")), {}, None)
    assert before == {key: dict(vars(each)) for key, each in modules.items()}
    assert task == dict(vars(modules["api.task"].ConfigurableTask))
    assert not (tmp_path / "facts").exists()
