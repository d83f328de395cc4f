"""Tests of the matrix: each cell becomes a model, and each value keeps its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchy.config import loader, matrix
from benchy.core import names
from benchy.core.errors import ConfigError
from config_files import MODEL, lay

LIST = 'matrix:\n  vllm_version: ["0.10.2", "0.11.2"]\n  enforce_eager: [true, false]\n'


@pytest.fixture(name="root")
def root_(tmp_path: Path) -> Path:
    return lay(tmp_path)


def write(root: Path, text: str) -> None:
    (root / "configs/single_card/m.yaml").write_text(MODEL + text)


def test_every_combination_becomes_a_model(root: Path) -> None:
    write(root, LIST)
    models = loader.load(root).models
    assert [m.name for m in models] == [
        "m@0.10.2+true", "m@0.10.2+false", "m@0.11.2+true", "m@0.11.2+false",
    ]  # fmt: skip
    assert [m.serving.vllm_version for m in models[1:3]] == ["0.10.2", "0.11.2"]
    assert models[0].origin["vllm_version"] == "configs/single_card/m.yaml:8"
    assert all(names.config_of(m.name) == "m" for m in models)


def test_a_cell_wins_over_the_overrides(root: Path) -> None:
    text = MODEL.replace("overrides: {}", "overrides: {dtype: float32}")
    (root / "configs/single_card/m.yaml").write_text(text + "matrix: {dtype: [float16]}\n")
    (model,) = loader.load(root).models
    assert (model.name, model.options["dtype"]) == ("m@float16", "float16")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {vllm_version: [0.10]}", ["m.yaml:7: vllm_version: 0.10 is a number"]),
        ("matrix: {vllm_version: []}", ["m.yaml:7: matrix.vllm_version"]),
        ("matrix: {vllm_version: '0.8.0'}", ["m.yaml:7: matrix.vllm_version", "not a list"]),
        ("matrix: {port: [1, 2]}", ["matrix.port: cannot change answers"]),
        ("matrix: {dtype: [half, half]}", ["matrix: two of its cells have the name m@half"]),
        ("matrix: {max_modl_len: [1]}", ["did you mean 'max_model_len'?"]),
    ],
)
def test_mistakes_in_a_matrix_are_reported(
    root: Path,
    text: str,
    said: list[str],
) -> None:
    write(root, text)
    with pytest.raises(ConfigError) as told:
        loader.load(root)
    for part in said:
        assert part in str(told.value)


def test_set_cannot_override_a_key_of_the_matrix(root: Path) -> None:
    write(root, LIST)
    with pytest.raises(ConfigError, match="varied by the matrix"):
        loader.load(root, knobs={"SET": "vllm_version=0.9.0"})


def test_labels_of_cells_are_valid_names() -> None:
    for value in (True, None, 0.5, -1, "a b", "$(shell x)", [1], {"a": 1}, "", "x" * 99):
        assert re.match(names.NAME, "m" + matrix.label(value)), value
