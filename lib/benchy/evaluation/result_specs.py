"""The specs that decide one result, as the plan writes them."""

from __future__ import annotations

from dataclasses import dataclass

from benchy.core import paths
from benchy.core.specs import ResultSpec, ServerSpec, TaskSpec, read_result, read_task


@dataclass(frozen=True)
class Specs:
    """The specs of a result.

    Attributes:
        server: The server spec: how the model is served.
        result: The result spec: what can change an answer.
        task: The task spec: how the task is run.
    """

    server: ServerSpec
    result: ResultSpec
    task: TaskSpec


def load(server: ServerSpec, task: str, limit: int | None) -> Specs:
    """Read the specs of a task on a server's model. Raises OSError, ValueError."""
    result = read_result(paths.result_spec(server["model"], task, limit))
    return Specs(server, result, read_task(task))
