"""Check which models the hub lets this machine read, and find the caches.

Every request has a timeout; a check takes seconds. Reads the hub and its token, which is never
printed. Writes only the log of uv.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from benchy.core.errors import Failure
from benchy.environments import index_check, pip_settings, uv
from benchy.hub import local_cache, tokens

SECONDS = 5.0  # timeout of one request to the hub
AT_ONCE = 8
HUB = "https://huggingface.co"
HUB_TRUE = ("1", "ON", "YES", "TRUE")  # true values of the hub's client, from its constants.py


@dataclass(frozen=True)
class Access:
    """Whether a model's files can be read.

    status: the hub's HTTP status, None if it did not answer. gated: the hub refuses access to a
    repository whose owner approves each user.
    """

    name: str
    status: int | None
    gated: bool = False

    @property
    def readable(self) -> bool:
        return self.status is not None and self.status < 400


def access(names: Sequence[str], env: Mapping[str, str] = os.environ) -> list[Access]:
    """Request the config.json of each model from the hub.

    If the hub does not answer for the first model, the others are not requested.
    """
    if not names:
        return []
    secret, _ = tokens.token(env)
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
    # A repository without this file is readable.
    status = 200 if code == "EntryNotFound" else answer.status_code
    return Access(name, status, code == "GatedRepo")


def network_forbidden(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the settings forbid network access (OFFLINE, HF_HUB_OFFLINE)."""
    return pip_settings.offline(environ) or environ.get("HF_HUB_OFFLINE", "").upper() in HUB_TRUE


def caches(env: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of the caches that grow: uv's and the hub's."""
    try:
        done = uv.run(["cache", "dir"], index_check.log())
        yield "uv's cache", Path(done.stdout.strip())
    except Failure:
        pass
    yield "the hub's cache", local_cache.hub_cache(None, env)
