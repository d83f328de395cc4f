"""Text on a model's page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.core import paths
from benchy.display import hidden_characters
from benchy.reporting import model_page
from results import entry


def test_hidden_and_bidirectional_characters_are_visible() -> None:
    assert hidden_characters.visible("a\u202eb\x1b[1m\ufeff") == "a[U+202E]b[U+001B][1m[U+FEFF]"
    kept = "línea\n\tשלום مرحبا 👩‍👩‍👧‍👦 می‌خواهم"  # noqa: RUF001
    assert hidden_characters.visible(kept) == kept


def test_pages_are_written_again_after_any_change_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "core/text.py", "display/units.py", "reporting/comparability.py", "plan/changes.py",
        "evaluation/scored_result.py", "reporting/templates/index.html",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(paths, "CODE", tmp_path)
    seen = set()
    for name in names:
        (tmp_path / name).write_text("changed")
        seen.add(model_page._version.__wrapped__())
    assert len(seen) == len(names)


def test_unknown_facts_are_not_listed() -> None:
    facts = dict(model_page._facts(entry("m", "a", 0.5)))
    assert not {"fallback_reason", "limit", "task.num_fewshot", "model.path", "source"} & set(facts)
    assert facts["fallback"] == "false" and facts["engine.answered"] == "0.8.0"
    assert not [name for name, value in facts.items() if value in ("", "{}", "[]", "null")]
