"""Reading of a plan within one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchy.core import temporary_files
from benchy.plan.make import Graph


def test_a_plan_is_parsed_once_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    loads = json.loads

    def counting(text: str) -> Any:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(json, "loads", counting)
    graph, path = Graph(str(tmp_path)), tmp_path / "plan.json"
    for text in ('{"models": 1}', '{"models": 2}'):
        temporary_files.write(path, text)
        assert graph.read() == graph.read() == loads(text)
    assert parsed == ['{"models": 1}', '{"models": 2}']
    assert Graph(str(tmp_path)) == graph  # what it has read does not make it another graph
