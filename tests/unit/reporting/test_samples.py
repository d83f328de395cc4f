"""Logged samples: which files have them, and which of them are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchy.evaluation.result import Score
from benchy.reporting import samples
from results import made

STAMP = "2026-11-23T09-00-00.1"


def test_files_are_those_of_the_result_that_exist(tmp_path: Path) -> None:
    names = [f"m/samples_{task}_{STAMP}.jsonl" for task in ("b_c", "a", "gone")]
    (tmp_path / "m").mkdir()
    for name in (*names[:2], f"m/samples_of_another_{STAMP}.jsonl", "m/results_x.json"):
        (tmp_path / name).touch()
    result = made(harness_output=[*names, "m/results_x.json"])
    found = [("a", tmp_path / names[1]), ("b_c", tmp_path / names[0])]
    assert samples.files(tmp_path, result) == found


def test_lines_that_are_no_samples_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"doc_id": 0}\n[1]\nnull\n\n{"doc_id": "\xff"}\n{"doc_id":')
    assert list(samples.read(path)) == [{"doc_id": 0}, {"doc_id": "\ufffd"}]


ACC = Score("t", "acc,none", 0.5, None, True)
LOWER = Score("t", "wrong,none", 0.5, None, False)
STRICT = Score("t", "acc,strict", 0.5, None, None)
OUTCOMES: list[tuple[dict[str, Any], Score | None, int]] = [
    ({"acc": 1}, ACC, 1),
    ({"acc": 0.0}, ACC, 0),
    ({"acc": True, "filter": "none"}, ACC, 1),
    ({"acc": 0.5}, ACC, -1),
    ({"acc": "1"}, ACC, -1),
    ({}, ACC, -1),
    ({"acc": 1}, None, -1),
    ({"wrong": 1}, LOWER, 0),
    ({"wrong": 0}, LOWER, 1),
    ({"acc": 1}, STRICT, -1),
    ({"acc": 1, "filter": "strict"}, STRICT, 1),
]


@pytest.mark.parametrize(("sample", "score", "expected"), OUTCOMES)
def test_sample_is_right_wrong_or_neither(
    sample: dict[str, Any], score: Score | None, expected: int
) -> None:
    assert samples.outcome(sample, score) == expected


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ([{"acc": 1}, {"acc": 0}], True),
        ([{"acc": 1}, {"acc": 0.5}], False),
        ([{"acc": 1}, {"acc": 0.5, "filter": "strict"}], True),
        ([{"acc": 1, "filter": "strict"}], False),
        ([], False),
    ],
)
def test_metric_is_binary_if_all_samples_with_its_filter_are_0_or_1(
    tmp_path: Path, logged: list[dict[str, Any]], expected: bool
) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, logged)))
    assert samples.is_binary(path, ACC) is expected
