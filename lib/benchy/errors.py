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
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


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
    what: what is wrong, one clause.  mend: what to write or do instead, one clause.
    """

    file: str
    line: int
    key: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        text = printable(": ".join(part for part in (where, self.key, self.what) if part))
        return f"{text}\n  {printable(self.mend)}" if self.mend else text


class ConfigError(Exception):
    """All mistakes found, at once. Exit status 2."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))


class UsageError(ConfigError):
    """One mistake on the command line or in a knob. Exit status 2."""

    def __init__(self, what: str, mend: str = "", key: str = "") -> None:
        super().__init__([Mistake("", 0, key, what, mend)])


NO_SUCH_RELEASE = "no-such-release"


class Failure(Exception):
    """Something failed while working. Exit status 1.

    what: one line. mend: the next step, one or two lines.
    log: path of the whole story; its last telling lines are in `lines`.
    page: the number of its section in docs/problems.md, 0 for none.
    kind: what the marker of an environment says of it: NO_SUCH_RELEASE is a mistake in the
    configuration, for which no other environment serves; "" is a build that failed.
    """

    kind = ""

    def __init__(
        self,
        what: str,
        mend: str = "",
        log: str | os.PathLike[str] = "",
        lines: Sequence[str] = (),
        page: int = 0,
    ) -> None:
        super().__init__(what)
        self.what, self.mend, self.log, self.lines = what, mend, os.fspath(log), list(lines)
        self.page = page

    def __str__(self) -> str:
        # An engine's log may hold anything; `what` may have lines of its own.
        out = [*map(printable, self.what.splitlines())] or [""]
        out += [f"  | {printable(line.expandtabs())}" for line in self.lines]
        if self.log:
            out.append(f"  log: {printable(self.log)}")
        if self.mend:
            out.extend(f"  {printable(line)}" for line in self.mend.splitlines())
        if self.page:
            out.append(f"  ({problem(self.page)})")
        return "\n".join(out)


def problem(page: int) -> str:
    """Where more is said of a known problem."""
    return f"docs/problems.md, P{page:02}"


class Died(Failure):
    """A server that was well has died under its tasks: started again, it may be well again."""

    STATUS = 75  # EX_TEMPFAIL of sysexits.h: bin/run tells it from a task that fails


def colour(text: str, code: str) -> str:
    """text in an ANSI colour, on a terminal that wants colours (NO_COLOR, see no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\033[{code}m{text}\033[0m"


before_talk: list[Callable[[], None]] = []  # who draws on the terminal takes that away first


def say(tag: str, text: str) -> None:
    """One line of talk on stderr: a tag in eight columns, then the text (`  VENV    vllm_0_8`)."""
    for wipe in before_talk:
        wipe()
    print(f"  {tag:<7} {printable(text)}", file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """Lines of data on stdout, each through `printable`."""
    for line in lines:
        print(printable(line))


def _raise_later(lost: sys.UnraisableHookArgs) -> None:
    """Python drops what a signal's handler raises within a destructor, so that a Ctrl-C would be
    gone: it is raised again, when the destructor is over."""
    error = lost.exc_value
    if error is None or isinstance(error, Exception):
        sys.__unraisablehook__(lost)
        return
    import signal  # noqa: PLC0415 - milliseconds of every command, for one in a million

    def again(signum: int, frame: object) -> None:
        raise error

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


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


def run(main: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Call main(argv) and turn what it raises into messages and an exit status."""
    sys.unraisablehook = _raise_later
    try:
        return main(sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(f"{colour('error:', '31')} {mistake}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"{colour('failed:', '31')} {error}", file=sys.stderr)
        return Died.STATUS if isinstance(error, Died) else 1
    except UnicodeEncodeError as error:
        # A knob or a file's name holds bytes that are no text; a config's are told when it is read.
        near = error.object[max(0, error.start - 30) : error.end + 10]
        print(f"{colour('error:', '31')} {near!a} is not UTF-8", file=sys.stderr)
        print("  write names and knobs in UTF-8", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        # A full or read-only disk, a missing right, too many open files.
        print(f"{colour('failed:', '31')} {of_system(error)}", file=sys.stderr)
        if os.environ.get("V") in ("1", "2"):
            import traceback  # noqa: PLC0415 - milliseconds of every command, for one that fails

            traceback.print_exc()
        else:
            print("  V=1 shows where", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
