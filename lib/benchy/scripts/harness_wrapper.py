"""Runs lm-evaluation-harness with corrections to its API client, and records what it does.

    ENV/bin/python lib/benchy/scripts/harness_wrapper.py SETTINGS.json -m lm_eval ARGUMENT…

Runs in the harness's own environment and imports nothing of benchy. SETTINGS.json: {"facts": path
of the file to append to, "gen_kwargs": those of benchy's task file, "request_fields": the field
names that this server accepts, null if not known, "server": [address, port], "guardian": pid}. A
connection to that server is used only after a check that a process under that guardian answers
(peer_check.py), in any release of the harness.

Facts are JSON lines, written one at a time, so that those of an interrupted run survive, as its
cache of answers does:

    {"kind": "client"}                                the corrections below are active
    {"kind": "truncated", "task", "doc", "request"}   the left end of a prompt was cut off
    {"kind": "null", "task", "doc"}                   the server gave no text
    {"kind": "blank", "task", "doc"}                  the text is only white space
    {"kind": "examples", "task"}                      its few-shot examples are observed
    {"kind": "leaked", "task", "doc"}                 a document is one of its own examples; doc is
                                                      its hash, as in the samples file
    {"kind": "sent", "gen_kwargs", "payload", …}      the first request with these arguments,
                                                      without its prompt; "head" and "tail" are the
                                                      first and last token ids of the prompt
    {"kind": "refused", "task", "what", "hint"}       the task is not evaluated; exit status REFUSED

Corrections, for lm_eval 0.4.12 and 0.4.13 (lm_eval/models/api_models.py, openai_completions.py,
api/model.py). A release with other code there runs unchanged and reports no facts.

- Generation arguments: aliases are converted to the harness's own names, and do_sample: false means
  temperature 0, as in the harness's in-process backends (models/utils.py, normalize_gen_kwargs).
  Arguments that neither the harness nor the server accepts are refused instead of dropped.
- All stop sequences are sent. For chat, the harness drops those after the fourth.
- For chat, an answer that gen_prefix begins is continued (continue_final_message). The harness lets
  the model begin a new turn.
- Special tokens: an end-of-sequence token that the tokenizer appends is removed, since it would
  separate the prompt from the answer. The server's tokenizer (tokenizer_backend: remote) adds the
  beginning-of-sequence token. Text for perplexity is encoded without special tokens, since the
  harness itself adds one in front.
- Windows of a perplexity task have no key in the cache of answers and are not stored in it.
- A choice that is longer than the context is scored in windows, as in perplexity tasks.
- A prompt and its answer may fill the context to the last token.
- Malformed answers are errors, which the harness retries and then fails with. An answer must hold
  one choice for each prompt, with a text or a log-probability for each token. The harness would sum
  only the log-probabilities that are present, and choose the likeliest even of values that are not
  numbers.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import importlib.util
import json
import math
import os
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

REFUSED = 3  # exit status
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
STOPS = ("stop", "stop_sequences")
# Arguments that request more than one answer; 1 is the default.
SEVERAL = ("n", "best_of", "num_return_sequences", "num_beams")
# Arguments that every server of the completions API accepts, even if its fields are not known.
COMMON = frozenset({"top_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias"})
# Generation arguments that the harness itself reads.
OWN = frozenset({"until", "do_sample", "temperature", "max_gen_toks"})


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stops(value: Any) -> bool:
    return all(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))


# Argument → (check of its value, the expected value in words).
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{name: (_whole, "a whole number from 1 up") for name in LENGTHS},
    **{name: (_number, "a number") for name in ("temperature", "top_p", "min_p")},
    **{name: (_stops, "a text or a list of texts") for name in ("until", *STOPS)},
    "do_sample": (lambda value: isinstance(value, bool), "true or false"),
}
ROUNDING = 0.001  # maximum of a log-probability: 0 plus rounding
ENDS = 16  # number of token ids that the facts show of each end of a prompt

_prompts: contextvars.ContextVar[Sequence[Any]] = contextvars.ContextVar("prompts", default=())


class Refused(BaseException):
    """A task that must not be evaluated. Not an Exception, which the harness would retry."""

    def __init__(self, task: str, what: str, hint: str) -> None:
        super().__init__(what)
        self.task, self.what, self.hint = task, what, hint


class Facts:
    """The file of facts; each fact is written once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: set[str] = set()
        # Tasks that an interrupted run accepted although it truncated some of their prompts.
        self.accepted: set[str] = set()
        lines = Path(path).read_text("ascii", "replace") if Path(path).exists() else ""
        for line in lines.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a half-written last line
                fact = json.loads(line)
                if fact["kind"] == "truncated":
                    self.accepted.add(fact["task"])

    def new(self, *key: Any) -> bool:
        """Return whether this key is seen for the first time."""
        text = json.dumps(key, sort_keys=True, default=str)
        if text in self.seen:
            return False
        self.seen.add(text)
        return True

    def write(self, **fact: Any) -> None:
        if self.new(fact):
            with Path(self.path).open("a", encoding="ascii") as file:
                file.write(json.dumps(fact, sort_keys=True, default=str) + "\n")


def normalized(task: str, given: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return a task's generation arguments in the harness's own names.

    ours: arguments of benchy's task file, which take precedence. Raises Refused.
    """
    kwargs = {key: value for key, value in given.items() if value is not None}
    for name, (good, kind) in TYPES.items():
        if name in kwargs and not good(kwargs[name]):
            raise Refused(task, f"{name}: {kwargs[name]!r} is not {kind}", f"write {kind}")
    lengths = {name: kwargs.pop(name) for name in LENGTHS if name in kwargs}
    for name in sorted(lengths, key=lambda name: name not in ours)[:1]:
        kwargs["max_gen_toks"] = lengths[name]
    for name in SEVERAL:
        if kwargs.pop(name, 1) != 1:
            raise Refused(
                task,
                f"{name}: {given[name]} asks for several answers, and only one is scored",
                f"write gen_kwargs: {{{name}: 1}}",
            )
    stops = [*_texts(kwargs.get("until")), *(t for n in STOPS for t in _texts(kwargs.pop(n, None)))]
    if stops or "until" in kwargs:
        kwargs["until"] = list(dict.fromkeys(stops))
    temperature = float(kwargs.get("temperature") or 0)
    sampled = kwargs.get("do_sample")
    if sampled is None or ("temperature" in ours and "do_sample" not in ours):
        sampled = temperature > 0
    return {**kwargs, "do_sample": sampled, "temperature": temperature if sampled else 0.0}


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def check_sent(task: str, asked: dict[str, Any], payload: dict[str, Any]) -> None:
    """Raise Refused unless each generation argument is in the payload of its request."""
    wanted = {key: value for key, value in asked.items() if key not in OWN and value is not None}
    if "max_gen_toks" in asked:
        wanted["max_tokens"] = asked["max_gen_toks"]
    if asked.get("temperature") is not None:
        wanted["temperature"] = asked["temperature"]
    lost = [f"{key}: {value!r}" for key, value in wanted.items() if payload.get(key) != value]
    stops = payload.get("stop") or []
    lost += [f"until: {stop!r}" for stop in _texts(asked.get("until")) if stop not in stops]
    if lost:
        raise Refused(
            task,
            f"generation arguments that do not reach the request: {', '.join(lost)}",
            "take them out of gen_kwargs, or name another harness_version",
        )


def special_tokens(encode: Callable[[str, bool], list[int]]) -> tuple[list[int], list[int]]:
    """Return the token ids that a tokenizer adds before and after a text.

    encode: (text, whether to add special tokens) → ids.
    """
    plain, whole = encode("word", False), encode("word", True)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []


def check_choices(outputs: Any, prompts: int) -> list[dict[str, Any]]:
    """Return the choices of one or several answers, in order.

    Raises ValueError unless there is one for each prompt.
    """
    found: list[dict[str, Any]] = []
    for out in outputs if isinstance(outputs, list) else [outputs]:
        choices = out.get("choices") if isinstance(out, dict) else None
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise ValueError("the server's answer has no choices")
        places = sorted(str(one.get("index")) for one in choices)
        if places != sorted(map(str, range(len(choices)))):
            raise ValueError(f"the server's answer has choices {', '.join(places)[:80]}")
        found += sorted(choices, key=lambda one: int(one["index"]))
    if len(found) != prompts:
        raise ValueError(f"the server gave {len(found)} answers to {prompts} prompts")
    return found


def check_logprobs(choice: dict[str, Any], prompt: Sequence[Any], start: int) -> None:
    """Raise ValueError unless an answer has a log-probability for each token from `start` on.

    The last entry of an answer is the one token that the server was asked to generate.
    """
    held = choice.get("logprobs")
    values, tops = (
        held.get(name) if isinstance(held, dict) else None
        for name in ("token_logprobs", "top_logprobs")
    )
    if not isinstance(values, list) or not isinstance(tops, list):
        raise ValueError("the server's answer has no log-probabilities")
    if not isinstance(prompt, str) and not len(values) == len(tops) == len(prompt) + 1:
        raise ValueError(
            f"the server gave {len(values)} log-probabilities for {len(prompt)} tokens and one more"
        )
    for value, top in zip(values[start:-1], tops[start:-1], strict=True):
        others = list(top.values()) if isinstance(top, dict) else [None]
        wrong = [one for one in (value, *others) if not _logprob(one)]
        if wrong or not others:
            raise ValueError(f"the server gave {str(wrong)[:60]} as log-probabilities")


def check_text(choice: dict[str, Any]) -> None:
    """Raise ValueError unless an answer is a text or null.

    For chat, the harness treats anything else as an empty text.
    """
    held = choice.get("message", choice)
    text = held.get("content" if "message" in choice else "text") if isinstance(held, dict) else 0
    if text is not None and not isinstance(text, str):
        raise ValueError("the server's answer is no text")


def _logprob(value: Any) -> bool:
    """Return whether a value is a log-probability. Rounding may make it slightly positive."""
    return _number(value) and math.isfinite(value) and value <= ROUNDING


class Observer:
    """A mixin that precedes a client of the harness (TemplateAPI) in the method resolution order.

    facts, ours and fields are "facts", "gen_kwargs" and "request_fields" of SETTINGS.json.
    """

    facts: Facts
    ours: dict[str, Any]
    fields: Sequence[str] | None
    # Attributes of the client. max_length: tokens of a prompt; the server generates one more.
    max_length: int
    _max_gen_toks: int
    add_bos_token: bool
    tokenizer: Any
    tokenizer_backend: str | None
    cache_hook: Any
    instances: Sequence[Any] = ()  # the requests of the current call
    generating = rolling = False
    _ends: tuple[list[int], list[int]] | None = None

    # --- generation arguments ----------------------------------------------------------------

    @classmethod
    def prepare(cls, tasks: Iterable[tuple[str, Any]]) -> None:
        """Convert the arguments of all tasks to the harness's names. Raises Refused."""
        for name, task in tasks:
            config: Any = getattr(task, "config", None)
            if getattr(config, "output_type", "") != "generate_until":
                continue
            if int(getattr(config, "repeats", 1) or 1) != 1:
                raise Refused(
                    name,
                    f"repeats: {config.repeats} would give the same answer each time, since all "
                    "requests have one seed",
                    "take the task out of `tasks`; repeats are not supported yet",
                )
            if isinstance(config.generation_kwargs, dict):
                config.generation_kwargs = normalized(name, config.generation_kwargs, cls.ours)
                cls.check_known(name, config.generation_kwargs)

    @classmethod
    def check_known(cls, task: str, kwargs: dict[str, Any]) -> None:
        for name in (name for name in kwargs if name not in OWN):
            if cls.fields is None and name not in COMMON:
                raise Refused(
                    task,
                    f"the server does not tell whether it takes the generation argument {name!r}",
                    "leave disable_fastapi_docs out, and run it again",
                )
            if cls.fields is not None and name not in cls.fields:
                raise Refused(
                    task,
                    f"this server takes no generation argument {name!r}",
                    "take it out of gen_kwargs; one of the harness's own files is switched off by "
                    f"gen_kwargs: {{{name}: null}}",
                )

    def _create_payload(
        self, messages: Any, generate: bool = False, gen_kwargs: Any = None, **more: Any
    ) -> dict[str, Any]:
        asked = dict(gen_kwargs or {})
        made: dict[str, Any] = super()._create_payload(  # type: ignore[misc]
            messages, generate=generate, gen_kwargs=dict(asked), **more
        )
        if generate:
            task = self.instances[0].task_name if self.instances else ""
            end = [more["eos"]] if more.get("eos") else []
            made["stop"] = list(dict.fromkeys([*_texts(asked.get("until")), *end]))
            if made.get("messages") and made["messages"][-1].get("role") == "assistant":
                if self.fields is not None and "continue_final_message" not in self.fields:
                    raise Refused(
                        task,
                        "this release can't continue the answer that gen_prefix begins, by chat",
                        "leave use_chat_completions out, or name a newer vllm_version",
                    )
                made |= {"continue_final_message": True, "add_generation_prompt": False}
            check_sent(task, asked, made)
        if self.facts.new("sent", generate, asked):
            prompt = made.get("prompt")
            ids = prompt[0] if prompt and isinstance(prompt[0], list) else []
            shown = {k: v for k, v in made.items() if k not in ("prompt", "messages")}
            self.facts.write(
                kind="sent", gen_kwargs=asked, payload=shown, head=ids[:ENDS], tail=ids[-ENDS:]
            )
        return made

    # --- special tokens ----------------------------------------------------------------------

    def encoded(self, text: Any, special: bool) -> Any:
        if self.tokenizer_backend == "remote":
            remote = self.tokenizer
            body = {"prompt": text, "add_special_tokens": special}
            answer = remote._request_with_retries("POST", f"{remote.base_url}/tokenize", json=body)
            return answer.json()["tokens"]
        return self.tokenizer(
            text, add_special_tokens=special, return_attention_mask=False
        ).input_ids

    def ends(self) -> tuple[list[int], list[int]]:
        """Return the token ids that the tokenizer adds before and after a text."""
        if self._ends is None:
            self._ends = special_tokens(self.encoded)
        return self._ends

    @functools.cached_property
    def prefix_token_id(self) -> Any:
        """The token for an empty context: the beginning-of-sequence token.

        Its id may be 0, which the harness's remote tokenizer treats as missing.
        """
        bos = getattr(self.tokenizer, "bos_token_id", None)
        if self.tokenizer_backend == "remote" and bos is not None:
            given = getattr(self, "custom_prefix_token_id", None)
            return bos if given is None else given
        return super().prefix_token_id  # type: ignore[misc]

    def tok_encode(
        self,
        string: Any,
        left_truncate_len: int | None = None,
        add_special_tokens: bool | None = None,
        **more: Any,
    ) -> Any:
        backend = self.tokenizer_backend
        if backend not in ("huggingface", "remote"):
            return super().tok_encode(string, **more)  # type: ignore[misc]
        # The harness passes False for a choice whose only context is the prefix.
        special = add_special_tokens or (add_special_tokens is None and self.add_bos_token)
        special = bool(special) and not self.rolling
        end = self.ends()[1] if special else []
        one = isinstance(string, str)
        if one or backend == "remote":
            rows = [self.encoded(text, special) for text in ([string] if one else string)]
        else:
            rows = self.encoded(list(string), special)
        if end:
            rows = [row[: -len(end)] if row[-len(end) :] == end else row for row in rows]
        if left_truncate_len:
            rows = [row[-left_truncate_len:] for row in rows]
        if self.generating and not one and len(rows) == len(self.instances):
            self.check_room(rows)
        return rows[0] if one else rows

    # --- what fits into the context ----------------------------------------------------------

    def length_of(self, instance: Any) -> int:
        """Return how many tokens an answer may have."""
        return int(instance.args[1].get("max_gen_toks", self._max_gen_toks))

    def truncated(self, at: int) -> None:
        one = self.instances[at]
        self.facts.write(kind="truncated", task=one.task_name, doc=one.doc_id, request=one.idx)

    def check_room(self, prompts: Sequence[Sequence[int]]) -> None:
        """Record the prompts that will be truncated.

        Raises Refused if the task's answers leave no room for its prompts: answers alone fill the
        context, or at least half of the prompts are truncated although they fit without an answer.
        The second rule does not apply if an interrupted run accepted the task, since the remaining
        requests may be just the truncated ones.
        """
        most = self.max_length
        tasks: dict[str, list[int]] = {}
        for at, one in enumerate(self.instances):
            tasks.setdefault(one.task_name, []).append(at)
        for task, places in tasks.items():
            length = max(self.length_of(self.instances[at]) for at in places)
            sizes = [len(prompts[at]) for at in places]
            cut = [
                at for at in places if len(prompts[at]) + self.length_of(self.instances[at]) > most
            ]
            squeezed = [at for at in cut if len(prompts[at]) < most]
            most_of_them = 2 * len(squeezed) >= len(places) and task not in self.facts.accepted
            if length >= most or most_of_them:
                raise Refused(
                    task,
                    f"answers of up to {length} tokens leave {max(0, most - length)} of the "
                    f"context's {most} for prompts of {min(sizes)} - {max(sizes)} tokens",
                    "write a lower max_gen_toks in gen_kwargs, or a higher max_model_len",
                )
            for at in cut:
                self.truncated(at)

    def context_of(self, key: Any, context: list[int]) -> list[int]:
        """Return the tokens before a choice.

        For a choice with no context, these are the tokens that the tokenizer begins a text with, if
        they are more than the one token that the harness puts there.
        """
        if key is None or key[0] != "" or self.tokenizer_backend not in ("huggingface", "remote"):
            return context
        begins = self.ends()[0]
        return begins if len(begins) > 1 and len(context) == 1 else context

    def _loglikelihood_tokens(self, requests: Any, **more: Any) -> Any:
        """Call the client's method, with choices longer than the context split into windows."""
        most = self.max_length
        parts: list[Any] = []
        counts: list[int] = []
        for at, (key, before, answer) in enumerate(requests):
            context = self.context_of(key, before)
            if key is not None and len(context) + len(answer) > most and self.instances:
                self.truncated(at)
            split = [(key, context, answer)]
            if len(answer) >= most:
                utils = _module("lm_eval.utils")
                windows = utils.get_rolling_token_windows(
                    token_list=answer, prefix_token=context[-1], max_seq_len=most - 1, context_len=1
                )
                split = [(None, *utils.make_disjoint_window(window)) for window in windows]
            parts += split
            counts.append(len(split))
        found = super()._loglikelihood_tokens(parts, **more)  # type: ignore[misc]
        if len(parts) == len(counts):
            return found
        rest, out = iter(found), []
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
            for one in self.instances:
                self.check_known(one.task_name, one.args[1])
                if self.length_of(one) >= self.max_length:
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
        asked = more.get("contexts") or _prompts.get()
        if asked:
            for choice in check_choices(outputs, len(asked)):
                check_text(choice)
        found = super().parse_generations(outputs, **more)  # type: ignore[misc]
        pairs = list(zip(asked, found, strict=False))
        missing = [prompt for prompt, answer in pairs if answer is None]
        blank = [prompt for prompt, answer in pairs if answer is not None and not answer.strip()]
        for one in self.instances if missing or blank else ():
            for kind, prompts in (("null", missing), ("blank", blank)):
                if one.args[0] in prompts:
                    self.facts.write(kind=kind, task=one.task_name, doc=one.doc_id)
        return found


def _module(name: str) -> Any:
    return importlib.import_module(name)


def install(
    facts: Facts,
    ours: dict[str, Any],
    fields: Sequence[str] | None,
    observer: type[Observer] = Observer,
) -> None:
    """Install the observer in the harness's clients.

    Raises ImportError or AttributeError, with nothing changed, if the release has other code.
    """
    clients, evaluator, registry, model, utils = (
        _module(f"lm_eval.{name}")
        for name in ("models.openai_completions", "evaluator", "api.registry", "api.model", "utils")
    )
    _module("lm_eval.tasks._factory")  # releases without it pass tasks in another form
    hook, kind = model.CacheHook, _module("lm_eval.api.task").ConfigurableTask
    observer.facts, observer.ours, observer.fields = facts, ours, fields
    bases = {
        "local-completions": clients.LocalCompletionsAPI,
        "local-chat-completions": clients.LocalChatCompletion,
    }
    for base in bases.values():
        for name in vars(Observer).keys() & {
            "_create_payload",
            "tok_encode",
            "parse_generations",
            "parse_logprobs",
        }:
            getattr(base, name)
        _ = base._loglikelihood_tokens, base.amodel_call
    _ = utils.get_rolling_token_windows, utils.make_disjoint_window
    observed = {name: type(base.__name__, (observer, base), {}) for name, base in bases.items()}
    get_model, evaluate, add_partial = registry.get_model, evaluator.evaluate, hook.add_partial
    fewshot_context, hash_string = kind.fewshot_context, utils.hash_string
    serialize = utils.handle_non_serializable

    def evaluate_prepared(*args: Any, **kwargs: Any) -> Any:
        tasks = kwargs.get("task_dict") or {}
        observer.prepare((tasks.get("tasks") or {}).items())
        return evaluate(*args, **kwargs)

    def add_keyed(self: Any, attr: str, req: Any, res: Any) -> None:
        if req is not None:
            add_partial(self, attr, req, res)

    def fewshot_context_observed(
        self: Any, doc: Any, num_fewshot: int, *args: Any, **kwargs: Any
    ) -> Any:
        sampler = getattr(self, "sampler", None)
        if not num_fewshot or sampler is None:
            return fewshot_context(self, doc, num_fewshot, *args, **kwargs)
        drawn: list[Any] = []
        sample = sampler.sample

        def sample_observed(*a: Any, **k: Any) -> Any:
            found = list(sample(*a, **k))
            drawn.extend(found)
            return found

        sampler.sample = sample_observed
        try:
            context = fewshot_context(self, doc, num_fewshot, *args, **kwargs)
        finally:
            del sampler.sample
        facts.write(kind="examples", task=self.task_name)
        if doc in drawn:
            text = json.dumps(doc, indent=2, default=serialize, ensure_ascii=False)
            facts.write(kind="leaked", task=self.task_name, doc=hash_string(text))
        return context

    kind.fewshot_context = fewshot_context_observed
    registry.get_model = lambda name: observed.get(name) or get_model(name)
    evaluator.evaluate = evaluate_prepared
    hook.add_partial = add_keyed
    facts.write(kind="client")


def watch_server(settings: dict[str, Any]) -> None:
    """Check each connection to the server before it is used."""
    rooms = Path(__file__).parents[1]
    guard = _file(rooms / "process" / "guardian.py")
    peer = _file(rooms / "serving" / "peer_check.py")
    pid = settings["guardian"]
    sockets = _file(rooms / "serving" / "watched_sockets.py")
    sockets.watch(peer, *settings["server"], peer.Ours(lambda: guard.descendants(pid)))


def _file(path: Path) -> Any:
    """Load a file of benchy as a module, under a unique name."""
    spec = importlib.util.spec_from_file_location(f"_benchy_{path.stem}", path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def main(argv: list[str]) -> int:
    settings = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    watch_server(settings)
    sys.path[0] = ""  # as for `python -m lm_eval`; hides benchy's own modules
    sys.argv = ["lm_eval", *argv[3:]]  # drop "-m lm_eval", which is there for people who look at ps
    facts = Facts(settings["facts"])
    try:
        install(facts, settings["gen_kwargs"], settings["request_fields"])
    except (ImportError, AttributeError) as error:
        print(f"benchy: this harness runs unobserved: {error}", file=sys.stderr)
    try:
        runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
    except Refused as refused:
        facts.write(kind="refused", task=refused.task, what=refused.what, hint=refused.hint)
        print(f"benchy: refused: {refused.what}", file=sys.stderr, flush=True)
        os._exit(REFUSED)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
