"""From a finished run to a published result: checks, numbers, document, files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.core.errors import Failure
from benchy.core.specs import Fallback
from benchy.evaluation import harness, output_checks, provenance, result_writer
from benchy.evaluation import result as document
from benchy.evaluation.harness_output import Output
from benchy.evaluation.result import FallbackReason, Metric, Score, Times
from benchy.evaluation.result_writer import FinishedRun

START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=timezone.utc)


def output(**changes: Any) -> Output:
    """Return the output of a run that evaluated four documents of the task t."""
    data: dict[str, Any] = {
        "lm_eval_version": "0.4.13",
        "results": {"t": {"acc,none": 0.5, "acc_stderr,none": 0.1}},
        "n-samples": {"t": {"original": 4, "effective": 4}},
        "n-shot": {"t": 3},
        "configs": {"t": {"output_type": "multiple_choice"}},
        "config": {"limit": None, "random_seed": 7, "fewshot_seed": 7},
        "higher_is_better": {"t": {"acc": True}},
        "versions": {"t": 1.0},
    }
    files = (Path("m/results_x.json"),)
    return Output(Path(), data | changes, files, 8, {"t": 4}, {"t": (0, 0)}, {"t": ["a"] * 4})


def job(**server: Any) -> Any:
    task = specs.task_meaning(num_fewshot=3, harness_environment="no_harness")
    spec = specs.result(
        name="org/name", revision="main", version="0.8.0", options={"a": 1}, task=task
    )
    record = specs.record(
        spec=specs.server(set="hf_token=secret", **server),
        version="0.8.1", environment="no_engine", gpus=[0], commit="c0ffee", dtype="float16",
        arguments=["--api-key", "secret"], variables={"HF_TOKEN": "secret", "X": "1"},
        seconds_to_ready={"total": 3.5},
    )  # fmt: skip
    return SimpleNamespace(
        model="one", task="mine", title="one/mine", limit=None, log=Path("eval.log"),
        target=Path("results/one/mine/results.json"), spec_bytes=b"{}",
        endpoint=harness.HarnessEndpoint("http://h", "m", 1024),
        run=specs.task(), spec=spec, server=record,
    )  # fmt: skip


def test_weights_of_a_package_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    made: Any = job()
    made.server |= {"commit": None, "folder": str(tmp_path)}
    made.spec["model"]["package"] = {"name": "m", "version": "1.0", "sha256": "0" * 64}
    record = result_writer._model(made)
    assert (record.name, record.path, record.package) == ("org/name", None, "m 1.0")
    assert record.revision_used is None and record.dtype == "bfloat16"
    assert record.digest == provenance.digest(tmp_path)


CHECKS: list[tuple[str, dict[str, Any], str]] = [
    ("as requested", {}, ""),
    (
        "fewer documents",
        {"n-samples": {"t": {"original": 5, "effective": 4}}},
        "5 documents",
    ),
    ("other shots", {"n-shot": {"t": 0}}, "did not do what was requested"),
    ("another seed", {"config": {"random_seed": 8}}, "did not do what was requested"),
    (
        "wrong numbers of documents come first",
        {"n-samples": {"t": {"original": 5, "effective": 4}}, "n-shot": {"t": 0}},
        "5 documents",
    ),
]


@pytest.mark.parametrize(("name", "changes", "words"), CHECKS)
def test_output_that_differs_from_the_spec_is_a_failure(
    name: str, changes: dict[str, Any], words: str
) -> None:
    if not words:
        assert result_writer.check(job(), output(**changes)) == {"t": 4}, name
        return
    with pytest.raises(Failure, match=words):
        result_writer.check(job(), output(**changes))


ACC = {"acc,none": 0.5, "acc_stderr,none": 0.1}
NUMBERS: list[tuple[str, dict[str, Any], list[str], Any]] = [
    ("a task", {"t": ACC}, ["t"], Score("t", "acc,none", 0.5, 0.1, True)),
    ("a task without a metric", {"t": {"alias": "t"}}, ["t"], "t: no metric"),
    ("a task without an entry", {}, ["t"], "t: no metric"),
    ("not a number", {"t": {"acc,none": "N/A"}}, ["t"], "t: acc,none is 'N/A'"),
    ("a group", {"t": ACC, "g": {"acc,none": 0.7}}, ["g"], Score("g", "acc,none", 0.7, None, None)),
    ("a group without a metric", {"t": ACC, "g": {}}, ["g"],
     Score("mean of 1 tasks", "acc,none", 0.5, 0.1, True)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "results", "requested", "expected"), NUMBERS)
def test_numbers_are_those_of_tasks_and_groups(
    name: str, results: dict[str, Any], requested: list[str], expected: Any
) -> None:
    data = {
        "results": results, "groups": {"g": {}, "t": {}}, "n-samples": {"t": {}},
        "higher_is_better": {"t": {"acc": True}},
    }  # fmt: skip
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            result_writer.numbers(data, {"t": 4}, requested)
        return
    found = result_writer.numbers(data, {"t": 4}, requested)
    assert found.score == expected, name
    assert found.metrics == {"t": {"acc,none": Metric(0.5, 0.1, True)}}
    assert set(found.groups) == ({"g"} if results.get("g") else set())


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        (None, None),
        (Fallback(environment="e", version="1", error=""), FallbackReason("e", "1", "")),
        (Fallback(environment="e", version=None, error="x"), FallbackReason("e", None, "x")),
    ],
)
def test_fallback_reason_is_that_of_the_server(
    fallback: Fallback | None, expected: FallbackReason | None
) -> None:
    assert result_writer.fallback_reason(fallback) == expected


@pytest.mark.parametrize(
    ("ready", "milliseconds", "expected"),
    [({}, 60_000, (None, 60.0)), ({}, 1, (None, 0.1)), ({"total": 3.5}, 1_210, (3.5, 1.3))],
)
def test_durations_are_rounded_up(
    ready: Any, milliseconds: int, expected: tuple[float | None, float]
) -> None:
    end = START + timedelta(milliseconds=milliseconds)
    first, last = (moment.isoformat(timespec="seconds") for moment in (START, end))
    assert result_writer.times(ready, START, end) == Times(expected[0], first, last, expected[1])


def test_document_records_what_was_requested_and_what_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = output_checks.Observations(client=True, examples={"t"})
    fallback = {"environment": "vllm_0_8_0", "version": "0.8.0", "error": "no disk"}
    run = FinishedRun(output(), facts, START, START + timedelta(seconds=2))
    found = result_writer.make_result(job(fallback=fallback), run, ["secret"])
    expected = {
        "schema": 1, "chat": False, "fallback": True, "gpus": [0], "limit": None, "nodes": 1,
        "seed": 7, "source": "configs/one.yaml", "set": "hf_token=***", "options": {"a": 1},
        "arguments": ["--api-key", "***"], "variables": {"HF_TOKEN": "***", "X": "1"},
        "fallback_reason": fallback, "inputs": {}, "groups": {},
        "harness": {"name": "lm_eval", "version": "0.4.13", "environment": "no_harness",
                    "lock_sha256": None},
        "model": {"config": "one", "name": "org/name", "path": None, "revision": "main",
                  "revision_used": "c0ffee", "digest": None, "parameters": None, "dtype": None,
                  "license": None, "package": None},
        "engine": {"name": "vllm", "package": "vllm", "asked": "0.8.0", "answered": "0.8.1",
                   "environment": "no_engine", "lock_sha256": None, "dtype": "float16"},
        "task": {"name": "mine", "task_name": ["t"], "versions": {"t": "1.0"}, "num_fewshot": 3,
                 "gen_kwargs": {}, "max_length": 1024, "files": {}, "shots": {"t": 3},
                 "content": ""},
        "counts": {"samples": {"t": 4}, "requests": 8},
        "spec_sha256": hashlib.sha256(b"{}").hexdigest(),
        "harness_output": ["harness/m/results_x.json"],
        "metrics": {"t": {"acc,none": {"value": 0.5, "stderr": 0.1, "higher_is_better": True}}},
        "checks": {"t": {"prompts": 4, "truncated": 0, "leaked": 0, "answers": 0, "empty": 0,
                         "null": None}},
        "score": asdict(Score("t", "acc,none", 0.5, 0.1, True)),
    }  # fmt: skip
    dumped = json.loads(document.dump(found))
    assert {key: dumped[key] for key in expected} == expected
    assert dumped.keys() - expected.keys() == {"benchy", "git", "times"}


def publish(spec: bytes) -> None:
    job: Any = SimpleNamespace(
        target=Path("results/one/alpha/results.json"), spec_bytes=spec, locks=[], model="one",
        task="alpha", limit=None, run={"subdirectory": "harness"},
        server={"environment": "none"}, spec={"task": {"harness_environment": "none"}},
    )  # fmt: skip
    output: Any = SimpleNamespace(files=["r.json"], directory=Path("aside"))
    made: Any = SimpleNamespace(harness_output=["harness/r.json"], said=spec)
    Path("aside").mkdir(exist_ok=True)
    Path("aside/r.json").write_bytes(spec)
    result_writer.publish(job, made, output)


def test_spec_of_an_older_result_is_removed_before_the_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Path("results/one/alpha/spec.json")
    killed = False

    def write(made: Any, target: Path) -> None:
        assert not kept.exists(), "of the older result"
        target.write_bytes(made.said)
        if killed:
            raise KeyboardInterrupt

    monkeypatch.setattr(document, "write", write)
    publish(b"1")
    assert kept.read_bytes() == b"1"
    killed = True
    with pytest.raises(KeyboardInterrupt):
        publish(b"2")
    assert not kept.exists()
    killed = False
    publish(b"3")
    assert kept.read_bytes() == b"3"
    there = ["harness", "packages.json", "results.json", "spec.json"]
    assert sorted(p.name for p in kept.parent.iterdir()) == there
