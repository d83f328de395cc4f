"""Find out whether the index has a release for a Python, and when it was released.

Queries uv instead of the index, because uv knows the machine's index, certificates, netrc, keyring
and cache. It resolves the single pin and prints it as pylock.toml (PEP 751), which contains the
upload times of its files. A query takes about 0.2 s. Reads the index; writes only the log.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from benchy.core.errors import Failure, FailureKind, UsageError
from benchy.environments import pip_settings, pylock, uv
from benchy.process import logged_program

# With any cutoff, uv skips files without an upload time (with a warning each). A cutoff in the far
# future therefore selects the files that have one.
DATED_ONLY = ("--exclude-newer", "2999-01-01T00:00:00Z")
NO_PACKAGE = re.compile(r"was not found in the (package registry|provided)")
UNKNOWN = re.compile(rf"there is no version of|only \S+ is available|{NO_PACKAGE.pattern}")
# A refusal of the index does not prove that a package is missing.
REFUSED = re.compile(
    r"could not be queried|lack of valid authentication|40[137] (Unauth|Forb|Proxy)"
)
TORCH_BUILD = re.compile(r"(torch|torchvision|torchaudio|triton)\s*==\s*[^\s;]+\+")
NO_FILE = re.compile(r"\b(404 Not Found|410 Gone)\b")
NO_REVISION = re.compile(
    r"couldn't find remote ref|failed to find branch, tag, or commit|\bnot our ref\b"
)

ISO_DURATION = re.compile(
    r"P(?=.)(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+)S)?)?",
    re.I,
)
_UNITS = (
    ("w", "w|wks?|weeks?"), ("d", "d|days?"), ("h", "h|hrs?|hours?"), ("m", "m|mins?|minutes?"),
    ("s", "s|secs?|seconds?"),
)  # fmt: skip
DURATION = re.compile(
    "".join(rf"(?:(?P<{key}>\d+)\s*(?:{names})(?![a-z])[\s,]*)?" for key, names in _UNITS)
    + r"(?:\bago)?",
    re.I,
)
CUTOFF_FORMS = 'write a day (2025-04-01), a time (2025-04-01T12:00:00Z), "7 days" or P7D'


@dataclass(frozen=True)
class PublishedRelease:
    """A release of a package.

    uploaded: the latest upload time (UTC) among its files that fit the given Python.
    """

    package: str
    version: str
    uploaded: datetime

    def cutoff(self, slack_days: int) -> str:
        """Return the upload time plus the slack, in RFC 3339, for `--exclude-newer`."""
        return stamp(self.uploaded + timedelta(days=slack_days))


@dataclass(frozen=True)
class Missing:
    """A requirement that no index can meet, with an error and a hint.

    requirement: as written in the spec of the environment.
    """

    requirement: str
    what: str
    hint: str


class NoSuchRelease(Failure):
    """An error in the configuration: it names something that does not exist.

    The marker in venvs/.failed records its kind, so bin/plan plans no fallback for it.
    """

    def __init__(self, missing: Sequence[Missing], log: Path) -> None:
        first = missing[0]
        lines = [m.what for m in missing[1:]]
        kind = FailureKind.NO_SUCH_RELEASE
        super().__init__(first.what, first.hint, log, lines, 31, kind)
        self.missing = list(missing)


@dataclass(frozen=True)
class IndexQuery:
    """Queries to uv for one Python.

    Attributes:
        python: Path of the interpreter to install for.
        log: Where uv's output goes.
        options: Options of uv.
        index: Package indexes that come before the machine's.
    """

    python: str
    log: Path
    options: Sequence[str] = ()
    index: Sequence[str] = ()

    def __call__(self, requirement: str, *more: str) -> logged_program.Done:
        """Resolve a single requirement without its dependencies, to a pylock.toml on stdout."""
        arguments = ["compile", "-", "--no-deps", "--no-header", "--format", "pylock.toml"]
        words = uv.pip([*arguments, "--python", self.python, *self.options, *more])
        return uv.run(words, self.log, stdin=requirement, index=self.index)

    def closure(self, requirement: str, until: str) -> list[str]:
        """Return all dependencies of a requirement with the cutoff `until`, without itself.

        Returns [] if it does not resolve.
        """
        arguments = ["compile", "-", "--no-header", "--no-annotate", "--exclude-newer", until]
        words = uv.pip([*arguments, "--python", self.python, *self.options])
        done = uv.run(words, self.log, stdin=requirement, index=self.index)
        names = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==", done.stdout, re.M)
        own = re.match(r"[\w.-]+", requirement)
        return [name for name in names if not own or name.lower() != own[0].lower()]


def find(
    package: str, version: str, version_of_python: str, query: IndexQuery
) -> PublishedRelease | logged_program.Done:
    """Find a release for a Python.

    Returns the release, or uv's refusal if another Python may work. Raises Failure if no Python
    would help: there is no such release or package, no upload times or no network.
    """
    pin = f"{package}=={version}"
    done = query(pin, *DATED_ONLY)
    times = pylock.upload_times(done.stdout)
    refusal = unfit(pin, version_of_python, query) if times else None
    if refusal:
        return refusal
    if times:
        return PublishedRelease(package, version, max(times))
    if done.status not in (0, uv.UNSOLVED):
        raise uv.failure(done, f"{pin} cannot be looked up", query.log)
    undated = query(pin)
    if undated.status == 0:
        raise Failure(
            f"the index reports no upload times for {pin}, so its release day is unknown",
            "give a day or none: CUTOFF=2025-04-01 for make venv and make lock, or cutoff: in a"
            " config or an engine's file",
            query.log,
            page=28,
        )
    absent = absence(pin, query, undated)
    if absent is None:
        return undated
    raise unmet([absent], query.log)


def unmet(missing: Sequence[Missing], log: Path) -> Failure:
    """Return the error for requirements that cannot be met.

    It is a NoSuchRelease if an index reports it. Offline or with a wheelhouse it is an ordinary
    Failure, because uv's cache or a folder of wheels answered, and the release may exist elsewhere.
    """
    if pip_settings.offline() or pip_settings.wheelhouse():
        return Failure(missing[0].what, missing[0].hint, log, page=31)
    return NoSuchRelease(missing, log)


def missing(requirements: Sequence[str], query: IndexQuery) -> list[Missing]:
    """Return those of the requirements that do not exist.

    A requirement counts as missing only if the index answered.
    """
    absent = []
    for requirement in requirements:
        if TORCH_BUILD.match(requirement):
            continue  # in PyTorch's own index or a local folder, see P35
        if query(requirement, *DATED_ONLY).status:  # replaces the machine's cutoff
            absent.append(absence(requirement, query, query(requirement)))
    return [entry for entry in absent if entry]


def absence(requirement: str, query: IndexQuery, done: logged_program.Done) -> Missing | None:
    """Return why a requirement does not exist; None if it exists or the index gave no clear answer.

    done: uv's answer to this requirement alone.
    """
    output = "\n".join(done.stderr)
    if not done.status or REFUSED.search(output):
        return None
    parsed = re.match(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*(@?)\s*(.*?)\s*(?:;.*)?$", requirement)
    assert parsed  # schema.REQUIREMENT
    package, at, bound = parsed.groups()
    if at:
        url = bound
        if NO_REVISION.search(output) and "@" in url:
            where, _, revision = url.partition("#")[0].removeprefix("git+").rpartition("@")
            return Missing(requirement, f"{where} has no revision {revision}", "check its name")
        if NO_FILE.search(output):
            return Missing(requirement, f"there is no file at {url}", "check the URL")
        return None
    if done.offline or not UNKNOWN.search(output):
        return None
    alone = output if bound == "" or "[" not in requirement else "\n".join(query(package).stderr)
    if NO_PACKAGE.search(alone):  # for a name with extras, uv only reports a missing version
        return Missing(requirement, f"the index has no package named {package}", "check the name")
    exact = re.fullmatch(r"={2,3}\s*([^\s,*]+)", bound)
    if exact is None:
        newest_one = newest(package, query)
        hint = f"the newest is {newest_one}" if newest_one else "use another bound"
        return Missing(requirement, f"the index has no release {bound} of {package}", hint)
    near = nearest(package, exact[1], query)
    hint = f"nearest: {', '.join(near)}" if near else "no release fits this Python"
    return Missing(requirement, f"the index has no release {exact[1]} of {package}", hint)


def unfit(
    requirement: str, version_of_python: str, query: IndexQuery
) -> logged_program.Done | None:
    """Return a refusal if a release's Python requirement excludes this Python; else None.

    uv respects the lower bound but ignores the upper one: it would install a release that requires
    <3.13 on 3.13. Its error for a Python that is too old cites both bounds, so uv resolves for 3.0,
    and for 3.8 because 3.0 fits no wheel that starts at cp38. A release whose wheels are for single
    Pythons needs no such bound.
    """
    for minimum in ("3.0", "3.8"):
        output = "\n".join(query(requirement, "--python-version", minimum).stderr)
        match = re.search(r"depends on Python([<>=!~][\d.,<>=!~*]*[\d*])", output)
        with contextlib.suppress(InvalidSpecifier):
            if match and not SpecifierSet(match[1]).contains(version_of_python, prereleases=True):
                return logged_program.Done(
                    uv.UNSOLVED, "", [f"error: {requirement} needs Python {match[1]}"]
                )
        if match:
            break
    return None


def nearest(package: str, version: str, query: IndexQuery) -> list[str]:
    """Return the releases just below and just above a version that does not exist."""
    neighbors = [
        newest(f"{package}<{version}", query),
        newest(f"{package}>{version}", query, "--resolution", "lowest"),
    ]
    return [version for version in neighbors if version]


def newest(requirement: str, query: IndexQuery, *options: str) -> str | None:
    """Return the newest release that meets a requirement; None if none does.

    options: of uv, such as `--resolution lowest` for the oldest.
    """
    return pylock.first_version(query(requirement, *options).stdout)


def stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str, now: datetime) -> datetime | None:
    """Parse a cutoff as pip and uv write it: a day, a time, `P7D`, `7 days`, `1 day 12 hours`.

    Durations count back from `now`; as in uv, they have no months or years, whose lengths differ.
    Returns None if it cannot be parsed.
    """
    text = text.strip()
    parts = ISO_DURATION.fullmatch(text) or DURATION.fullmatch(text)
    if parts and any(parts.groups()):
        weeks, days, hours, minutes, seconds = (int(parts[key] or 0) for key in "wdhms")
        try:
            return now - timedelta(days, seconds, 0, 0, minutes, hours, weeks)
        except OverflowError:
            return None
    try:
        parsed = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def machine_limit(machine: str, now: datetime) -> datetime:
    """Parse the cutoff of the machine's uv or pip settings.

    Raises UsageError if that fails, because ignoring it would lift a safety measure.
    """
    limit = moment(machine, now)
    if limit is None:
        raise UsageError(
            f"{machine!r} is not a cutoff that benchy can compare with that of a release",
            f"{CUTOFF_FORMS}; pip's uploaded-prior-to and uv.toml's exclude-newer also set it",
            "UV_EXCLUDE_NEWER",
        )
    return limit


def earlier(cutoff: str | None, machine: str | None, now: datetime) -> str | None:
    """Return the cutoff to resolve with: the earlier of the release's and the machine's.

    The release's cutoff, as an option, would override that of the machine's pip or uv settings,
    which is a safety measure. Raises UsageError if the machine's cutoff cannot be parsed.
    """
    if not machine or cutoff is None:
        return machine or cutoff
    limit, own = machine_limit(machine, now), moment(cutoff, now)
    return cutoff if own and own <= limit else stamp(limit)
