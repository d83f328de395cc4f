"""Tests of the names of options in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.config import loader, option_checks, set_knob
from benchy.config.yaml_file import Document
from benchy.core.errors import ConfigError
from config_files import ENGINE, lay

NAMES = [
    ("dtype", ""),
    ("max-model-len", ""),
    ("hf_token", ""),  # benchy's own key
    ("host", ""),
    ("--seed", "is not an option name"),
    ("Seed", "is not an option name"),
    ("api_key", "is a secret"),
    ("api-key", "is a secret"),
    ("max_modl_len", "unknown key"),
    ("uds", "is reserved for benchy"),
    ("served-model-name", "is reserved for benchy"),
]


@pytest.mark.parametrize(("name", "says"), NAMES)
def test_names_of_options_are_checked(name: str, says: str) -> None:
    found = [*option_checks.names({name: 1}, Document("f"), ("vllm", "overrides"))]
    assert [m.what for m in found] == ([says] if says else [])
    assert all(m.key == f"vllm.overrides.{name}" and m.hint for m in found)


def test_a_reserved_option_can_be_null() -> None:
    assert not [*option_checks.names({"uds": None}, Document("f"), ())]


def test_reserved_options_of_an_engine_are_refused(tmp_path: Path) -> None:
    root = lay(tmp_path)
    engine = root / "configs/engines/vllm.yaml"
    engine.write_text(ENGINE.replace("{seed: 0}", "{seed: 0, port: 1, api_key: x}"))
    with pytest.raises(ConfigError) as caught:
        loader.load(root)
    assert [(m.line, m.key) for m in caught.value.mistakes] == [
        (4, "options.api_key"), (4, "options.port"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["api_key=x", "hf_token=x", "x", "a=1 a=2", "--a=1", "a=["])
def test_an_invalid_set_knob_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        set_knob.document(text)


def test_a_set_knob_is_read_as_yaml() -> None:
    found = set_knob.document("vllm_version=0.10 enforce-eager=true n=1")
    assert found.data == {"vllm_version": "0.10", "enforce_eager": True, "n": 1}
