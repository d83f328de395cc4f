"""Comparison of the harness's output with the spec, and counts of prompts and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.config import generation_arguments
from benchy.core.specs import ResultSpec
from benchy.evaluation import output_checks
from benchy.evaluation.harness_output import Output


def output(shots: int = 0, **kwargs: Any) -> Output:
    data = {
        "n-samples": {"t": {"original": 4, "effective": 4}},
        "n-shot": {"t": shots, "group": shots},
        "configs": {"t": {"output_type": "generate_until", "generation_kwargs": kwargs}},
        "config": {"limit": None, "random_seed": 7, "fewshot_seed": 7},
    }
    return Output(Path(), data, (), 4, {"t": 4}, {"t": (4, 3)}, {"t": ["a", "b", "c", "d"]})


def spec(num_fewshot: int | None = None, **gen_kwargs: Any) -> ResultSpec:
    return specs.result(task=specs.task_meaning(num_fewshot=num_fewshot, gen_kwargs=gen_kwargs))


def test_equivalent_arguments_are_no_difference() -> None:
    done = output(3, max_gen_toks=400, until=["x"], do_sample=False, temperature=0.0)
    assert output_checks.differences(spec(3, max_new_tokens=400), done) == []
    assert output_checks.differences(spec(3, max_gen_toks=400, until="x", foo=None), done) == []
    assert output_checks.requested_shots(spec(3), output_checks.shots(done)) == 3


def test_differences_name_the_argument_and_both_values() -> None:
    done = output(0, max_gen_toks=256, do_sample=False)
    (line,) = output_checks.differences(spec(3), done)
    assert line.startswith("num_fewshot: 3 was requested")
    (line,) = output_checks.differences(spec(max_new_tokens=400), done)
    assert "max_gen_toks: 400 was requested, the harness used 256" in line
    assert output_checks.requested_shots(spec(3), output_checks.shots(done)) is None
    other = spec()
    other["task"]["seed"] = 8
    assert len(output_checks.differences(other, done)) == 2


def test_facts_are_counted_once_per_document(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    facts: list[dict[str, Any]] = [
        {"kind": "client"},
        {"kind": "truncated", "task": "t", "doc": 1, "request": 0},
        {"kind": "truncated", "task": "t", "doc": 1, "request": 1},
        {"kind": "null", "task": "t", "doc": 2},
        {"kind": "examples", "task": "t"},
        {"kind": "leaked", "task": "t", "doc": "b"},
        {"kind": "leaked", "task": "t", "doc": "of a document beyond the limit"},
        {"kind": "refused", "task": "t", "what": "w", "hint": "h"},
    ]
    lines = [json.dumps(fact) for fact in facts]
    path.write_text("\n".join([*lines, *lines, '{"kind": "trunc']))
    seen = output_checks.read_facts(path)
    assert seen.refused == {"task": "t", "what": "w", "hint": "h"}
    found = output_checks.of(output(3), seen)["t"]
    assert (found.prompts, found.truncated, found.leaked) == (4, 1, 1)
    assert (found.answers, found.empty, found.null) == (4, 3, 1)
    before = path.stat().st_ino
    output_checks.forget_refusals(path)
    assert output_checks.read_facts(path).refused is None and output_checks.read_facts(path).client
    assert path.read_text() == "\n".join([*lines[:-1], *lines[:-1], '{"kind": "trunc'])
    assert path.stat().st_ino != before, "written aside, so that a kill loses no fact"


def test_counts_without_facts_are_none(tmp_path: Path) -> None:
    found = output_checks.of(output(3), output_checks.read_facts(tmp_path / "none"))["t"]
    assert (found.truncated, found.leaked, found.null) == (None, None, None)
    assert found.empty == 3


@pytest.mark.parametrize(("limit", "leaked"), [(None, 2), (4, None)])
def test_counts_come_from_facts_if_samples_are_not_logged(
    tmp_path: Path, limit: int | None, leaked: int | None
) -> None:
    path = tmp_path / "facts.jsonl"
    kinds = [("client", None), ("examples", None), ("null", 1), ("blank", 2), ("blank", 3)]
    facts = [{"kind": kind, "task": "t", "doc": doc} for kind, doc in kinds]
    facts += [{"kind": "leaked", "task": "t", "doc": doc} for doc in ("a", "b")]
    path.write_text("\n".join(map(json.dumps, facts)))
    left = output(0)
    left.answers.clear()
    left.hashes.clear()
    left.data["config"]["limit"] = limit
    found = output_checks.of(left, output_checks.read_facts(path))["t"]
    assert (found.answers, found.empty, found.null) == (4, 3, 1)
    assert found.leaked == leaked


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        (
            {"max_gen_toks": "1e3", "until": 5, "temperature": "hot"},
            ["max_gen_toks", "temperature", "until"],
        ),
        ({"n": 2, "best_of": 1}, ["n"]),
        ({"echo": True, "max_length": 5}, ["echo", "max_length"]),
        ({"do_sample": True}, ["do_sample"]),
        ({"do_sample": False, "temperature": 0.7}, ["temperature"]),
        ({"do_sample": True, "temperature": 0.7, "max_new_tokens": 5, "top_p": 0.9}, []),
    ],
)
def test_impossible_generation_arguments_are_refused(
    kwargs: dict[str, Any], names: list[str]
) -> None:
    assert [name for name, _, _ in generation_arguments.refused(kwargs)] == names
