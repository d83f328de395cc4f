"""bin/new MODEL: write a config for a model from the model's files, with the reason for each line.

Reads the model's small files (model_info.py), the provider and this machine's GPUs. The tasks are
those of TASKS; without TASKS it asks on a terminal, and elsewhere takes QUICK. Writes
configs/single_card/NAME.yaml and never overwrites a file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchy.config import task_schema
from benchy.core import names, paths
from benchy.core.errors import UsageError
from benchy.devices import gpu
from benchy.environments import model_support
from benchy.hub.model_info import ModelInfo

FOLDER = paths.CONFIGS / "single_card"
QUICK = "smoke"  # the default task of a new model: it takes seconds
SHARE = 0.8  # share of GPU memory that weights may fill; the rest is for the KV cache


@dataclass(frozen=True)
class ConfigLine:
    """A line `key: value` with its reason in a comment. key: "" for a comment alone."""

    key: str
    value: object
    why: str


def lines(
    facts: ModelInfo, provider: Mapping[str, object], cards: list[gpu.Gpu]
) -> Iterator[ConfigLine]:
    """Yield the lines below `overrides`."""
    context, max_model_len = facts.context, provider.get("max_model_len")
    if context and isinstance(max_model_len, int) and context < max_model_len:
        yield ConfigLine(
            "max_model_len", context, f"all that it has; the provider's is {max_model_len:,}"
        )
    elif context:
        yield ConfigLine("", None, f"its own context: {context:,} tokens")
    if facts.weights:
        size = f"its weights: {facts.weights / 1e9:.1f} GB"
        smallest = min((card.total for card in cards), default=0) * 2**20
        if smallest:
            need = split(facts, smallest, len(cards))
            if need > 1:
                yield ConfigLine(
                    "tensor_parallel_size", need, f"{size}, over GPUs of {_gib(smallest)}"
                )
            else:
                yield ConfigLine("", None, f"{size}, for a GPU of {_gib(smallest)}")
        else:
            yield ConfigLine("", None, f"{size}; there is no GPU here to compare with")
    if facts.dtype:
        yield ConfigLine("", None, f"its weights are {facts.dtype}; dtype: … computes in another")
    if facts.quantization:
        yield ConfigLine("", None, f"quantized: {facts.quantization}")
    if facts.own_code:
        yield ConfigLine(
            "", None, "it brings code of its own: read it, then write trust_remote_code: true"
        )
    if facts.architecture:
        known = model_support.known_by(facts.architecture)
        text = f"architecture: {facts.architecture}"
        yield ConfigLine("", None, f"{text}, known to {', '.join(known)}" if known else text)


def split(facts: ModelInfo, gpu_memory: int, most: int) -> int:
    """Return over how many GPUs to split the weights: a power of two that divides the number of
    attention heads; 1 if they fit on one GPU, or if nothing fits.

    gpu_memory: bytes of memory of each GPU. most: number of GPUs.
    """
    assert facts.weights
    number = 1
    while number <= most:
        if facts.weights <= SHARE * gpu_memory * number and not (facts.heads or 0) % number:
            return number
        number *= 2
    return 1


def _gib(size: float) -> str:
    return f"{size / 2**30:.0f} GiB"


Tasks = Mapping[str, task_schema.Task]


def tasks_of(given: str, known: Tasks) -> list[str]:
    """Return the tasks of the config. given: their names; if "", ask on a terminal. Raises
    UsageError."""
    if given.split():
        return checked(given.split(), known)
    usual = [QUICK] if QUICK in known else []
    if sys.stdin.isatty() and sys.stderr.isatty():
        return ask(known, usual)
    if not usual:
        raise UsageError("which tasks?", f"one of {', '.join(sorted(known))}", "TASKS")
    return usual


def checked(words: Sequence[str], known: Tasks) -> list[str]:
    """Return the words without duplicates. Raises UsageError if a word is not a task."""
    for word in words:
        if word not in known:
            near = names.near(word, known)
            others = f"there are {', '.join(sorted(known))}; make tasks lists the harness's"
            hint = f"did you mean {near!r}?" if near else others
            raise UsageError(f"there is no task {word!r}", hint, "TASKS")
    return list(dict.fromkeys(words))


def ask(known: Tasks, usual: list[str]) -> list[str]:
    """Ask for tasks on the terminal. usual: the tasks for an empty line. Raises UsageError."""
    print("\n".join(described(known, known)), file=sys.stderr)
    print("  make tasks lists those of the harness, for a task of your own", file=sys.stderr)
    while True:
        print(f"  Which tasks? [{' '.join(usual)}] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        try:
            if tasks := checked(line.split(), known) or usual:
                return tasks
        except UsageError as error:
            print(f"  {error}", file=sys.stderr)
        if not line:  # the terminal was closed
            raise UsageError("which tasks?", f"one of {', '.join(sorted(known))}", "TASKS")


def described(some: Iterable[str], known: Tasks) -> list[str]:
    """Return a line with the description of each task in `some`."""
    wide = max(map(len, known), default=0) + 2
    return [f"  {name.ljust(wide)}{known[name].description}".rstrip() for name in sorted(some)]


def text(
    model: str,
    facts: ModelInfo | None,
    why: str,
    provider: str,
    overrides: list[ConfigLine],
    tasks: Sequence[str],
) -> str:
    """Return the text of the config.

    Args:
        model: The model's name.
        facts: What the model's files say, None if they could not be read.
        why: The reason why they could not be read.
        provider: The provider's name.
        overrides: The lines below `overrides`.
        tasks: The tasks' names.
    """
    out = ["# yaml-language-server: $schema=../../docs/schema/model.schema.json"]
    if facts is None:
        out.append(f"# Written without a look at its files: {why}.")
    if facts and facts.gated:
        out.append("# Gated: accept the conditions on its page on the hub, then export HF_TOKEN.")
    out += ["model:", f"  name: {json.dumps(model, ensure_ascii=False)}"]
    if facts and facts.commit:
        out.append(f'  # revision: "{facts.commit}"   # its newest on that day; repeatable')
    out += ["vllm:", f'  provider_config: "{provider}"']
    keys = [line for line in overrides if line.key]
    out.append("  overrides:" if keys else "  overrides: {}")
    for line in overrides:
        if line.key:
            out.append(f"    {line.key}: {line.value}".ljust(32) + f"# {line.why}")
        else:
            out.append(f"    # {line.why}")
    if facts and facts.template is not None:
        has = "it has a chat template" if facts.template else "it has no chat template"
        out.append(f"use_chat_completions: false     # {has}; true: for tasks that generate text")
    out.append(f"tasks: {json.dumps(list(tasks))}".ljust(32) + "# configs/tasks/*.yaml")
    return "\n".join(out) + "\n"


def proposed(name: str, taken: Collection[str] = ()) -> str:
    """Return a valid config name similar to `name` that is not in `taken`."""
    fit = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("._+-")[: names.MOST - 4] or "model"
    return next(n for n in (fit, *(f"{fit}-{i}" for i in range(2, 999))) if n not in taken)
