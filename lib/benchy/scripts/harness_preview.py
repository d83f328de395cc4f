"""Runs the harness like harness_wrapper.py, but records its requests instead of sending them.

    ENV/bin/python lib/benchy/scripts/harness_preview.py SETTINGS.json -m lm_eval ARGUMENT…

Runs in the harness's own environment and imports nothing of benchy but the wrapper. SETTINGS.json
has the wrapper's settings and {"preview": the file to write, "tokenizer": {"name", "revision",
"trust_remote_code"}, "chat_template": the server's, null for the model's own,
"chat_template_kwargs"}.

The command line is that of a run, and the harness's client builds each request. Only the HTTP post
is replaced: it keeps the JSON body and answers at once. So a preview cannot render a prompt
differently than a run does. The harness is stopped before it scores. Writes one JSON object:

    {"prompts": [PROMPT, …], "tasks": {task: {"documents", "shots", "output"}}, "notes": [text, …],
     "prefix", "suffix": special tokens that the tokenizer adds to a text, as texts}

PROMPT, one for each request of a document (each choice is a request): {"task", "doc", "request",
"method", "target", "choices", "continuation": the choice, "leaked": whether the document is one of
its own examples, "cut": whether its left end was cut off, "sent": [SENT, …]}.

SENT, one for each prompt in each HTTP request: {"body": without its prompt, "ids": the prompt's
token ids, "by": who tokenizes the text (client or server), "text": decoded ids, with special
tokens, "tokens": a text for each id, "special": positions of special tokens, "context": number of
tokens before the choice, "before": the text of those, "prompt": what is sent if it is a text,
"messages": for chat, "rendered": by the chat template}. Unknown values are null.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchy.scripts import harness_wrapper as wrapper
else:
    import harness_wrapper as wrapper


class Previewed(BaseException):
    """All requests are recorded.

    Not an Exception, which the harness might treat as a failed request.
    """


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return a valid answer of a server: empty text, and equal log-probabilities for all tokens."""
    prompt = body.get("prompt")
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]

    def known(one: Any) -> dict[str, Any]:
        # One for each token of the prompt and the generated one. The token count of a text is not
        # known here; the client uses as many as the answer has.
        count = len(one) + 1 if isinstance(one, list) else 4 * (len(one or "") + 1)
        return {"token_logprobs": [-1.0] * count, "top_logprobs": [{"x": -1.0}] * count}

    return {
        "choices": [
            {"index": n, "text": "", "message": {"role": "assistant", "content": ""},
             "finish_reason": "stop", "logprobs": known(one)} for n, one in enumerate(prompts)
        ]
    }  # fmt: skip


class Post:
    """Replaces an aiohttp session and the module requests: post() keeps the body.

    posted: the bodies, in order.
    """

    posted: list[dict[str, Any]]

    def __init__(self, *args: Any, **more: Any) -> None:
        pass

    async def __aenter__(self) -> Post:
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass

    def post(self, url: str, *, json: dict[str, Any], **more: Any) -> Any:
        self.posted.append(json)
        return Reply(answer(json))


class Reply:
    """A response, for both ways in which the client reads one."""

    ok, status = True, 200

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    def raise_for_status(self) -> None:
        pass

    async def __aenter__(self) -> Any:
        async def said() -> dict[str, Any]:
            return self.said

        return SimpleNamespace(ok=True, status=200, raise_for_status=lambda: None, json=said)

    async def __aexit__(self, *error: Any) -> None:
        pass

    def json(self) -> dict[str, Any]:
        return self.said


class Facts(wrapper.Facts):
    """The wrapper's facts, also kept in memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.all: list[dict[str, Any]] = []

    def write(self, **fact: Any) -> None:
        self.all.append(fact)
        super().write(**fact)


class Recorder(wrapper.Observer):
    """An observer that sends the requests one at a time and records them."""

    facts: Facts
    tasks: dict[str, Any]
    prompts: list[tuple[Any, list[dict[str, Any]], dict[tuple[int, ...], int]]]
    client: Any = None  # the last client that made requests
    contexts: dict[tuple[int, ...], int]  # prompt → number of its tokens before the choice

    @classmethod
    def prepare(cls, tasks: Any) -> None:
        cls.tasks = dict(tasks)
        super().prepare(cls.tasks.items())

    def alone(self, method: Callable[..., Any], requests: Any, **more: Any) -> list[Any]:
        """Make each request in its own call, so that its posts can be assigned to it."""
        type(self).client = self
        found: list[Any] = []
        for one in requests:
            Post.posted, self.contexts = [], {}
            found += method([one], **more)
            self.prompts.append((one, Post.posted, self.contexts))
        return found

    def loglikelihood(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().loglikelihood, requests, **more)

    def loglikelihood_rolling(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().loglikelihood_rolling, requests, **more)

    def generate_until(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().generate_until, requests, **more)

    def batch_loglikelihood_requests(self, chunks: Any) -> Any:
        found = super().batch_loglikelihood_requests(chunks)  # type: ignore[misc]
        self.contexts |= {tuple(ids): n for ids, n in zip(found[0], found[1], strict=True)}
        return found

    def check_room(self, prompts: Any) -> None:
        """Record whether a prompt is cut. Raises Refused if answers alone fill the context.

        Unlike a run, a preview cannot refuse a task because half of its prompts are cut: it sees
        one prompt at a time.
        """
        one = self.instances[0]
        if self.length_of(one) >= self.max_length:
            super().check_room(prompts)
        elif len(prompts[0]) + self.length_of(one) > self.max_length:
            self.truncated(0)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def install(facts: Facts, settings: dict[str, Any]) -> None:
    """Install the recorder in the harness's clients, and Post instead of the network.

    Raises ImportError or AttributeError if the release has other code.
    """
    client, task = _module("lm_eval.models.api_models"), _module("lm_eval.api.task")
    _ = client.requests.post, client.ClientSession, client.TemplateAPI.batch_loglikelihood_requests
    wrapper.install(facts, settings["gen_kwargs"], settings["request_fields"], Recorder)
    client.requests, client.ClientSession = Post(), Post

    def stop(self: Any) -> None:
        raise Previewed

    for kind in (task.Task, task.ConfigurableTask):
        kind.apply_filters = stop  # the first call after all requests are answered


class Words:
    """Texts and tokens of prompts, by the model's tokenizer. load: returns it, or raises."""

    def __init__(self, load: Callable[[], Any], settings: dict[str, Any]) -> None:
        self.settings, self.notes = settings, list[str]()
        self.tokenizer: Any = None
        try:
            self.tokenizer = load()
            self.special = {int(n) for n in self.tokenizer.all_special_ids}
            # all_special_ids does not contain a template's own tokens (<|user|>).
            added = getattr(self.tokenizer, "added_tokens_decoder", {})
            self.special |= {int(n) for n, token in added.items() if token.special}
        except Exception as error:  # a model's files can raise anything
            self.note(f"the tokenizer can't be loaded here: {type(error).__name__}: {error}"[:300])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def encode(self, text: str, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special).input_ids)

    def ends(self) -> dict[str, Any]:
        """Return the special tokens that the tokenizer adds around a text, as texts."""
        if self.tokenizer is None:
            return {"prefix": None, "suffix": None}
        both = wrapper.special_tokens(self.encode)
        return dict(zip(("prefix", "suffix"), map(self.texts, both), strict=True))

    def texts(self, ids: list[int]) -> list[str]:
        return [self.text([n]) for n in ids]

    def text(self, ids: list[int]) -> str:
        return str(
            self.tokenizer.decode(
                ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def of(self, ids: list[int] | None, text: str | None, by: str) -> dict[str, Any]:
        """Return the fields of SENT for token ids, or for a text if the ids are not known."""
        if self.tokenizer is None or ids is None:
            return {"ids": ids, "by": by, "text": text, "tokens": None, "special": None}
        return {
            "ids": ids,
            "by": by,
            "text": self.text(ids),
            "tokens": self.texts(ids),
            "special": [at for at, n in enumerate(ids) if n in self.special],
        }

    def sent(self, prompt: Any) -> dict[str, Any]:
        """Return the fields of SENT for a prompt of the completions API.

        The prompt is a list of token ids or a text. The server encodes a text with the special
        tokens that its tokenizer adds.
        """
        if not isinstance(prompt, str):
            return self.of(list(prompt), None, "client")
        ids = None if self.tokenizer is None else self.encode(prompt, True)
        return {**self.of(ids, prompt, "server"), "prompt": prompt}

    def rendered(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of SENT for a chat request, rendered as the server does.

        The server applies its template and adds no other special tokens, unless the request sets
        add_special_tokens.
        """
        turns, text = body["messages"], None
        if self.tokenizer is not None:
            try:
                text = self.tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    chat_template=body.get("chat_template") or self.settings["chat_template"],
                    add_generation_prompt=body.get("add_generation_prompt", True),
                    continue_final_message=body.get("continue_final_message", False),
                    **{
                        **(self.settings["chat_template_kwargs"] or {}),
                        **(body.get("chat_template_kwargs") or {}),
                    },
                )
            except Exception as error:  # a template can raise anything
                self.note(f"the chat template fails: {type(error).__name__}: {error}"[:300])
        special = bool(body.get("add_special_tokens", False))
        ids = None if text is None else self.encode(text, special)
        found = self.of(ids, text, "server")
        return {**found, "messages": turns, "rendered": text}


def load(settings: dict[str, Any]) -> Any:
    """Return the client's tokenizer if it is one of transformers, else that of the settings."""
    own = getattr(Recorder.client, "tokenizer", None)
    if hasattr(own, "all_special_ids"):
        return own
    asked = settings["tokenizer"]
    return _module("transformers").AutoTokenizer.from_pretrained(
        asked["name"],
        revision=asked["revision"] or "main",
        trust_remote_code=asked["trust_remote_code"],
    )


def described(facts: Facts, settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was recorded, in the form of the output file."""
    words = Words(lambda: load(settings), settings)
    utils = _module("lm_eval.utils")
    leaked = {(f["task"], f["doc"]) for f in facts.all if f["kind"] == "leaked"}
    cut = {(f["task"], f["doc"], f["request"]) for f in facts.all if f["kind"] == "truncated"}
    prompts = []
    for one, posted, contexts in Recorder.prompts:
        task, sent = Recorder.tasks[one.task_name], []
        for body in posted:
            shown = {k: v for k, v in body.items() if k not in ("prompt", "messages")}
            if "messages" in body:
                sent.append({"body": shown, **words.rendered(body)})
                continue
            whole = body["prompt"]
            several = isinstance(whole, list) and not isinstance(whole[0], int)
            for prompt in whole if several else [whole]:
                found = {"body": shown, **words.sent(prompt)}
                if not isinstance(prompt, str):
                    at = contexts.get(tuple(prompt))
                    found["context"] = at
                    found["before"] = words.text(prompt[:at]) if at and words.tokenizer else None
                sent.append(found)
        text = json.dumps(
            one.doc, indent=2, default=utils.handle_non_serializable, ensure_ascii=False
        )
        asked = {"task": one.task_name, "doc": one.doc_id, "request": one.idx}
        entry = {**asked, "method": one.request_type, "target": None, "choices": None}
        with contextlib.suppress(Exception):  # a task's own code
            entry["target"] = task.doc_to_target(one.doc)
        with contextlib.suppress(Exception):
            if task.config.doc_to_choice is not None:
                entry["choices"] = task.doc_to_choice(one.doc)
        entry["leaked"] = (one.task_name, utils.hash_string(text)) in leaked
        entry["cut"] = tuple(asked.values()) in cut
        entry["continuation"] = one.args[1] if one.request_type == "loglikelihood" else None
        entry["sent"] = sent
        prompts.append(entry)
    tasks = {}
    for name, task in Recorder.tasks.items():
        about: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            about["documents"] = len(task.eval_docs)
        with contextlib.suppress(Exception):
            about["shots"] = task.config.num_fewshot or 0
            about["output"] = task.config.output_type
        tasks[name] = about
    return {"prompts": prompts, "tasks": tasks, "notes": words.notes, **words.ends()}


def main(argv: list[str]) -> int:
    settings = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    sys.path[0] = ""  # as in the wrapper
    sys.argv = ["lm_eval", *argv[3:]]
    facts = Facts(settings["facts"])
    Recorder.tasks, Recorder.prompts = {}, []
    try:
        install(facts, settings)
    except (ImportError, AttributeError) as error:
        print(f"benchy: this harness has other code: {error}", file=sys.stderr)
        return 1
    try:
        runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
    except Previewed:
        pass
    except wrapper.Refused as refused:
        facts.write(kind="refused", task=refused.task, what=refused.what, hint=refused.hint)
        print(f"benchy: refused: {refused.what}", file=sys.stderr, flush=True)
        os._exit(wrapper.REFUSED)
    text = json.dumps(described(facts, settings), default=str)
    Path(settings["preview"]).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
