"""Checks of a model's files before a device is taken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core.specs import ServerSpec
from benchy.environments import health
from benchy.evaluation import model_checks
from benchy.serving import preparation


def server(folder: Path, **more: Any) -> ServerSpec:
    where = {"model.name": "configs/one.yaml:2", "chat": "configs/one.yaml:9"}
    place = {"name": str(folder), "path": str(folder), "environment": "e", "where": where}
    return specs.server(**place | more)


@pytest.mark.parametrize(
    ("facts", "options", "more", "key", "told"),
    [
        ({"template": "ok"}, {}, (), "", ""),
        ({}, {}, (), "", ""),
        ({"template": "none"}, {}, (), "use_chat_completions", "has no chat template"),
        ({"template": "none"}, {}, ("chat_template.jinja",), "", ""),
        ({"template": "broken", "why": "line 3"}, {}, (), "use_chat_completions", "line 3"),
        ({"template": "broken", "why": "line 3"}, {"chat_template": "{% x"}, (),
         "vllm.overrides.chat_template", "line 3"),
        ({"template": "none"}, {}, ("tekken.json",), "", ""),
    ],
)  # fmt: skip
def test_missing_or_broken_chat_template_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, str],
    options: dict[str, str],
    more: tuple[str, ...],
    key: str,
    told: str,
) -> None:
    for name in ("config.json", "tokenizer.json", *more):
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(health, "intact", lambda env: True)
    asked = server(tmp_path, chat=True, options=options)
    monkeypatch.setattr(model_checks, "SCRIPT", tmp_path / "facts.py")
    model_checks.SCRIPT.write_text(f"print({json.dumps(json.dumps(facts))})\n")
    python = type("EngineEnvironment", (), {"python": sys.executable})
    monkeypatch.setattr(preparation, "EngineEnvironment", lambda *_: python)
    needed = "tekken.json" not in more
    assert model_checks.passed(asked) is not needed
    found = model_checks.mistakes(asked, {})
    assert [(each.key, told in each.what) for each in found] == ([(key, True)] if key else [])
    assert model_checks.passed(asked) is not bool(key)
    if needed:
        (tmp_path / "tokenizer.json").write_text("{ }")  # invalidates the cached answer
        assert model_checks.mistakes(asked, None) == []
