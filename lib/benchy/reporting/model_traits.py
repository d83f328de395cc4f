"""Traits of a result's model and prompts, by which a reader sorts and filters.

They are the number of shots, chat or not, dtype, parameters and license. The page has them as
columns, and CSV and JSON have them as fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchy.evaluation.result import Result


@dataclass(frozen=True)
class Trait:
    """A cell of a trait's column. value: the number to sort by, if there is one; more: additional
    text."""

    text: str = ""
    value: int | None = None
    more: str = ""


# (title, whether it is a number, description)
COLUMNS = (
    ("Shots", True, "examples in each prompt, as the harness used them"),
    ("Chat", False, "asked through the chat endpoint"),
    ("dtype", False, "what the engine computed in, and what the weights are stored in"),
    ("Parameters", True, "how many, in the weights"),
    ("License", False, "as the card of the model names it"),
)


def shots(results: Sequence[Result]) -> int | str | None:
    """Return the number of examples in a prompt; "0 to 5" if it differs, None if unknown."""
    used: set[int] = set()
    for result in results:
        requested = result.task.num_fewshot
        used |= set(result.task.shots.values())
        if not result.task.shots and requested is not None:
            used.add(requested)
    if len(used) > 1:
        return f"{min(used)} to {max(used)}"
    return next(iter(used), None)


def count(parameters: int) -> str:
    """Format a number of parameters, such as 135M or 1.54B."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{unit}"
    return str(parameters)


def of(results: Sequence[Result]) -> list[Trait]:
    """Return a trait for each of COLUMNS, from all results of a model; empty if unknown."""
    used = shots(results)
    chat = {result.chat for result in results}
    computed = _distinct(result.engine.dtype for result in results)
    stored = _distinct(result.model.dtype for result in results)
    sizes = sorted({result.model.parameters for result in results if result.model.parameters})
    more = f"weights {stored}" if stored and stored != computed else ""
    return [
        Trait("" if used is None else str(used), used if isinstance(used, int) else None),
        Trait("some tasks" if len(chat) > 1 else "yes" if True in chat else "no"),
        Trait(computed, more=more),
        Trait(", ".join(map(count, sizes)), sizes[-1] if sizes else None),
        Trait(_distinct(result.model.license for result in results)),
    ]


def _distinct(texts: Iterable[str | None]) -> str:
    return ", ".join(sorted({text for text in texts if text}))


def flat(result: Result) -> dict[str, int | str | bool | None]:
    """Return the traits of one result as fields of CSV and JSON. dtype: what the engine computed
    in."""
    return {
        "shots": shots([result]),
        "chat": result.chat,
        "dtype": result.engine.dtype,
        "weights_dtype": result.model.dtype,
        "parameters": result.model.parameters,
        "license": result.model.license,
    }
