"""Errors that benchy reports to a person.

There are two kinds, and neither shows a traceback. A Mistake is in something that a person wrote: a
config, a knob or a command line. It names the file, the line and the key, says what is wrong and
what to write instead, and ends the command with status 2. A Failure happens while working. It says
what happened, which log has the details and what to do next, and ends the command with status 1.
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
    """Return text that is safe to print to a terminal.

    Escapes line breaks, control characters and characters that change the direction of text (such
    as U+202E). All text from outside benchy that is printed passes through this function.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in one place.

    Attributes:
        file: Path as a person would type it, or "" for the command line.
        line: Line number from 1, or 0 if it is not known.
        key: Dotted path of the key ("vllm.overrides.max_model_len"), or "".
        what: What is wrong, in one clause.
        hint: What to write or do instead, in one clause.
    """

    file: str
    line: int
    key: str
    what: str
    hint: str = ""

    @property
    def place(self) -> str:
        """The location and what is wrong: `file:line: key: what`."""
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return printable(": ".join(part for part in (where, self.key, self.what) if part))

    def __str__(self) -> str:
        text = self.place
        return f"{text}\n  {printable(self.hint)}" if self.hint else text


class ConfigError(Exception):
    """All mistakes that were found, reported together. Exit status 2."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))


class UsageError(ConfigError):
    """One mistake on the command line or in a knob. Exit status 2."""

    def __init__(self, what: str, hint: str = "", key: str = "") -> None:
        super().__init__([Mistake("", 0, key, what, hint)])


class FailureKind(str, Enum):
    """The kind of a failure, for code that depends on it.

    The marker files of failed builds store the values.
    """

    OTHER = ""
    NO_SUCH_RELEASE = "no-such-release"  # a mistake in the configuration: no fallback is tried
    PORT_IN_USE = "port-in-use"  # another process listens on the server's port


class Failure(Exception):
    """A failure while working. Exit status 1.

    Attributes:
        what: What happened, in one line.
        hint: The next step, in one or two lines.
        log: Path of the complete log.
        lines: The relevant last lines of the log.
        page: Number of the section in docs/problems.md, or 0 for none.
        kind: The kind of the failure, for code that depends on it.
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
        # An engine's log can contain any bytes, and `what` can have several lines.
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
    """Return the reference to a section of docs/problems.md."""
    return f"docs/problems.md, P{page:02}"


class Died(Failure):
    """A healthy server died while its tasks ran. It may work if it is started again."""

    STATUS = 75  # EX_TEMPFAIL of sysexits.h; distinguishes it from a failed task in bin/run


AGAIN = "then run it again; finished work is kept"


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add a path to each OSError raised inside that names no file.

    A failed write to a full disk, for example, names no file.
    """
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = os.fspath(path)
        raise


def of_system(error: OSError) -> Failure:
    """Convert an OSError to a Failure with a readable message and, if known, the next step."""
    what = ": ".join(filter(None, [error.strerror, str(error.filename or "")]))
    return Failure(printable(what or str(error)), printable(next_step(error)))


def next_step(error: OSError) -> str:
    """Return what a person can do about a full disk, missing permissions or a limit.

    Returns "" if no advice is known.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = os.path.dirname(str(error.filename or ""))  # noqa: PTH120
        look = f"df -h {shlex.quote(place)}" if place else "df -h"
        return f"free some space ({look}; make gc, make prune-venvs), {AGAIN}"
    if error.errno == errno.EFBIG:
        return f"raise the limit on file sizes (ulimit -f), {AGAIN}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"raise the limit on open files (ulimit -n), {AGAIN}"
    if error.errno == errno.EROFS:
        return "mount the file system writable, or use a copy of the checkout"
    if error.errno in (errno.EACCES, errno.EPERM):
        return _ownership_hint(str(error.filename or ""))
    return ""


def _ownership_hint(path: str) -> str:
    """Return advice for a path that cannot be read or written, based on its owner.

    If the path does not exist, its nearest existing parent counts.
    """
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)  # noqa: PTH120
    try:
        owner, me = os.lstat(path or ".").st_uid, os.getuid()
    except OSError:
        return ""
    if owner == me:
        return f"give yourself permission: chmod -R u+rwX {shlex.quote(path or '.')}"
    return (
        f"{path or 'this folder'} belongs to {_user(owner)}, and you are {_user(me)}: a checkout "
        "belongs to one user; use your own, or have its owner changed (chown -R)"
    )


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - needed only when a command fails

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
