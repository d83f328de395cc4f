"""The items of configs/tasks/basics/: form, balance, and answers that are in the text."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "configs/tasks/basics"
FILES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def items(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_items_are_distinct_and_complete(name: str) -> None:
    rows = items(name)
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows) >= 12
    for row in rows:
        values = [row.get("choices") or row["answer"], *(v for v in row.values() if v != 0)]
        texts = [v for value in values for v in (value if isinstance(value, list) else [value])]
        assert all(str(text).strip() == str(text) != "" for text in texts), row


CHOICES = [name for name in FILES if "choices" in items(name)[0]]


@pytest.mark.parametrize("name", CHOICES)
def test_right_answers_are_balanced_over_positions(name: str) -> None:
    rows = items(name)
    assert all(len(set(row["choices"])) == 4 for row in rows)
    positions = Counter(row["answer"] for row in rows)
    assert set(positions.values()) == {len(rows) // 4} and len(positions) == 4


def test_length_does_not_give_the_right_answer_away() -> None:
    longest = shortest = total = 0
    for name in CHOICES:
        for row in items(name):
            lengths = [len(choice) for choice in row["choices"]]
            right = lengths.pop(row["answer"])
            longest += right > max(lengths)
            shortest += right < min(lengths)
            total += 1
    assert total == 204 and longest < total / 4 and shortest < total / 4


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("reading")])
def test_answer_of_a_passage_is_in_it(name: str) -> None:
    for row in items(name):
        assert row["choices"][row["answer"]] in row["passage"], row


def test_word_problems_have_different_whole_numbers_as_answers() -> None:
    for name in FILES:
        if name.startswith("arithmetic"):
            answers = [int(row["answer"]) for row in items(name)]
            assert len(set(answers)) == len(answers) and 0 <= min(answers) <= max(answers) <= 200


@pytest.mark.parametrize("group", ["basics_written", "basics_chat"])
def test_score_of_a_group_counts_every_item(group: str) -> None:
    """The harness's mean of a group leaves out subtasks without the filter that it names."""
    document = yaml.safe_load((FOLDER / f"benchy_{group}.yaml").read_text())
    (aggregate,) = document["aggregate_metric_list"]
    for task in document["task"]:
        name = task.removeprefix("benchy_basics_")
        shared = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["include"]
        filters = yaml.safe_load((FOLDER / shared).read_text())["filter_list"]
        assert [entry["name"] for entry in filters] == aggregate["filter_list"], task
