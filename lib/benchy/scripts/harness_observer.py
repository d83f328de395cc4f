"""Corrects and observes the requests and answers of the harness's API client.

harness_wrapper.py lists the corrections.
"""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_answers import check_choices, check_logprobs, check_text
    from benchy.scripts.harness_arguments import (
        TaskRefused,
        check_accepted,
        check_sent,
        normalized,
        texts,
    )
    from benchy.scripts.harness_observations import FactsFile
    from benchy.scripts.harness_tokens import BACKENDS, Tokens
else:  # in the harness's environment, where benchy is not a package
    from harness_answers import check_choices, check_logprobs, check_text
    from harness_arguments import (
        TaskRefused,
        check_accepted,
        check_sent,
        normalized,
        texts,
    )
    from harness_observations import FactsFile
    from harness_tokens import BACKENDS, Tokens

ENDS = 16  # number of token ids that the facts show of each end of a prompt

_prompts: contextvars.ContextVar[Sequence[Any]] = contextvars.ContextVar("prompts", default=())


class Observer(Tokens):
    """A mixin that precedes a client of the harness (TemplateAPI) in the method resolution order.

    facts, ours and fields are "facts", "gen_kwargs" and "request_fields" of SETTINGS.json.
    """

    facts: FactsFile
    ours: dict[str, Any]
    fields: Sequence[str] | None
    # Attributes of the client. max_length: tokens of a prompt; the server generates one more.
    max_length: int
    _max_gen_toks: int
    cache_hook: Any
    instances: Sequence[Any] = ()  # the requests of the current call
    generating = False

    # --- generation arguments ----------------------------------------------------------------

    @classmethod
    def prepare(cls, tasks: Iterable[tuple[str, Any]]) -> None:
        """Convert the arguments of all tasks to the harness's names. Raises Refused."""
        for name, task in tasks:
            config: Any = getattr(task, "config", None)
            if getattr(config, "output_type", "") != "generate_until":
                continue
            if int(getattr(config, "repeats", 1) or 1) != 1:
                raise TaskRefused(
                    name,
                    f"repeats: {config.repeats} would give the same answer each time, since all "
                    "requests have one seed",
                    "remove the task from `tasks`; repeats are not supported yet",
                )
            if isinstance(config.generation_kwargs, dict):
                config.generation_kwargs = normalized(name, config.generation_kwargs, cls.ours)
                check_accepted(name, config.generation_kwargs, cls.fields)

    def _create_payload(
        self, messages: Any, generate: bool = False, gen_kwargs: Any = None, **more: Any
    ) -> dict[str, Any]:
        requested = dict(gen_kwargs or {})
        payload: dict[str, Any] = super()._create_payload(  # type: ignore[misc]
            messages, generate=generate, gen_kwargs=dict(requested), **more
        )
        if generate:
            task = self.instances[0].task_name if self.instances else ""
            end = [more["eos"]] if more.get("eos") else []
            payload["stop"] = list(dict.fromkeys([*texts(requested.get("until")), *end]))
            if payload.get("messages") and payload["messages"][-1].get("role") == "assistant":
                if self.fields is not None and "continue_final_message" not in self.fields:
                    raise TaskRefused(
                        task,
                        "this release can't continue the answer that gen_prefix begins in a chat",
                        "remove use_chat_completions, or set a newer vllm_version",
                    )
                payload |= {"continue_final_message": True, "add_generation_prompt": False}
            check_sent(task, requested, payload)
        if self.facts.new("sent", generate, requested):
            prompt = payload.get("prompt")
            ids = prompt[0] if prompt and isinstance(prompt[0], list) else []
            shown = {k: v for k, v in payload.items() if k not in ("prompt", "messages")}
            self.facts.write(
                kind="sent", gen_kwargs=requested, payload=shown, head=ids[:ENDS], tail=ids[-ENDS:]
            )
        return payload

    # --- what fits into the context ----------------------------------------------------------

    def tok_encode(
        self,
        string: Any,
        left_truncate_len: int | None = None,
        add_special_tokens: bool | None = None,
        **more: Any,
    ) -> Any:
        rows = super().tok_encode(string, left_truncate_len, add_special_tokens, **more)
        batch = self.tokenizer_backend in BACKENDS and not isinstance(string, str)
        if self.generating and batch and len(rows) == len(self.instances):
            self.check_room(rows)
        return rows

    def length_of(self, instance: Any) -> int:
        """Return how many tokens an answer may have."""
        return int(instance.args[1].get("max_gen_toks", self._max_gen_toks))

    def truncated(self, at: int) -> None:
        request = self.instances[at]
        self.facts.write(
            kind="truncated", task=request.task_name, doc=request.doc_id, request=request.idx
        )

    def check_room(self, prompts: Sequence[Sequence[int]]) -> None:
        """Record the prompts that will be truncated.

        Raises Refused if the task's answers leave no room for its prompts: answers alone fill the
        context, or at least half of the prompts are truncated although they fit without an answer.
        The second rule does not apply if an interrupted run accepted the task, since the remaining
        requests may be just the truncated ones.
        """
        context = self.max_length
        answers = [self.length_of(request) for request in self.instances]
        tasks: dict[str, list[int]] = {}
        for at, request in enumerate(self.instances):
            tasks.setdefault(request.task_name, []).append(at)
        for task, indices in tasks.items():
            length = max(answers[at] for at in indices)
            sizes = [len(prompts[at]) for at in indices]
            cut = [at for at in indices if len(prompts[at]) + answers[at] > context]
            squeezed = [at for at in cut if len(prompts[at]) < context]
            half = 2 * len(squeezed) >= len(indices) and task not in self.facts.accepted
            if length >= context or half:
                raise TaskRefused(
                    task,
                    f"answers of up to {length} tokens leave {max(0, context - length)} of the "
                    f"context's {context} for prompts of {min(sizes)} - {max(sizes)} tokens",
                    "write a lower max_gen_toks in gen_kwargs, or a higher max_model_len",
                )
            for at in cut:
                self.truncated(at)

    def context_of(self, key: Any, context: list[int]) -> list[int]:
        """Return the tokens before a choice.

        For a choice with no context, these are the tokens that the tokenizer begins a text with, if
        they are more than the one token that the harness puts there.
        """
        if key is None or key[0] != "" or self.tokenizer_backend not in BACKENDS:
            return context
        begins = self.ends()[0]
        return begins if len(begins) > 1 and len(context) == 1 else context

    def _loglikelihood_tokens(self, requests: Any, **more: Any) -> Any:
        """Call the client's method, with choices longer than the context split into windows."""
        parts: list[Any] = []
        counts: list[int] = []
        for at, (key, before, answer) in enumerate(requests):
            context = self.context_of(key, before)
            if key is not None and len(context) + len(answer) > self.max_length and self.instances:
                self.truncated(at)
            split = [(key, context, answer)]
            if len(answer) >= self.max_length:
                utils = importlib.import_module("lm_eval.utils")
                windows = utils.get_rolling_token_windows(
                    token_list=answer,
                    prefix_token=context[-1],
                    max_seq_len=self.max_length - 1,
                    context_len=1,
                )
                split = [(None, *utils.make_disjoint_window(window)) for window in windows]
            parts += split
            counts.append(len(split))
        results = super()._loglikelihood_tokens(parts, **more)  # type: ignore[misc]
        if len(parts) == len(counts):
            return results
        rest, out = iter(results), []
        for (key, _, _), count in zip(requests, counts, strict=True):
            answers = [next(rest) for _ in range(count)]
            out.append((sum(a[0] for a in answers), all(a[1] for a in answers)))
            if count > 1 and key is not None:
                self.cache_hook.add_partial("loglikelihood", key, out[-1])
        return out

    # --- calls -------------------------------------------------------------------------------

    def loglikelihood(self, requests: Any, **more: Any) -> Any:
        self.instances = list(requests)
        try:
            return super().loglikelihood(requests, **more)  # type: ignore[misc]
        finally:
            self.instances = ()

    def loglikelihood_rolling(self, requests: Any, **more: Any) -> Any:
        self.rolling = True
        try:
            return super().loglikelihood_rolling(requests, **more)  # type: ignore[misc]
        finally:
            self.rolling = False

    def generate_until(self, requests: Any, **more: Any) -> Any:
        self.instances, self.generating = list(requests), True
        # max_length reserves a token that the server generates for a choice; answers need none.
        self.max_length += 1
        try:
            for request in self.instances:
                check_accepted(request.task_name, request.args[1], self.fields)
                if self.length_of(request) >= self.max_length:
                    self.check_room([()] * len(self.instances))
            return super().generate_until(requests, **more)  # type: ignore[misc]
        finally:
            self.max_length -= 1
            self.instances, self.generating = (), False

    async def amodel_call(self, *args: Any, **more: Any) -> Any:
        _prompts.set([key[0] for key in more.get("cache_keys") or () if key])
        return await super().amodel_call(*args, **more)  # type: ignore[misc]

    def parse_logprobs(
        self, outputs: Any, tokens: Any = None, ctxlens: Any = None, **more: Any
    ) -> Any:
        choices = check_choices(outputs, len(tokens))
        for choice, prompt, start in zip(choices, tokens, ctxlens, strict=True):
            check_logprobs(choice, prompt, start)
        return super().parse_logprobs(  # type: ignore[misc]
            outputs=outputs, tokens=tokens, ctxlens=ctxlens, **more
        )

    def parse_generations(self, outputs: Any, **more: Any) -> Any:
        prompts = more.get("contexts") or _prompts.get()
        if prompts:
            for choice in check_choices(outputs, len(prompts)):
                check_text(choice)
        answers = super().parse_generations(outputs, **more)  # type: ignore[misc]
        pairs = list(zip(prompts, answers, strict=False))
        null = [prompt for prompt, text in pairs if text is None]
        blank = [prompt for prompt, text in pairs if text is not None and not text.strip()]
        for request in self.instances if null or blank else ():
            for kind, without in (("null", null), ("blank", blank)):
                if request.args[0] in without:
                    self.facts.write(kind=kind, task=request.task_name, doc=request.doc_id)
        return answers
