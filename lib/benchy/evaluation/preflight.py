"""Checks a task on a model before a device is taken.

Uses the harness's own files, and the model's tokenizer as loaded in the harness's environment
(harness_questions.py). `bin/fetch MODEL TASK…` runs these checks before it takes a lease, bin/eval
again before its first request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchy.core.errors import Mistake
from benchy.core.specs import ServerSpec
from benchy.evaluation import (
    harness,
    harness_questions,
    model_checks,
    result_specs,
    task_checks,
    tokenizer_checks,
)
from benchy.evaluation.result_specs import Specs
from benchy.serving.preparation import FetchedFiles


@dataclass(frozen=True)
class ModelFiles:
    """Access to a model's files.

    Attributes:
        served: The files that are served.
        token: Token of the hub, "" for none.
        available: Whether the files are here or can be downloaded.
    """

    served: FetchedFiles
    token: str = ""
    available: bool = True


def mistakes(
    specs: Specs, files: FetchedFiles, base: Mapping[str, str], tokenizer: bool = True
) -> list[Mistake]:
    """Return everything wrong with a task on a model.

    Args:
        specs: The specs of the result.
        files: The model's files that are served.
        base: Environment variables to build the harness's from.
        tokenizer: Whether to load the tokenizer, which needs the model's files.
    """
    env = harness.environment(specs.result, specs.task, specs.server, None, base)
    problems = task_checks.mistakes(specs, harness_questions.task_facts(specs, env))
    if not problems and tokenizer and harness_questions.needs_tokenizer(specs.result):
        facts = harness_questions.tokenizer_facts(specs.result, files, env)
        problems = tokenizer_checks.mistakes(specs, files, facts)
    return problems


def of_tasks(
    server: ServerSpec, tasks: Iterable[str], limit: int | None, files: ModelFiles
) -> dict[str, list[Mistake]]:
    """Return the mistakes of each task of a model that has any.

    Args:
        server: The server spec.
        tasks: Names of the tasks.
        limit: Limit of documents for each task, or None.
        files: Access to the model's files.

    Raises:
        OSError, ValueError: A spec cannot be read.
    """
    base = dict(os.environ) | ({"HF_TOKEN": files.token} if files.token else {})
    of_model = model_checks.mistakes(server, base)
    problems = {}
    for task in tasks:
        specs = result_specs.load(server, task, limit)
        of_task = mistakes(specs, files.served, base, files.available and not of_model)
        if of_model or of_task:
            problems[task] = [*of_model, *of_task]
    return problems


def passed(
    server: ServerSpec, tasks: Iterable[str], limit: int | None, files: FetchedFiles
) -> bool:
    """Return whether these tasks have passed these checks before. Runs nothing.

    Args:
        server: The server spec.
        tasks: Names of the tasks.
        limit: Limit of documents for each task, or None.
        files: The model's files that are served.
    """
    if not model_checks.passed(server):
        return False
    try:
        for task in tasks:
            specs = result_specs.load(server, task, limit)
            needed = [harness_questions.task_question(specs)]
            if harness_questions.needs_tokenizer(specs.result):
                needed.append(harness_questions.tokenizer_question(specs.result, files))
            if not all(question.path.is_file() for question in needed):
                return False
            if mistakes(specs, files, {}):
                return False
    except (OSError, ValueError, KeyError):
        return False
    return True
