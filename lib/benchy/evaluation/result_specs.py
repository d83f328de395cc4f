"""The specs that decide one result, as the plan writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import paths

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Specs:
    """The specs of a result.

    Attributes:
        server: The server spec: how the model is served.
        result: The result spec: what can change an answer.
        task: The task spec: how the task is run.
    """

    server: Spec
    result: Spec
    task: Spec


def load(server: Spec, task: str, limit: int | None) -> Specs:
    """Read the specs of a task on a server's model. Raises OSError, ValueError."""
    result = paths.result_spec(server["model"], task, limit)
    return Specs(server, _read(result), _read(paths.task_spec(task)))


def _read(path: Path) -> Spec:
    spec: Spec = json.loads(path.read_text(encoding="utf-8"))
    return spec
