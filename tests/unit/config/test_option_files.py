"""Files and folders that options name: which count, what they hold, what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchy.config import option_files
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.plan import staleness


@pytest.fixture(name="root")
def root_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    for name in (
        "templates/pirate.jinja", "pirate.jinja", "draft/config.json", "draft/model.safetensors",
        "cache/x.bin", "my/plugin.py", "processors.py", "build/models/tiny/config.json",
        "org/name/config.json", "logging.json", "kernels/tuned.json", "mytemplate",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "outside.jinja").write_text("outside")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/elsewhere.py").write_text("x")
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setenv("HOME", str(tmp_path))
    return root


# options, variables → key → path
NAMED: list[tuple[dict[str, Any], dict[str, str], dict[str, str]]] = [
    ({"chat_template": "templates/pirate.jinja"}, {},
     {"options.chat_template": "templates/pirate.jinja"}),
    ({"chat_template": "pirate.jinja"}, {}, {"options.chat_template": "pirate.jinja"}),
    ({"chat_template": "./org/../pirate.jinja"}, {}, {"options.chat_template": "pirate.jinja"}),
    ({"chat_template": "~/outside.jinja"}, {}, {"options.chat_template": "../outside.jinja"}),
    ({"chat_template": "mytemplate"}, {}, {"options.chat_template": "mytemplate"}),
    ({"chat_template": "/etc/passwd", "other": "/etc/passwd"}, {},
     {"options.chat_template": "/etc/passwd"}),
    ({"chat_template": "{{ a/b }}.jinja"}, {}, {}),
    ({"chat_template": "{% for m in messages %}\n{{ m }}{% endfor %}"}, {}, {}),
    ({"chat_template": "a/" * 3000}, {}, {}),
    ({"chat_template": "a/\0"}, {}, {}),
    ({"tokenizer": "draft"}, {}, {}),  # a word: it may be any option's value
    ({"tokenizer": "./draft"}, {}, {"options.tokenizer": "draft"}),
    ({"tokenizer": "org/name"}, {}, {"options.tokenizer": "org/name"}),
    ({"tokenizer": "org/other"}, {}, {}),
    ({"tokenizer": "build/models/tiny"}, {}, {}),  # benchy makes it; its making changes nothing
    ({"speculative_config": {"model": "./draft", "num_speculative_tokens": 3}}, {},
     {"options.speculative_config.model": "draft"}),
    ({"speculative_config": '{"model": "./draft"}'}, {},
     {"options.speculative_config.model": "draft"}),
    ({"middleware": ["json.Loads", "my.plugin.Middle"]}, {},
     {"options.middleware.1": "my/plugin.py"}),
    ({"logits_processors": ["processors:Loud"]}, {},
     {"options.logits_processors.0": "processors.py"}),
    ({"logits_processors": ["elsewhere.Loud"]}, {"PYTHONPATH": "/nowhere:{tmp}/more"},
     {"options.logits_processors.0": "../more/elsewhere.py"}),
    ({"compilation_config": {"cache_dir": "./cache"}}, {}, {}),
    ({"allowed_local_media_path": "/"}, {}, {}),
    ({"dtype": "float16", "seed": 0, "rope_theta": 1.5, "x": None, "y": True}, {}, {}),
    ({}, {"VLLM_TUNED": "kernels/tuned.json"}, {"variables.VLLM_TUNED": "kernels/tuned.json"}),
    ({}, {"LD_PRELOAD": "/usr/bin/env", "VLLM_LOGGING_CONFIG_PATH": "logging.json"}, {}),
    ({}, {"VLLM_CACHE_ROOT": "./draft", "SOME_FOLDER": "./draft", "A": "1"}, {}),
    ({"pooler": "templates/pirate.jinja"}, {}, {}),  # neutral, below
]  # fmt: skip


@pytest.mark.parametrize(("options", "variables", "there"), NAMED)
def test_what_is_named(
    root: Path, options: dict[str, Any], variables: dict[str, str], there: dict[str, str]
) -> None:
    variables = {k: v.replace("{tmp}", str(root.parent)) for k, v in variables.items()}
    found = option_files.named(options, variables, ["pooler"], root)
    told = {f"{each.kind}.{each.key}": each.path for each in found}
    assert told == {key: (root / path).resolve() for key, path in there.items()}
    spec = {"options": options, "variables": variables}
    for each in found:
        kind = {"options": "option_files", "variables": "variable_files"}[each.kind]
        assert option_files.text_of(spec, kind, each.key) == each.text
    if found:
        assert option_files.paths_in(options, variables)


def test_what_they_hold_is_what_counts(root: Path) -> None:
    options = {"chat_template": "pirate.jinja", "speculative_config": {"model": "./draft"}}

    def meant() -> dict[str, dict[str, str]]:
        return option_files.meaning(option_files.named(options, {}, (), root))

    before = meant()
    assert before.keys() == {"option_files"}
    assert before["option_files"].keys() == {"chat_template", "speculative_config.model"}
    (root / "pirate.jinja").touch()
    assert meant() == before
    (root / "pirate.jinja").write_text("arr, matey")
    after = meant()
    assert after["option_files"]["chat_template"] != before["option_files"]["chat_template"]
    assert option_files.meaning(option_files.named({"dtype": "auto"}, {}, (), root)) == {}


def test_a_plan_looks_at_every_file(root: Path) -> None:
    found = option_files.named({"a": "pirate.jinja", "b": "./draft"}, {}, (), root)
    inputs = [str(path.relative_to(root)) for path in option_files.inputs(found)]
    assert inputs == ["pirate.jinja", "draft", "draft/config.json", "draft/model.safetensors"]


def test_a_large_file_is_not_read_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(option_files, "_WHOLE", 10)
    monkeypatch.setattr(option_files, "_END", 4)
    file = root / "weights.gguf"
    digests = set()
    for text in (
        "head" + "0" * 20 + "tail",
        "HEAD" + "0" * 20 + "tail",
        "head" + "0" * 21 + "tail",
    ):
        file.write_text(text)
        digests.add(option_files.digest(file))
    assert len(digests) == 3


def test_a_file_that_changed_since_the_plan_stops_the_server(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"chat_template": "pirate.jinja", "download_dir": "./draft"}
    found = option_files.named(options, {}, ["download_dir"], root)
    planned = {"options": {"chat_template": "pirate.jinja"}, **option_files.meaning(found)}
    spec = {"model": "one", "options": options, "variables": {}, "meaning": planned}
    named = option_files.named
    monkeypatch.setattr(option_files, "named", lambda o, v: named(o, v, (), root))
    option_files.refuse_changed(spec)
    option_files.refuse_changed({"model": "one", "options": {}, "variables": {}})
    (root / "pirate.jinja").write_text("arr")
    with pytest.raises(Failure, match=r"one: pirate\.jinja has changed since the plan was made"):
        option_files.refuse_changed(spec)
    (root / "pirate.jinja").unlink()
    with pytest.raises(Failure, match="one: chat_template has changed"):
        option_files.refuse_changed(spec)


def test_why_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness, "written", lambda *_: "  (m.yaml:5)")
    now = {"options": {"chat_template": "t.jinja"}, "option_files": {"chat_template": "2"}}
    made: dict[str, Any] = json.loads(json.dumps(now))
    made["option_files"]["chat_template"] = "1"

    def told() -> list[str]:
        return [staleness.change("m", now, *each) for each in staleness.differences(made, now)]

    assert told() == ["options.chat_template: t.jinja changed  (m.yaml:5)"]
    del made["option_files"]
    assert told() == ["options.chat_template: t.jinja is there now  (m.yaml:5)"]
    made, now = now, made
    assert told() == ["options.chat_template: t.jinja is there no more  (m.yaml:5)"]
