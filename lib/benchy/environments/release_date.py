"""One release of one package: whether the index has it for a Python, and the day it came out.

uv is asked, not the index: a resolution of the one pin alone, printed as pylock.toml (PEP 751),
carries the upload times of its files, and uv knows the machine's index, certificates, netrc,
keyring and cache. About 0.2 s. Reads the index, writes nothing but the log.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from benchy.core.errors import Failure, FailureKind
from benchy.environments import pip_settings, uv
from benchy.process import logged_program

# With any cutoff, uv passes over files of indexes that tell no upload time (a warning each); so a
# cutoff in the far future picks the files that can answer.
DATED_ONLY = ("--exclude-newer", "2999-01-01T00:00:00Z")
NO_PACKAGE = re.compile(r"was not found in the (package registry|provided)")
UNKNOWN = re.compile(rf"there is no version of|only \S+ is available|{NO_PACKAGE.pattern}")
# An index that refuses to answer says nothing about what it has.
REFUSED = re.compile(
    r"could not be queried|lack of valid authentication|40[137] (Unauth|Forb|Proxy)"
)
TORCH_BUILD = re.compile(r"(torch|torchvision|torchaudio|triton)\s*==\s*[^\s;]+\+")
NO_FILE = re.compile(r"\b(404 Not Found|410 Gone)\b")
NO_REVISION = re.compile(
    r"couldn't find remote ref|failed to find branch, tag, or commit|\bnot our ref\b"
)


@dataclass(frozen=True)
class Release:
    """uploaded: the latest upload time among the files fit for the Python asked; UTC."""

    package: str
    version: str
    uploaded: datetime

    def cutoff(self, slack_days: int) -> str:
        """RFC 3339: what `--exclude-newer` takes."""
        return stamp(self.uploaded + timedelta(days=slack_days))


@dataclass(frozen=True)
class Missing:
    """A requirement that no index can meet. requirement: as the spec of the environment has it."""

    requirement: str
    what: str
    hint: str


class NoSuchRelease(Failure):
    """The configuration names something that does not exist: a mistake, not a failed build.

    The marker in venvs/.failed has its kind, and bin/plan plans no fallback for it.
    """

    def __init__(self, missing: Sequence[Missing], log: Path) -> None:
        first = missing[0]
        lines = [m.what for m in missing[1:]]
        kind = FailureKind.NO_SUCH_RELEASE
        super().__init__(first.what, first.hint, log, lines, 31, kind)
        self.missing = list(missing)


@dataclass(frozen=True)
class Asking:
    """Whom to ask. python: path of the interpreter to install for; options: of uv; index: package
    indexes that come before the machine's."""

    python: str
    log: Path
    options: Sequence[str] = ()
    index: Sequence[str] = ()

    def __call__(self, requirement: str, *more: str) -> logged_program.Done:
        """uv's answer to one requirement alone, as a pylock.toml."""
        arguments = ["compile", "-", "--no-deps", "--no-header", "--format", "pylock.toml"]
        words = uv.pip([*arguments, "--python", self.python, *self.options, *more])
        return uv.run(words, self.log, stdin=requirement, index=self.index)

    def closure(self, requirement: str, until: str) -> list[str]:
        """The packages that a requirement needs as of a time, itself left out; [] if it does not
        resolve."""
        arguments = ["compile", "-", "--no-header", "--no-annotate", "--exclude-newer", until]
        words = uv.pip([*arguments, "--python", self.python, *self.options])
        done = uv.run(words, self.log, stdin=requirement, index=self.index)
        found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==", done.stdout, re.M)
        own = re.match(r"[\w.-]+", requirement)
        return [name for name in found if not own or name.lower() != own[0].lower()]


def find(
    package: str, version: str, version_of_python: str, ask: Asking
) -> Release | logged_program.Done:
    """The release as that Python may install it, or how uv refused: try another Python.

    Raises Failure where no Python would help: no such release or package, no upload times, no
    network.
    """
    pin = f"{package}=={version}"
    done = ask(pin, *DATED_ONLY)
    times = upload_times(done.stdout)
    refusal = unfit(pin, version_of_python, ask) if times else None
    if refusal:
        return refusal
    if times:
        return Release(package, version, max(times))
    if done.status not in (0, uv.UNSOLVED):
        raise uv.failure(done, f"{pin} cannot be looked up", ask.log)
    undated = ask(pin)
    if undated.status == 0:
        raise Failure(
            f"the index tells no upload times for {pin}, so its day is not known",
            "give its day, or none: CUTOFF=2025-04-01 to make venv and make lock, or the key cutoff"
            " in a config or an engine's file",
            ask.log,
            page=28,
        )
    gone = absence(pin, ask, undated)
    if gone is None:
        return undated
    raise unmet([gone], ask.log)


def unmet(missing: Sequence[Missing], log: Path) -> Failure:
    """The error for requirements that cannot be met: a mistake where an index has said so.

    Without a network, a folder of wheels or uv's cache answered instead, and the release may well
    exist elsewhere: an ordinary Failure.
    """
    if pip_settings.offline() or pip_settings.wheelhouse():
        return Failure(missing[0].what, missing[0].hint, log, page=31)
    return NoSuchRelease(missing, log)


def missing(requirements: Sequence[str], ask: Asking) -> list[Missing]:
    """Those of the requirements that do not exist. An index that does not answer proves nothing."""
    found = []
    for requirement in requirements:
        if TORCH_BUILD.match(requirement):
            continue  # PyTorch's own index has it, or a folder of the machine: P35 says more
        if ask(requirement, *DATED_ONLY).status:  # no cutoff of the machine hides it there
            found.append(absence(requirement, ask, ask(requirement)))
    return [each for each in found if each]


def absence(requirement: str, ask: Asking, done: logged_program.Done) -> Missing | None:
    """Why a requirement cannot be met, if it does not exist. done: uv's answer to it alone."""
    said = "\n".join(done.talk)
    if not done.status or REFUSED.search(said):
        return None
    parsed = re.match(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*(@?)\s*(.*?)\s*(?:;.*)?$", requirement)
    assert parsed  # schema.REQUIREMENT
    package, at, bound = parsed.groups()
    if at:
        url = bound
        if NO_REVISION.search(said) and "@" in url:
            where, _, revision = url.partition("#")[0].removeprefix("git+").rpartition("@")
            return Missing(requirement, f"{where} has no revision {revision}", "check its name")
        if NO_FILE.search(said):
            return Missing(requirement, f"there is no file at {url}", "check the URL")
        return None
    if done.offline or not UNKNOWN.search(said):
        return None
    alone = said if bound == "" or "[" not in requirement else "\n".join(ask(package).talk)
    if NO_PACKAGE.search(alone):  # of a name with extras uv only says that there is no version
        return Missing(requirement, f"the index has no package named {package}", "check the name")
    exact = re.fullmatch(r"={2,3}\s*([^\s,*]+)", bound)
    if exact is None:
        newest_one = newest(package, ask)
        hint = f"the newest is {newest_one}" if newest_one else "write another bound"
        return Missing(requirement, f"the index has no release {bound} of {package}", hint)
    near = nearest(package, exact[1], ask)
    hint = f"nearest: {', '.join(near)}" if near else "no other release fits this Python either"
    return Missing(requirement, f"the index has no release {exact[1]} of {package}", hint)


def unfit(requirement: str, version_of_python: str, ask: Asking) -> logged_program.Done | None:
    """How a Python that a release says it can't have is refused; None if it says no such thing.

    uv obeys the lower bound and passes over the upper one: it would put a release that says <3.13
    on 3.13. Asked for a Python that is surely too old, it cites both. 3.0 fits no wheel that begins
    at cp38, so 3.8 is asked for too; a release whose wheels are for single Pythons needs no bound.
    """
    for old in ("3.0", "3.8"):
        said = "\n".join(ask(requirement, "--python-version", old).talk)
        found = re.search(r"depends on Python([<>=!~][\d.,<>=!~*]*[\d*])", said)
        with contextlib.suppress(InvalidSpecifier):
            if found and not SpecifierSet(found[1]).contains(version_of_python, prereleases=True):
                return logged_program.Done(
                    uv.UNSOLVED, "", [f"error: {requirement} needs Python {found[1]}"]
                )
        if found:
            break
    return None


def nearest(package: str, version: str, ask: Asking) -> list[str]:
    """The releases next to a version that does not exist, the lower first."""
    found = [
        newest(f"{package}<{version}", ask),
        newest(f"{package}>{version}", ask, "--resolution", "lowest"),
    ]
    return [version for version in found if version]


def newest(requirement: str, ask: Asking, *options: str) -> str | None:
    """The newest release that meets a requirement for that Python; None if none does."""
    found = re.search(r'^version = "(.+)"', ask(requirement, *options).stdout, re.M)
    return found[1] if found else None


def upload_times(pylock: str) -> list[datetime]:
    """Every upload time in a pylock.toml. (Python 3.10 has no TOML reader; one key needs none.)"""
    found = re.findall(r"\bupload-time = ([0-9T:.-]+)Z", pylock)
    return [datetime.fromisoformat(text).replace(tzinfo=timezone.utc) for text in found]


def stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str, now: datetime) -> datetime | None:
    """A cutoff as pip and uv write it: a day, a time, `P7D`, `7 days`. None: cannot be read."""
    ago = re.fullmatch(r"P?T?\s*(\d+)\s*(h|d|w)[a-z]*(?:\s+ago)?", text.strip(), re.I)
    if ago:
        hours = {"h": 1, "d": 24, "w": 168}[ago[2].lower()]
        return now - timedelta(hours=hours * int(ago[1]))
    try:
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def earlier(cutoff: str | None, machine: str | None, now: datetime) -> str | None:
    """The cutoff to resolve with: a release's own, unless the machine's (pip's, uv's) is earlier.

    A command-line cutoff would override the machine's, and that one is there for safety.
    """
    if not machine:
        return cutoff
    limit = moment(machine, now)
    if cutoff is None or limit is None:
        return machine if cutoff is None else cutoff
    own = moment(cutoff, now)
    return cutoff if own is None or own <= limit else stamp(limit)
