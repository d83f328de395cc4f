"""Tests of facts about models: the bytes of their weights."""

from __future__ import annotations

from typing import Any

import pytest

from benchy.hub import model_info

# (files of a repository with their sizes, bytes of the weights)
WEIGHTS: list[tuple[dict[str, Any], int | None]] = [
    ({"model-1.safetensors": 3, "model-2.safetensors": 4, "config.json": 9}, 7),
    ({"model.safetensors": 3, "pytorch_model.bin": 5}, 3),  # the same weights twice
    ({"pytorch_model.bin": 5, "consolidated.pth": 6}, 11),
    ({"onnx/model.safetensors": 3}, None),
    ({"model.safetensors": None}, None),
    ({}, None),
]


@pytest.mark.parametrize(("sizes", "expected"), WEIGHTS)
def test_weights_in_two_formats_are_counted_once(
    sizes: dict[str, Any], expected: int | None
) -> None:
    assert model_info.weight_bytes(sizes) == expected
