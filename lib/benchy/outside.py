"""What can be reached from here: the package index, the model hub, and what its token may read.

Each question is bounded, all together take seconds. A token is used and never shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from benchy import order, paths, pipconf, release, uv
from benchy.errors import Failure

SECONDS = 5.0  # for one answer of the hub
AT_ONCE = 8
HUB = "https://huggingface.co"
HUB_TRUE = ("1", "ON", "YES", "TRUE")  # what the hub's client takes for one, in its constants.py
PROBE = "packaging"  # a package that every index has


@dataclass(frozen=True)
class Index:
    """version: the newest release of PROBE; "" if the index did not answer, and why. dated: whether
    it tells upload times."""

    version: str
    dated: bool
    why: str = ""


def log() -> Path:
    """Where uv's talk goes: nowhere in a checkout that can only be read, which is looked at all the
    same."""
    path = paths.LOGS / "doctor.log"
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    return path if os.access(there, os.W_OK) else Path(os.devnull)


def index() -> Index:
    """What uv gets from the index that it would install from."""
    ask = release.Asking(sys.executable, log(), ["--no-cache"])
    try:
        # First files with a time alone, as resolving does: a folder of wheels has none.
        done = ask(PROBE, *release.DATED_ONLY)
        if not release.upload_times(done.stdout):
            done = ask(PROBE)
    except Failure as error:
        return Index("", False, error.what)
    found = [line[11:-1] for line in done.stdout.splitlines() if line.startswith('version = "')]
    if not found:
        telling = done.telling()
        why = "the network can't be reached" if done.offline else (telling or ["?"])[0]
        return Index("", False, why)
    return Index(found[0], bool(release.upload_times(done.stdout)))


def token(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """(the hub's token, where it is from), ("", "") if there is none: as the hub's client looks."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if env.get(name):
            return env[name], name
    home = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    path = paths.home(env.get("HF_TOKEN_PATH") or home / "token")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "", ""
    return (text, str(path)) if text else ("", "")


@dataclass(frozen=True)
class Access:
    """Whether a model's files may be read. status: the hub's HTTP status, None if it did not
    answer; gated: its owner lets people in one by one."""

    name: str
    status: int | None
    gated: bool = False

    @property
    def readable(self) -> bool:
        return self.status is not None and self.status < 400


def access(names: Sequence[str], env: Mapping[str, str] = os.environ) -> list[Access]:
    """Asks the hub for the configuration file of each model; one that does not answer is asked for
    the first model alone."""
    if not names:
        return []
    secret, _ = token(env)
    first = _access(names[0], secret, env)
    if first.status is None:
        return [first]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [first, *pool.map(lambda name: _access(name, secret, env), names[1:])]


def _access(name: str, secret: str, env: Mapping[str, str]) -> Access:
    url = (env.get("HF_ENDPOINT") or HUB).rstrip("/")
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    try:
        answer = requests.head(
            f"{url}/{name}/resolve/main/config.json",
            headers=headers,
            timeout=SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException:
        return Access(name, None)
    code = answer.headers.get("X-Error-Code", "")
    # A repository without that file is one that may be read.
    status = 200 if code == "EntryNotFound" else answer.status_code
    return Access(name, status, code == "GatedRepo")


def asked_not_to(environ: Mapping[str, str] = os.environ) -> bool:
    """Is the network not to be used?"""
    return pipconf.offline(environ) or environ.get("HF_HUB_OFFLINE", "").upper() in HUB_TRUE


def caches(env: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """(whose, where) of the caches that grow."""
    try:
        done = uv.run(["cache", "dir"], log())
        yield "uv's cache", Path(done.stdout.strip())
    except Failure:
        pass
    yield "the hub's cache", order.hub_cache(None, env)
