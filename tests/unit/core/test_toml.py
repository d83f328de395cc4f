"""Tests of the TOML reader."""

from __future__ import annotations

import pytest

from benchy.core import toml


def test_toml_is_parsed() -> None:
    text = "[[package]]\nname = 'a'  # a comment\nsizes = [1,\n 2]\n"
    assert toml.loads(text) == {"package": [{"name": "a", "sizes": [1, 2]}]}


def test_invalid_toml_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expected '='"):
        toml.loads("a = 1\nb")
