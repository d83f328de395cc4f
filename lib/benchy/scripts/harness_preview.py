"""Runs the harness like harness_wrapper.py, but records its requests instead of sending them.

    ENV/bin/python lib/benchy/scripts/harness_preview.py SETTINGS.json -m lm_eval ARGUMENT…

Runs in the harness's own environment and imports nothing of benchy but its sibling scripts.
SETTINGS.json has the wrapper's settings and {"preview": the file to write, "tokenizer": {"name",
"revision", "trust_remote_code"}, "chat_template": the server's, null for the model's own,
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_arguments import REFUSED, TaskRefused
    from benchy.scripts.harness_clients import install as install_observer
    from benchy.scripts.harness_observations import FactsFile
    from benchy.scripts.harness_observer import Observer
    from benchy.scripts.harness_posts import Post
    from benchy.scripts.harness_texts import Texts
else:  # in the harness's environment, where benchy is not a package
    from harness_arguments import REFUSED, TaskRefused
    from harness_clients import install as install_observer
    from harness_observations import FactsFile
    from harness_observer import Observer
    from harness_posts import Post
    from harness_texts import Texts


class Previewed(BaseException):
    """All requests are recorded.

    Not an Exception, which the harness might treat as a failed request.
    """


class RecordedFacts(FactsFile):
    """The wrapper's facts, also kept in memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.all: list[dict[str, Any]] = []

    def write(self, **fact: Any) -> None:
        self.all.append(fact)
        super().write(**fact)


class Recorder(Observer):
    """An observer that sends the requests one at a time and records them."""

    facts: RecordedFacts
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
        results: list[Any] = []
        for request in requests:
            Post.posted, self.contexts = [], {}
            results += method([request], **more)
            self.prompts.append((request, Post.posted, self.contexts))
        return results

    def loglikelihood(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().loglikelihood, requests, **more)

    def loglikelihood_rolling(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().loglikelihood_rolling, requests, **more)

    def generate_until(self, requests: Any, **more: Any) -> Any:
        return self.alone(super().generate_until, requests, **more)

    def batch_loglikelihood_requests(self, chunks: Any) -> Any:
        batch = super().batch_loglikelihood_requests(chunks)  # type: ignore[misc]
        self.contexts |= {tuple(ids): n for ids, n in zip(batch[0], batch[1], strict=True)}
        return batch

    def check_room(self, prompts: Any) -> None:
        """Record whether a prompt is cut. Raises Refused if answers alone fill the context.

        Unlike a run, a preview cannot refuse a task because half of its prompts are cut: it sees
        one prompt at a time.
        """
        length = self.length_of(self.instances[0])
        if length >= self.max_length:
            super().check_room(prompts)
        elif len(prompts[0]) + length > self.max_length:
            self.truncated(0)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def install(facts: RecordedFacts, settings: dict[str, Any]) -> None:
    """Install the recorder in the harness's clients, and Post instead of the network.

    Raises ImportError or AttributeError if the release has other code.
    """
    client, task = _module("lm_eval.models.api_models"), _module("lm_eval.api.task")
    _ = client.requests.post, client.ClientSession, client.TemplateAPI.batch_loglikelihood_requests
    install_observer(facts, settings["gen_kwargs"], settings["request_fields"], Recorder)
    client.requests, client.ClientSession = Post(), Post

    def stop(self: Any) -> None:
        raise Previewed

    for kind in (task.Task, task.ConfigurableTask):
        kind.apply_filters = stop  # the first call after all requests are answered


def load(settings: dict[str, Any]) -> Any:
    """Return the client's tokenizer if it is one of transformers, else that of the settings."""
    own = getattr(Recorder.client, "tokenizer", None)
    if hasattr(own, "all_special_ids"):
        return own
    named = settings["tokenizer"]
    return _module("transformers").AutoTokenizer.from_pretrained(
        named["name"],
        revision=named["revision"] or "main",
        trust_remote_code=named["trust_remote_code"],
    )


def described(facts: RecordedFacts, settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was recorded, in the form of the output file."""
    texts = Texts(lambda: load(settings), settings)
    leaked = {(f["task"], f["doc"]) for f in facts.all if f["kind"] == "leaked"}
    cut = {(f["task"], f["doc"], f["request"]) for f in facts.all if f["kind"] == "truncated"}
    prompts = []
    for request, bodies, contexts in Recorder.prompts:
        key = {"task": request.task_name, "doc": request.doc_id, "request": request.idx}
        scored = request.request_type == "loglikelihood"
        prompts.append(
            {
                **key,
                "method": request.request_type,
                **_expected(Recorder.tasks[request.task_name], request.doc),
                "leaked": (request.task_name, _hash(request.doc)) in leaked,
                "cut": tuple(key.values()) in cut,
                "continuation": request.args[1] if scored else None,
                "sent": [sent for body in bodies for sent in _sent(body, contexts, texts)],
            }
        )
    tasks = {name: _about(task) for name, task in Recorder.tasks.items()}
    return {"prompts": prompts, "tasks": tasks, "notes": texts.notes, **texts.ends()}


def _sent(
    body: dict[str, Any], contexts: dict[tuple[int, ...], int], texts: Texts
) -> Iterator[dict[str, Any]]:
    """Yield SENT for each prompt of a request."""
    shown = {key: value for key, value in body.items() if key not in ("prompt", "messages")}
    if "messages" in body:
        yield {"body": shown, **texts.rendered(body)}
        return
    prompts = body["prompt"]
    if not isinstance(prompts, list) or isinstance(prompts[0], int):
        prompts = [prompts]
    for prompt in prompts:
        sent = {"body": shown, **texts.sent(prompt)}
        if not isinstance(prompt, str):
            length = contexts.get(tuple(prompt))
            sent["context"] = length
            readable = bool(length and texts.tokenizer)
            sent["before"] = texts.text(prompt[:length]) if readable else None
        yield sent


def _expected(task: Any, doc: Any) -> dict[str, Any]:
    """Return the target and the choices of a document. The task's own code may raise anything."""
    expected = {"target": None, "choices": None}
    with contextlib.suppress(Exception):
        expected["target"] = task.doc_to_target(doc)
    with contextlib.suppress(Exception):
        if task.config.doc_to_choice is not None:
            expected["choices"] = task.doc_to_choice(doc)
    return expected


def _hash(doc: Any) -> str:
    """Return the harness's hash of a document."""
    utils = _module("lm_eval.utils")
    text = json.dumps(doc, indent=2, default=utils.handle_non_serializable, ensure_ascii=False)
    return str(utils.hash_string(text))


def _about(task: Any) -> dict[str, Any]:
    """Return the known facts of a task."""
    about: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        about["documents"] = len(task.eval_docs)
    with contextlib.suppress(Exception):
        about["shots"] = task.config.num_fewshot or 0
        about["output"] = task.config.output_type
    return about


def main(argv: list[str]) -> int:
    settings = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    sys.path[0] = ""  # as in the wrapper
    sys.argv = ["lm_eval", *argv[3:]]
    facts = RecordedFacts(settings["facts"])
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
    except TaskRefused as refused:
        facts.write(kind="refused", task=refused.task, what=refused.what, hint=refused.hint)
        print(f"benchy: refused: {refused.what}", file=sys.stderr, flush=True)
        os._exit(REFUSED)
    text = json.dumps(described(facts, settings), default=str)
    Path(settings["preview"]).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
