"""Tests of where a token is read from, and which names count as secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

import specs
from benchy.core import names
from benchy.core.errors import Failure
from benchy.hub import tokens

FILES = [
    ("a provider's", "engine: vllm\nhf_token: hf_a\n", "hf_a"),
    ("a config's", "vllm:\n  overrides: {hf_token: hf_a}\n", "hf_a"),
    ("with a dash", "vllm:\n  overrides: {hf-token: hf_a}\n", "hf_a"),
    ("none", "vllm:\n  overrides: {}\n", ""),
    ("null", "hf_token: null\nvllm: null\n", ""),
    ("no mapping", "- a\n", ""),
    ("empty", "", ""),
]


@pytest.mark.parametrize(("text", "token"), [case[1:] for case in FILES], ids=[c[0] for c in FILES])
def test_a_token_in_a_file_wins_over_the_environment(tmp_path: Path, text: str, token: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert tokens.written(path) == token
    spec = specs.server(token_from=str(path))
    assert tokens.of(spec, {"HF_TOKEN": "ours"}) == (token or "ours")


def test_without_a_file_the_token_comes_from_the_environment() -> None:
    assert tokens.of(specs.server(), {"HF_TOKEN": "ours"}) == "ours"
    assert tokens.of(specs.server(), {}) == ""


@pytest.mark.parametrize("text", [b"hf_token: [hf_a", b"\xff", None])
def test_the_error_for_an_unreadable_file_shows_no_content(
    tmp_path: Path, text: bytes | None
) -> None:
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(Failure, match="cannot read hf_token from") as failed:
        tokens.written(path)
    assert "hf_a" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True), ("hf_token", True), ("OPENAI_API_KEY", True), ("api-key", True),
        ("AWS_ACCESS_KEY_ID", True), ("AWS_SECRET_ACCESS_KEY", True), ("DB_PASSWORD_2", True),
        ("PGPASSWORD", True), ("TOKEN", True), ("MY_CREDENTIALS", True),
        ("TOKENIZERS_PARALLELISM", False), ("MAX_TOKENS", False), ("HF_TOKEN_PATH", False),
        ("VLLM_KEYS_SEEN", False), ("MONKEY", False), ("HF_HUB_OFFLINE", False),
    ],
)  # fmt: skip
def test_a_secret_is_recognized_by_its_name(name: str, secret: bool) -> None:
    assert names.secret(name) is secret
