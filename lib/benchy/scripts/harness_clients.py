"""Installs the observer in the harness's API clients."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_observations import FactsFile
    from benchy.scripts.harness_observer import Observer
else:  # in the harness's environment, where benchy is not a package
    from harness_observations import FactsFile
    from harness_observer import Observer

# Methods of the clients that the observer overrides and calls.
OVERRIDDEN = (
    "_create_payload",
    "_loglikelihood_tokens",
    "amodel_call",
    "parse_generations",
    "parse_logprobs",
    "tok_encode",
)


def _module(name: str) -> Any:
    return importlib.import_module(f"lm_eval.{name}")


def install(
    facts: FactsFile,
    ours: dict[str, Any],
    fields: Sequence[str] | None,
    observer: type[Observer] = Observer,
) -> None:
    """Install the observer in the harness's clients.

    Args:
        facts: The facts to write.
        ours: Generation arguments of benchy's task file.
        fields: Field names that the server accepts; None if not known.
        observer: The class of observers.

    Raises:
        ImportError, AttributeError: The release has other code. Nothing is changed.
    """
    clients, evaluator, registry, model, utils = (
        _module(name)
        for name in ("models.openai_completions", "evaluator", "api.registry", "api.model", "utils")
    )
    _module("tasks._factory")  # others pass tasks in another form
    task = _module("api.task").ConfigurableTask
    bases = {
        "local-completions": clients.LocalCompletionsAPI,
        "local-chat-completions": clients.LocalChatCompletion,
    }
    for base in bases.values():
        for name in OVERRIDDEN:
            getattr(base, name)
    _ = utils.get_rolling_token_windows, utils.make_disjoint_window
    get_model, hook = registry.get_model, model.CacheHook
    prepared = _prepared(evaluator.evaluate, observer)
    keyed = _keyed(hook.add_partial)
    watched = _watched(
        task.fewshot_context, facts, utils.hash_string, utils.handle_non_serializable
    )

    observer.facts, observer.ours, observer.fields = facts, ours, fields
    observed = {name: type(base.__name__, (observer, base), {}) for name, base in bases.items()}
    registry.get_model = lambda name: observed.get(name) or get_model(name)
    evaluator.evaluate, hook.add_partial, task.fewshot_context = prepared, keyed, watched
    facts.write(kind="client")


def _prepared(evaluate: Callable[..., Any], observer: type[Observer]) -> Callable[..., Any]:
    """Return lm_eval's evaluate(), which prepares the tasks first."""

    def evaluate_prepared(*args: Any, **kwargs: Any) -> Any:
        tasks = kwargs.get("task_dict") or {}
        observer.prepare((tasks.get("tasks") or {}).items())
        return evaluate(*args, **kwargs)

    return evaluate_prepared


def _keyed(add_partial: Callable[..., None]) -> Callable[..., None]:
    """Return CacheHook.add_partial(), which stores only requests that have a key."""

    def add_keyed(self: Any, attr: str, req: Any, res: Any) -> None:
        if req is not None:
            add_partial(self, attr, req, res)

    return add_keyed


def _watched(
    fewshot_context: Callable[..., Any],
    facts: FactsFile,
    hash_string: Callable[[str], str],
    serialize: Callable[[Any], Any],
) -> Callable[..., Any]:
    """Return a task's fewshot_context(), which records documents among their own examples.

    Args:
        fewshot_context: The task's method.
        facts: The facts to write.
        hash_string: The harness's hash of a document's text.
        serialize: The harness's serializer of values that JSON lacks.
    """

    def fewshot_context_watched(
        self: Any, doc: Any, num_fewshot: int, *args: Any, **kwargs: Any
    ) -> Any:
        sampler = getattr(self, "sampler", None)
        if not num_fewshot or sampler is None:
            return fewshot_context(self, doc, num_fewshot, *args, **kwargs)
        drawn: list[Any] = []
        sample = sampler.sample

        def sample_watched(*a: Any, **k: Any) -> Any:
            examples = list(sample(*a, **k))
            drawn.extend(examples)
            return examples

        sampler.sample = sample_watched
        try:
            context = fewshot_context(self, doc, num_fewshot, *args, **kwargs)
        finally:
            del sampler.sample
        facts.write(kind="examples", task=self.task_name)
        if doc in drawn:
            text = json.dumps(doc, indent=2, default=serialize, ensure_ascii=False)
            facts.write(kind="leaked", task=self.task_name, doc=hash_string(text))
        return context

    return fewshot_context_watched
