"""Compares a finished task with its spec, and counts problems in its prompts and answers.

Reads the harness's results and samples files, and the facts that harness_wrapper.py wrote. If the
harness did something other than the spec requests, the task fails: a result never carries a wrong
label.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.core import temporary_files
from benchy.core.specs import ResultSpec
from benchy.evaluation.harness_output import Output
from benchy.evaluation.result import Checks
from benchy.scripts import harness_arguments


@dataclass
class Observations:
    """The observations of harness_wrapper.py.

    Attributes:
        client: Whether it observed anything.
        truncated: Task → documents whose prompts were truncated.
        leaked: Task → hashes of documents that are among their own few-shot examples.
        null: Task → answers for which the server gave no text.
        blank: Task → answers of only white space.
        examples: Tasks whose few-shot examples were observed.
        sent: Each distinct request, without its prompt.
        refused: Why the task was not evaluated.
    """

    client: bool = False
    truncated: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))
    leaked: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))
    null: Counter[str] = field(default_factory=Counter)
    blank: Counter[str] = field(default_factory=Counter)
    examples: set[str] = field(default_factory=set)
    sent: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, str] | None = None


def read_facts(path: Path) -> Observations:
    """Read the facts of a file. Skips a line that was cut off by a kill."""
    observations, seen = Observations(), set[str]()
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return observations
    for line in lines:
        if line in seen:  # written by an interrupted run before
            continue
        seen.add(line)
        try:
            fact = json.loads(line)
            kind, task = fact["kind"], fact.get("task", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if kind == "client":
            observations.client = True
        elif kind in ("truncated", "leaked"):
            getattr(observations, kind)[task].add(fact["doc"])
        elif kind in ("null", "blank"):
            getattr(observations, kind)[task] += 1
        elif kind == "examples":
            observations.examples.add(task)
        elif kind == "sent":
            observations.sent.append(fact)
        elif kind == "refused":
            observations.refused = {key: str(fact[key]) for key in ("task", "what", "hint")}
    return observations


def forget_refusals(path: Path) -> None:
    """Remove refusals of an interrupted run from its facts, since they are checked again."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
    except OSError:
        return
    kept = "".join(line for line in lines if not _refusal(line))
    temporary_files.write(path, kept)  # a killed process must not leave half of the facts


def _refusal(line: str) -> bool:
    try:
        return bool(json.loads(line)["kind"] == "refused")
    except (ValueError, KeyError, TypeError):
        return False


def of(output: Output, facts: Observations) -> dict[str, Checks]:
    """Return subtask → the counts of its prompts and answers."""
    checks = {}
    for task, count in output.data["n-samples"].items():
        config = output.data.get("configs", {}).get(task) or {}
        shots = output.data.get("n-shot", {}).get(task) or 0
        generates = config.get("output_type") == "generate_until"
        prompts, logged = int(count["effective"]), output.hashes.get(task)
        answers, empty = output.answers.get(task, (0, 0)) if generates else (0, 0)
        if logged is None and generates and facts.client:  # without samples
            answers, empty = prompts, facts.null[task] + facts.blank[task]
        leaked: int | None = None
        if facts.client and (not shots or task in facts.examples):
            # With a limit, prompts may have been built for more documents than were evaluated.
            hashes = facts.leaked[task]
            if logged is not None:
                leaked = sum(h in hashes for h in logged)
            elif not hashes or (output.data.get("config") or {}).get("limit") is None:
                leaked = len(hashes)
        checks[task] = Checks(
            prompts=prompts,
            truncated=len(facts.truncated[task]) if facts.client else None,
            leaked=leaked,
            answers=answers,
            empty=empty,
            null=facts.null[task] if facts.client and generates else None,
        )
    return checks


def shots(output: Output) -> dict[str, int]:
    """Return subtask → the number of few-shot examples that the harness reports."""
    reported = output.data.get("n-shot") or {}
    tasks = output.data["n-samples"]
    return {task: int(reported[task]) for task in tasks if isinstance(reported.get(task), int)}


def requested_shots(spec: ResultSpec, used: Mapping[str, int]) -> int | None:
    """Return the requested num_fewshot, or None if a subtask used another number."""
    requested = spec["task"]["num_fewshot"]
    return requested if all(count == requested for count in used.values()) else None


def differences(spec: ResultSpec, output: Output) -> list[str]:
    """Return a line for each thing that the harness did and the spec does not request."""
    task_spec, data = spec["task"], output.data
    configs = data.get("configs") or {}
    out = []
    used = shots(output)
    requested = task_spec["num_fewshot"]
    if requested is not None and used and requested not in used.values():
        what = ", ".join(f"{task}: {count}" for task, count in sorted(used.items())[:5])
        out.append(f"num_fewshot: {requested} was requested, the harness used {what}")
    reported = data.get("config") or {}
    for key, value in (
        ("limit", spec["limit"]),
        ("random_seed", task_spec["seed"]),
        ("fewshot_seed", task_spec["seed"]),
    ):
        if key in reported and reported[key] != value:
            out.append(f"{key}: {value} was requested, the harness used {reported[key]}")
    for task in data["n-samples"]:
        config = configs.get(task) or {}
        if int(config.get("repeats") or 1) != 1:
            out.append(f"{task}: repeats: {config['repeats']} answers were scored as one")
        if config.get("output_type") == "generate_until":
            given = config.get("generation_kwargs") or {}
            out += [f"{task}: {line}" for line in _arguments(given, task_spec["gen_kwargs"])]
    return out


def _arguments(given: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return a line for each requested generation argument that the harness did not use."""
    if not ours:
        return []
    used = harness_arguments.normalized("", dict(given), {})
    requested = harness_arguments.normalized("", {**given, **ours}, dict(ours))
    return [
        f"gen_kwargs.{key}: {requested.get(key)!r} was requested, "
        f"the harness used {used.get(key)!r}"
        for key in sorted({*requested, *used})
        if requested.get(key) != used.get(key)
    ]
