"""Checks of a model's files before a device is taken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core.specs import ServerSpec
from benchy.evaluation import environment_questions, model_checks
from benchy.scripts import template_facts

ADAPTER = json.dumps({"base_model_name_or_path": "acme/base"})


def server(folder: Path, **more: Any) -> ServerSpec:
    where = {"model.name": "configs/one.yaml:2", "chat": "configs/one.yaml:9"}
    place = {"name": str(folder), "path": str(folder), "environment": "e", "where": where}
    return specs.server(**place | more)


@pytest.mark.parametrize(
    ("files", "more", "told"),
    [
        ({"config.json": "{}"}, {}, ""),
        ({"params.json": "{}"}, {}, ""),
        ({"model-q4.gguf": ""}, {}, ""),
        ({"adapter_config.json": ADAPTER}, {}, "only an adapter | into its base model acme/base"),
        ({"adapter_config.json": "no JSON"}, {}, "only an adapter | merge it into its base model,"),
        ({"adapter_config.json": "[]"}, {}, "only an adapter"),
        ({"adapter_config.json": ADAPTER, "config.json": "{}"}, {}, ""),
        ({"README.md": ""}, {}, "contains no model: no config.json, params.json, *.gguf"),
        ({"model.safetensors": ""}, {"options": {"hf_config_path": "acme/base"}}, ""),
        ({"config.json": "{}"}, {"chat": True}, "has no tokenizer | set tokenizer in its"),
        ({"config.json": "{}"}, {"chat": True, "options": {"tokenizer_mode": "mistral"}}, ""),
        ({"config.json": "{}"}, {"chat": True, "options": {"tokenizer": "acme/base"}}, ""),
        ({"config.json": "{}", "tokenizer.json": "{}"}, {"chat": True}, ""),
    ],
)  # fmt: skip
def test_model_directory_with_missing_files_is_reported(
    tmp_path: Path, files: dict[str, str], more: dict[str, Any], told: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = model_checks.mistakes(server(tmp_path, **more), {})
    assert len(found) == bool(told)
    for mistake in found:
        text = f"{mistake.what} | {mistake.hint},"
        assert all(part in text for part in told.split(" | ")), text
        assert mistake.file == "configs/one.yaml" and mistake.line == 2


def test_missing_directory_and_hub_model_are_not_checked(tmp_path: Path) -> None:
    assert model_checks.mistakes(server(tmp_path / "gone"), {}) == []  # the plan reports it
    assert model_checks.mistakes(server(tmp_path / "gone", make="tiny"), {}) == []
    hub = server(tmp_path, path=None, name="acme/one")
    assert model_checks.mistakes(hub, {}) == []


def test_unknown_facts_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    asked = {"tokenizer": "x", "name": "x", "revision": None, "trust_remote_code": False}
    assert template_facts.template({**asked, "text": None}) == {}
    assert environment_questions.has_tokenizer(Path("acme/on-the-hub"))


def test_template_is_that_of_the_model_a_file_or_the_option(tmp_path: Path) -> None:
    assert model_checks.template(specs.server()) == (None, "the model's")
    file = tmp_path / "a.jinja"
    file.write_text("{{ x }}\n")
    named = specs.server(options={"chat_template": str(file)})
    assert model_checks.template(named) == ("{{ x }}\n", str(file))
    written = specs.server(options={"chat_template": r"{{ x }}\n"})
    assert model_checks.template(written)[0] == "{{ x }}\n"
