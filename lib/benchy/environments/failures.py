"""Read and write the markers of failed builds, venvs/.failed/<env>.json."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from benchy.core import files, paths
from benchy.core.errors import Failure, FailureKind
from benchy.core.specs import FailureMarker
from benchy.environments import uv
from benchy.environments.environment_spec import BuildSpec


def failure_of(env: str) -> FailureMarker:
    """Return the failure marker of an environment; {} if its last build did not fail."""
    content: Any = files.read_json(paths.failed(env))
    marker: FailureMarker = content
    return marker


@contextlib.contextmanager
def recorded(spec: BuildSpec, stage: str) -> Iterator[Callable[[str], None]]:
    """Write a failure marker if the block raises Failure or the disk is full.

    Yields a function that sets the name of the current stage. A full disk is raised as a Failure.
    """
    now = [stage]
    try:
        yield now.append
    except Failure as error:
        with contextlib.suppress(OSError):  # on a full disk, the original error must still appear
            _mark(spec, now[-1], error)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        full = Failure(
            f"{spec.env}: the disk is full{where}; {uv.room()}",
            f"free some space (bin/venv prune, {uv.word()} cache prune), then run it again",
        )
        with contextlib.suppress(OSError):
            _mark(spec, now[-1], full)
        raise full from error


def _mark(spec: BuildSpec, stage: str, error: Failure) -> None:
    marker: FailureMarker = {
        "env": spec.env,
        "version": spec.version,
        "stage": stage,
        "what": error.what,
        "lines": error.lines,
        "log": error.log,
        "when": timestamp(),
    }
    if error.kind is not FailureKind.OTHER:
        marker["kind"] = error.kind.value
    files.replace(paths.failed(spec.env), json.dumps(marker, indent=1, sort_keys=True) + "\n")


def timestamp() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
