"""The result document: writing, reading, metrics and main score. Also provenance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchy.core.errors import Failure
from benchy.evaluation import provenance
from benchy.evaluation import result as document
from benchy.evaluation.result import Metric
from results import made


def test_written_result_is_read_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for result in (
        made(),
        made(gpus="cpu", limit=5),
        made(
            fallback=True, fallback_reason=document.FallbackReason("vllm_0_8_0", "0.8.0", "no disk")
        ),
    ):
        document.write(result, path)
        assert document.read(path) == result
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(json.loads(document.dump(made())) | {"later": 1}))
    assert document.read(path) == made()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("cut off", lambda t: t[:200], "Invalid JSON"),
        ("empty", lambda t: "", "Invalid JSON"),
        ("a key is gone", lambda t: t.replace('"seed"', '"sead"'), "seed"),
        ("another type", lambda t: t.replace('"value": 0.25', '"value": "high"'), "value"),
    ],
)
def test_damaged_result_is_a_failure_with_path_and_cause(
    tmp_path: Path, name: str, change: Any, words: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(change(document.dump(made())))
    with pytest.raises(Failure, match=words) as failure:
        document.read(path)
    assert str(path) in failure.value.what and str(path) in failure.value.hint


def test_a_failed_write_leaves_the_older_result(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    document.write(made(), path)
    nan = replace(made(), score=document.Score("t", "acc,none", math.nan, None, True))
    with pytest.raises(ValueError):
        document.write(nan, path)
    assert document.read(path) == made() and len(list(tmp_path.iterdir())) == 1


def test_metrics_are_read_with_stderr_and_direction() -> None:
    entry = {
        "alias": " - t", "name": "t", "sample_len": 2,
        "acc,none": 1, "acc_stderr,none": "N/A",
        "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1,
        "bleu,none": 3.0, "bleu_stderr,none": math.nan,
    }  # fmt: skip
    assert document.metrics_of(entry, {"acc": True, "bleu": False}) == {
        "acc,none": Metric(1.0, None, True),
        "exact_match,strict": Metric(0.5, 0.1, None),
        "bleu,none": Metric(3.0, None, False),
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, "N/A", None, True])
def test_metric_without_a_finite_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="acc,none"):
        document.metrics_of({"acc,none": value}, {})


def m(value: float, stderr: float | None = None) -> Metric:
    return Metric(value, stderr, True)


@pytest.mark.parametrize(
    ("name", "asked", "metrics", "groups", "expected"),
    [
        (
            "a group's own",
            ["g"],
            {"a": {"acc,none": m(0.1)}},
            {"g": {"acc,none": m(0.3, 0.1), "acc_norm,none": m(0.9)}},
            ("g", "acc,none", 0.3, 0.1),
        ),
        ("a task's own", ["a"], {"a": {"f1,none": m(0.1)}}, {}, ("a", "f1,none", 0.1, None)),
        (
            "the mean of what all share",
            ["a", "b"],
            {"a": {"bleu,none": m(10, 3)}, "b": {"bleu,none": m(20, 4)}},
            {},
            ("mean of 2 tasks", "bleu,none", 15, 2.5),
        ),
        (
            "kinds are not mixed",
            ["g"],
            {
                "a": {"bleu,none": m(10)},
                "b": {"acc,none": m(0.2, 0.1)},
                "c": {"mcc,none": m(0), "acc,none": m(0.4)},
            },
            {},
            ("mean of 2 of 3 tasks", "acc,none", 0.3, None),
        ),
    ],
)
def test_main_score_is_that_of_the_group_or_task_or_a_mean(
    name: str, asked: list[str], metrics: Any, groups: Any, expected: tuple[Any, ...]
) -> None:
    score = document.main_score(asked, metrics, groups)
    assert (score.of, score.metric, pytest.approx(score.value), score.stderr) == expected, name


def test_no_metric_is_an_error() -> None:
    with pytest.raises(ValueError, match="no metric"):
        document.main_score(["a"], {"a": {}}, {})


def test_digest_depends_on_contents_and_ignores_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = provenance.digest(tmp_path)
    (tmp_path / ".lock").write_text("x")
    assert provenance.digest(tmp_path) == first
    (tmp_path / "config.json").write_text("[]")
    assert provenance.digest(tmp_path) != first


def test_revision_used_is_read_from_the_hub_cache(tmp_path: Path) -> None:
    commit = "a" * 40
    repo = tmp_path / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / ("b" * 40)).mkdir(parents=True)
    ask = provenance.revision_used
    assert ask("org/name", None, str(tmp_path / "hub"), {}) == commit
    assert ask("org/name", None, None, {"HF_HOME": str(tmp_path)}) == commit
    assert ask("org/name", None, None, {"HF_HUB_CACHE": str(tmp_path / "hub")}) == commit
    assert ask("org/name", "b" * 40, str(tmp_path / "hub"), {}) == "b" * 40
    assert ask("org/name", "v2", str(tmp_path / "hub"), {}) is None
    assert ask("org/other", None, str(tmp_path), {}) is None


def test_secrets_are_masked_in_arguments_and_variables() -> None:
    arguments = ["--api-key", "k1", "k2", "--port", "1", "--api-key=k3", "--x=tok-1"]
    assert provenance.without_secrets(arguments, ["tok-1", ""]) == [
        "--api-key", "***", "***", "--port", "1", "--api-key=***", "--x=***",
    ]  # fmt: skip
    assert provenance.public({"HF_TOKEN": "t", "VLLM_X": 1}) == {"HF_TOKEN": "***", "VLLM_X": "1"}
