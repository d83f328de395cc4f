"""How benchy says that something is wrong.

Two kinds. A Mistake is in something that a person wrote (a config, a knob, a command line): it
names file, line and key, says what is wrong and what to write instead, and ends the command with
status 2. A Failure is something that went wrong while working: it says what happened, which log
tells more and what to do next, and ends the command with status 1. Neither shows a traceback.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum


def printable(text: str) -> str:
    """What somebody wrote, or a program said, as a message shows it: a line break in it makes no
    second line, and neither a control character nor one that turns the order of a line round (as
    U+202E) reaches a terminal. All text from outside that is printed goes through here."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in one place.

    file: path as the person would type it, or "" for the command line.
    line: 1-based, 0 where it is not known.
    key: dotted path of the key ("vllm.overrides.max_model_len"), or "".
    what: what is wrong, one clause.  hint: what to write or do instead, one clause.
    """

    file: str
    line: int
    key: str
    what: str
    hint: str = ""

    @property
    def place(self) -> str:
        """file:line: key: what"""
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return printable(": ".join(part for part in (where, self.key, self.what) if part))

    def __str__(self) -> str:
        text = self.place
        return f"{text}\n  {printable(self.hint)}" if self.hint else text


class ConfigError(Exception):
    """All mistakes found, at once. Exit status 2."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))


class UsageError(ConfigError):
    """One mistake on the command line or in a knob. Exit status 2."""

    def __init__(self, what: str, hint: str = "", key: str = "") -> None:
        super().__init__([Mistake("", 0, key, what, hint)])


class FailureKind(str, Enum):
    """What failed, for the code that decides by it. The values stand in markers of builds."""

    OTHER = ""
    NO_SUCH_RELEASE = "no-such-release"  # a mistake in the configuration: no fallback serves
    PORT_IN_USE = "port-in-use"  # another process listens where a server was to


class Failure(Exception):
    """Something failed while working. Exit status 1.

    what: one line. hint: the next step, one or two lines.
    log: path of the whole story; its last telling lines are in `lines`.
    page: the number of its section in docs/problems.md, 0 for none.
    kind: what failed, where some code decides by it.
    """

    def __init__(
        self,
        what: str,
        hint: str = "",
        log: str | os.PathLike[str] = "",
        lines: Sequence[str] = (),
        page: int = 0,
        kind: FailureKind = FailureKind.OTHER,
    ) -> None:
        super().__init__(what)
        self.what, self.hint, self.log, self.lines = what, hint, os.fspath(log), list(lines)
        self.page, self.kind = page, kind

    def __str__(self) -> str:
        # An engine's log may hold anything; `what` may have lines of its own.
        out = [*map(printable, self.what.splitlines())] or [""]
        out += [f"  | {printable(line.expandtabs())}" for line in self.lines]
        if self.log:
            out.append(f"  log: {printable(self.log)}")
        if self.hint:
            out.extend(f"  {printable(line)}" for line in self.hint.splitlines())
        if self.page:
            out.append(f"  ({problem(self.page)})")
        return "\n".join(out)


def problem(page: int) -> str:
    """Where more is said of a known problem."""
    return f"docs/problems.md, P{page:02}"


class Died(Failure):
    """A server that was well has died under its tasks: started again, it may be well again."""

    STATUS = 75  # EX_TEMPFAIL of sysexits.h: bin/run tells it from a task that fails


AGAIN = "then run the same again: what was made is kept"


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name a file in what is raised inside: a write into a full disk names none."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = os.fspath(path)
        raise


def of_system(error: OSError) -> Failure:
    """What the system refuses, in words, and the next step where that is known."""
    what = ": ".join(filter(None, [error.strerror, str(error.filename or "")]))
    return Failure(printable(what or str(error)), printable(next_step(error)))


def next_step(error: OSError) -> str:
    """What a person does about a disk, a right or a limit that stands in the way; "" if that is not
    known."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = os.path.dirname(str(error.filename or ""))  # noqa: PTH120
        look = f"df -h {shlex.quote(place)}" if place else "df -h"
        return f"free some space ({look}; make gc, make prune-venvs), {AGAIN}"
    if error.errno == errno.EFBIG:
        return f"raise the limit of a file's size (ulimit -f), {AGAIN}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"raise the limit of open files (ulimit -n), {AGAIN}"
    if error.errno == errno.EROFS:
        return "mount that file system for writing, or work in a copy of the checkout"
    if error.errno in (errno.EACCES, errno.EPERM):
        return _whose(str(error.filename or ""))
    return ""


def _whose(path: str) -> str:
    """Of a file that may not be written or read: to whom it, or the folder that it is to be in,
    belongs."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)  # noqa: PTH120
    try:
        owner, me = os.lstat(path or ".").st_uid, os.getuid()
    except OSError:
        return ""
    if owner == me:
        return f"give yourself the right: chmod -R u+rwX {shlex.quote(path or '.')}"
    return (
        f"{path or 'this folder'} belongs to {_user(owner)}, and you are {_user(me)}: a checkout "
        "is one user's; work in your own, or have it given to you (chown -R)"
    )


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - of a command that fails

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
