"""Tests of the texts that describe changes. They contain no digests and no whole JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.plan import changes, staleness

A, B = "1" * 64, "2" * 64
LONG = "".join(f"{n:03}" for n in range(60))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (256, 128, "256 → 128"),
        (None, "x", 'null → "x"'),
        (["a"], ["b"], '["a"] → ["b"]'),
        ([*map(str, range(40))], [*map(str, range(1, 41))], '- "0", + "40"'),
        ([*map(str, range(40))], [*map(str, reversed(range(40)))],
         "the same, in another order or number"),
        (LONG, LONG[:150] + "xxx", '…046047048049050051052053054055056057058059" → '
         '…046047048049xxx"'),
    ],
)  # fmt: skip
def test_a_changed_value_is_described_briefly(old: Any, new: Any, said: str) -> None:
    assert changes.values(old, new) == said


def test_shortened_values_still_show_the_difference() -> None:
    for at in range(0, len(LONG), 7):
        one, _, two = changes.values(LONG, f"{LONG[:at]}#{LONG[at:]}").partition(" → ")
        assert one != two and "#" in two


def test_a_change_of_content_is_described() -> None:
    one, two = "a" * 40, "b" * 40 + "+0123456789ab"
    assert changes.content(one, two) == f"commit {one[:12]} → commit {'b' * 12} with edits"
    assert changes.content(A, B) == "changed"
    assert changes.content(None, B) == "is there now"
    assert changes.content(A, None) == "no longer exists"


def test_changed_mappings_list_only_the_differences() -> None:
    one, two = {"x": 1, "y": {"z": 2}}, {"x": 1, "w": 3}
    assert changes.of_mappings(one, two) == ('y {"z": 2}', "w 3")
    assert changes.of_files({"a": A, "b": A}, {"a": B}) == ("a, b", "another a")
    assert changes.of_files({}, {"a": B}) == ("none", "a")


def test_added_and_removed_mappings_are_listed_by_leaf() -> None:
    made, now = {"fallback": None}, {"fallback": {"environment": "e", "version": "2"}}
    assert list(staleness.differences(made, now)) == [
        ("fallback.environment", None, "e"), ("fallback.version", None, "2"),
    ]  # fmt: skip
    assert list(staleness.differences({"a": None}, {"a": {}})) == [("a", None, {})]
    assert list(staleness.differences({"a": {"b": 1}}, {})) == [("a.b", 1, None)]


def test_reported_changes_contain_no_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text("x")
    monkeypatch.setattr(staleness, "written", lambda *_: "")
    own = specs.task(include_path=str(tmp_path))
    monkeypatch.setattr(staleness, "read_task", lambda _: own)
    now = specs.result(path="/models/x", name="x")
    for field in ("task.files.x.yaml", "model.content"):
        for old, new in ((A, B), (None, B), (A, None)):
            line = staleness.change("m", now, field, old, new)
            assert not re.search("[0-9a-f]{12}", line), line
            assert "x" in line
