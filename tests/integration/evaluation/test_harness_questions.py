"""Facts from the harness's environment: when they are cached, and what they depend on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.evaluation import harness, harness_questions


@pytest.mark.parametrize(
    ("said", "kept"),
    [({"error": "OSError: hub"}, False), ({"errors": {"t": "x"}}, False), ({"tasks": {}}, True)],
)
def test_facts_are_cached_unless_they_report_an_error(
    said: dict[str, Any], kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "python", lambda spec: sys.executable)
    monkeypatch.setattr(harness_questions, "SCRIPT", tmp_path / "facts.py")
    harness_questions.SCRIPT.write_text("print('a warning')\nprint(open('said').read())\n")
    Path("said").write_text(json.dumps(said))
    assert harness_questions.task_facts(specs.of_result(), {}) == said
    for text in ("no JSON", "[]", "null", ""):
        Path("said").write_text(text)
        found = harness_questions.task_facts(specs.of_result(), {})
        assert found == (said if kept else {})
    for path in Path().glob("build/preflight/*.json"):
        path.write_text("[1]")  # damaged
    Path("said").write_text(json.dumps(said))
    assert harness_questions.task_facts(specs.of_result(), {}) == said
    Path("said").write_text("no JSON")
    assert harness_questions.task_facts(specs.of_result(), {}) == (said if kept else {})
