"""Checks of the tasks' generation arguments (gen_kwargs) that need no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchy.config import task_schema
from benchy.config.configuration import ModelConfig
from benchy.config.yaml_file import Document
from benchy.core.errors import Mistake
from benchy.core.names import near
from benchy.scripts.harness_arguments import LENGTHS, OWN, SEVERAL, STOPS, TYPES

HARNESS = (*sorted(OWN), *LENGTHS, *STOPS, *SEVERAL)  # read by the harness or its wrapper
# Fields of a request that benchy or the harness sets, or that change the form of an answer.
REQUEST = ("echo", "logprobs", "messages", "model", "prompt", "stream", "stream_options")


def refused(kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, what is wrong, hint) for each argument that no harness can obey."""
    for name in SEVERAL:
        if kwargs.get(name) not in (None, 1):
            what = f"{kwargs[name]} requests several answers, but only one is scored"
            yield name, what, "write 1"
    for name, (good, kind) in TYPES.items():
        if kwargs.get(name) is not None and not good(kwargs[name]):
            yield name, f"{kwargs[name]!r} is not {kind}", f"write {kind}"
    for name in REQUEST:
        if name in kwargs:
            yield name, "is not a generation argument", "leave it out"
    if "max_length" in kwargs:
        yield "max_length", "counts the prompt too, and no server accepts it", "write max_gen_toks"
    temperature = kwargs.get("temperature")
    if kwargs.get("do_sample") is True and not temperature:
        yield "do_sample", "has no effect at temperature 0", "write temperature: 1.0, or another"
    if kwargs.get("do_sample") is False and temperature:
        yield "temperature", "has no effect with do_sample: false", "remove one of them"


def of_model(
    model: ModelConfig, tasks: Mapping[str, task_schema.Task], documents: Mapping[str, Document]
) -> Iterator[Mistake]:
    """Yield mistakes in the generation arguments of a model's tasks.

    These are arguments that the engine does not accept, and answer lengths that leave no room for a
    prompt in the model's context. documents: file → its document.
    """
    fields, context = model.engine.request_options, model.options.get("max_model_len")
    for name in model.tasks:
        task, document = tasks.get(name), documents.get(f"configs/tasks/{name}.yaml")
        if not task or not document:
            continue
        kwargs = {key: value for key, value in task.gen_kwargs.items() if value is not None}
        for key in kwargs if fields else ():
            if key in fields or key in HARNESS or key in REQUEST or key == "max_length":
                continue
            nearest = near(key, [*fields, *HARNESS])
            new = f"or, if a newer release has it, add it to request_options of {model.engine_name}"
            hint = f"did you mean {nearest!r}? {new}" if nearest else f"remove it, {new}"
            what = f"is not a generation argument of {model.engine_name}"
            yield document.mistake(("gen_kwargs", key), what, hint)
        for key in (key for key in LENGTHS if key in kwargs):
            if isinstance(context, int) and isinstance(kwargs[key], int) and kwargs[key] >= context:
                yield document.mistake(
                    ("gen_kwargs", key),
                    f"answers of up to {kwargs[key]} tokens leave no room for a prompt in "
                    f"max_model_len {context} of {model.name}",
                    f"lower it, or raise max_model_len ({model.origin['max_model_len']})",
                )
