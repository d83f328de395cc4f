"""Generation arguments of tasks: the harness's own names for them, and which are refused.

Used by harness_observer.py in the harness's environment, and by benchy before a task starts.
Imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stops(value: Any) -> bool:
    return all(isinstance(text, str) for text in (value if isinstance(value, list) else [value]))


# Argument → (check of its value, the expected value in words).
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{name: (_positive, "a whole number from 1 up") for name in LENGTHS},
    **{name: (_number, "a number") for name in ("temperature", "top_p", "min_p")},
    **{name: (_stops, "a text or a list of texts") for name in ("until", *STOPS)},
    "do_sample": (lambda value: isinstance(value, bool), "true or false"),
}


class TaskRefused(BaseException):
    """A task that must not be evaluated. Not an Exception, which the harness would retry."""

    def __init__(self, task: str, what: str, hint: str) -> None:
        super().__init__(what)
        self.task, self.what, self.hint = task, what, hint


def normalized(task: str, given: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return a task's generation arguments in the harness's own names.

    ours: arguments of benchy's task file, which take precedence. Raises Refused.
    """
    kwargs = {key: value for key, value in given.items() if value is not None}
    for name, (valid, kind) in TYPES.items():
        if name in kwargs and not valid(kwargs[name]):
            raise TaskRefused(task, f"{name}: {kwargs[name]!r} is not {kind}", f"write {kind}")
    lengths = {name: kwargs.pop(name) for name in LENGTHS if name in kwargs}
    for name in sorted(lengths, key=lambda name: name not in ours)[:1]:
        kwargs["max_gen_toks"] = lengths[name]
    for name in SEVERAL:
        if kwargs.pop(name, 1) != 1:
            raise TaskRefused(
                task,
                f"{name}: {given[name]} asks for several answers, and only one is scored",
                f"write gen_kwargs: {{{name}: 1}}",
            )
    stops = [*texts(kwargs.get("until")), *(t for n in STOPS for t in texts(kwargs.pop(n, None)))]
    if stops or "until" in kwargs:
        kwargs["until"] = list(dict.fromkeys(stops))
    temperature = float(kwargs.get("temperature") or 0)
    sampled = kwargs.get("do_sample")
    if sampled is None or ("temperature" in ours and "do_sample" not in ours):
        sampled = temperature > 0
    return {**kwargs, "do_sample": sampled, "temperature": temperature if sampled else 0.0}


def texts(value: Any) -> list[str]:
    """Return one or several texts as a list; [] for None."""
    return [value] if isinstance(value, str) else list(value or [])


def check_accepted(task: str, names: Iterable[str], fields: Sequence[str] | None) -> None:
    """Raise Refused if a generation argument is accepted by neither harness nor server.

    Args:
        task: Name of the task, for the error.
        names: Names of its generation arguments.
        fields: Field names that the server accepts; None if not known.
    """
    for name in (name for name in names if name not in OWN):
        if fields is None and name not in COMMON:
            raise TaskRefused(
                task,
                f"the server does not say whether it accepts the generation argument {name!r}",
                "remove disable_fastapi_docs, and run it again",
            )
        if fields is not None and name not in fields:
            raise TaskRefused(
                task,
                f"this server accepts no generation argument {name!r}",
                "remove it from gen_kwargs; if the harness's own file sets it, write "
                f"gen_kwargs: {{{name}: null}}",
            )


def check_sent(task: str, requested: dict[str, Any], payload: dict[str, Any]) -> None:
    """Raise Refused unless each generation argument is in the payload of its request."""
    expected = {
        key: value for key, value in requested.items() if key not in OWN and value is not None
    }
    if "max_gen_toks" in requested:
        expected["max_tokens"] = requested["max_gen_toks"]
    if requested.get("temperature") is not None:
        expected["temperature"] = requested["temperature"]
    lost = [f"{key}: {value!r}" for key, value in expected.items() if payload.get(key) != value]
    stops = payload.get("stop") or []
    lost += [f"until: {stop!r}" for stop in texts(requested.get("until")) if stop not in stops]
    if lost:
        raise TaskRefused(
            task,
            f"generation arguments that do not reach the request: {', '.join(lost)}",
            "remove them from gen_kwargs, or set another harness_version",
        )
