"""Diagnoses the log of a failed engine: explains the failure and finds the lines that show it.

The formats are those of vLLM 0.6 to 0.32, uvicorn and Python's tracebacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from benchy.core.errors import FailureKind
from benchy.environments import model_support
from benchy.serving.known_failures import KNOWN, KnownFailure

# Process, level, time and source in front of a message.
_PREFIX = re.compile(
    r"^(?:\([^()]*pid=\d+\) ?)*"
    r"(?:(?:ERROR|CRITICAL|WARNING|INFO) [\d-]+ [\d:.]+ (?:\[[^\]]*\]|\S+) ?)?"
)
_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w]*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt|Expired|Refused)\b[:(]?"
    r"|^Exception:|^\S+: error: |^(?:Fatal|Killed|Segmentation fault|Bus error|Aborted)"
)
_REQUEST = re.compile(r'INFO: +\S+ - "')  # uvicorn logs one for each request
# Lines that report no failure.
_CALM = re.compile(r"^(?:\([^()]*pid=\d+\) ?)*(?:DEBUG|INFO|WARNING)\b")
_ERROR = re.compile(r"^(?:\([^()]*pid=\d+\) ?)*(?:ERROR|CRITICAL)\b")
# Lines that end the message of an exception.
_AFTER = re.compile(
    r"Traceback|  File |Process |INFO:|The above exception|During handling|.*failed to start\.$"
)
# Messages of a process about the end of another one.
_ECHO = re.compile(
    r"See (?:root cause above|stack trace)|Engine core initialization failed|"
    r"WorkerProc initialization failed|^SystemExit|^KeyboardInterrupt|CancelledError|"
    r"^(?:\w+\.)*EngineDeadError|died unexpectedly|^RuntimeError: (?:Executor failed|cancelled)"
)
_TRACEBACK = "Traceback (most recent call last)"
_HANDLING = "During handling of the above exception, another exception occurred"
_DEVICE = re.compile(r"CUDA|NVIDIA|GPU|[Dd]evice")


class Explanation(NamedTuple):
    """The explanation of a failure.

    Attributes:
        what: What happened, one clause.
        hint: What to do, and where to read more.
        kind: Kind of the failure, for code that depends on it.
    """

    what: str
    hint: str
    kind: FailureKind = FailureKind.OTHER


@dataclass
class _Raised:
    """An exception in a log.

    `lines` are its name and message. `handled` says whether another exception was raised while this
    one was handled.
    """

    lines: list[str]
    handled: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class _Evidence:
    """The texts of a log in which patterns are searched.

    Attributes:
        log: The whole log.
        causes: Errors, and exceptions that no other exception followed. In a log without an
            exception: the log without its warnings and information.
        handled: Exceptions whose handling raised another one.
        raised: Whether the log has an exception.
    """

    log: str
    causes: list[str]
    handled: list[str]
    raised: bool

    def texts(self, known: KnownFailure) -> list[str]:
        """Return the texts that may contain this failure, the strongest evidence first."""
        if known.silent and self.raised:
            return []
        texts = self.causes if known.loose else [*self.causes, *self.handled]
        if known.warned and any(_DEVICE.search(text) for text in self.causes):
            return [*texts, self.log]
        return texts


def explain(log: str) -> Explanation | None:
    """Return the explanation of an engine's log, or None if the failure is not known.

    The cause is an exception or an error in the log; other messages and warnings do not count. The
    death of a process is the explanation only if the log has no exception.
    """
    evidence = _evidence(log)
    for known in KNOWN:
        for text in evidence.texts(known):
            if match := _search(known, text):
                return _explanation(known, match)
    return None


def _evidence(log: str) -> _Evidence:
    exceptions = _exceptions(log)
    lines = [line for line in log.splitlines() if not _CALM.match(line)]
    if not exceptions:
        return _Evidence(log, ["\n".join(lines)], [], raised=False)
    messages = {line for exception in exceptions for line in exception.lines}
    errors = [_PREFIX.sub("", line) for line in lines if _ERROR.match(line)]
    # Indented lines are the frames and the source of a traceback.
    errors = [
        line
        for line in errors
        if line
        and line not in messages
        and not _ECHO.search(line)
        and not line.startswith((" ", "Traceback"))
    ]
    last = [exception.text for exception in exceptions if not exception.handled]
    handled = [exception.text for exception in exceptions if exception.handled]
    return _Evidence(log, [*errors, *last], handled, raised=True)


def _search(known: KnownFailure, text: str) -> re.Match[str] | None:
    return re.search(known.pattern, text, re.DOTALL if known.multiline else 0)


def _explanation(known: KnownFailure, match: re.Match[str]) -> Explanation:
    groups = {key: value or "" for key, value in match.groupdict().items()}
    incomplete = known.vague_hint and not all(groups.values())
    hint = (known.vague_hint if incomplete else known.hint).format(**groups)
    if architecture := groups.get("arch") or groups.get("arch2"):
        hint = "\n".join(filter(None, [hint, model_support.advice(architecture)]))
    return Explanation(known.what.format(**groups), f"{hint}\n({known.where})", known.kind)


def significant_lines(log: str, n: int = 12) -> list[str]:
    """Return up to `n` lines that show the cause: the log's exceptions, or else its last lines.

    Removes prefixes with process and time, repeated lines, and exceptions that only report an
    exception of another process.
    """
    chosen: list[str] = []
    for exception in _exceptions(log):
        chosen += [text[:300] for text in exception.lines[:4] if text[:300] not in chosen]
    if not chosen:
        lines = [(origin, line[:300]) for origin, line in _lines(log)]
        plain = [(o, line) for o, line in lines if not line.startswith((" ", "Traceback"))]
        errors = [line for origin, line in plain if _ERROR.match(origin)]
        chosen = list(dict.fromkeys(errors)) or [line for _, line in plain or lines]
    return chosen[-n:]


def _lines(log: str) -> list[tuple[str, str]]:
    """Return (origin, message) of each line, without requests and empty lines.

    The origin is the prefix without its time: a message continues while it stays the same.
    """
    messages = []
    for text in log.splitlines():
        line = text.rstrip()
        message = _PREFIX.sub("", line)
        if message and not _REQUEST.match(line):
            prefix = line[: len(line) - len(message)]
            messages.append((re.sub(r"[\d:.-]+ .*", "", prefix), message))
    return messages


def _exceptions(log: str) -> list[_Raised]:
    """Return the exceptions of a log in order.

    Leaves out exceptions that only report the failure of another process.
    """
    lines = _lines(log)
    exceptions: list[_Raised] = []
    in_traceback = set()  # origins
    last: dict[str, _Raised] = {}  # origin → its last exception
    for at, (origin, line) in enumerate(lines):
        if line.startswith(_TRACEBACK):
            in_traceback.add(origin)
            continue
        if line.startswith(_HANDLING):
            if origin in last:
                last[origin].handled = True
            continue
        ends_traceback = origin in in_traceback and not line.startswith(" ")
        if ends_traceback:
            in_traceback.discard(origin)
        if not (ends_traceback or _EXCEPTION.search(line)) or _CALM.match(origin + line):
            continue
        last[origin] = _Raised([line, *_continuation(origin, lines[at + 1 : at + 9])])
        if not _ECHO.search(line):
            exceptions.append(last[origin])
    return exceptions


def _continuation(origin: str, following: list[tuple[str, str]]) -> list[str]:
    """Return the further lines of an exception's message.

    A traceback, another exception or a line of another origin ends it.
    """
    more = []
    for other, line in following:
        if other != origin or _EXCEPTION.search(line) or _AFTER.match(line):
            break
        more.append(line)
    return more
