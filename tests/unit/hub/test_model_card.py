"""Tests of reading parameters, dtype and license from a model's files, which are not trusted."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from benchy.hub import model_card
from benchy.hub.model_card import ModelCard


def weights(path: Path, **tensors: tuple[str, list[Any]]) -> None:
    """Write a safetensors file without data. tensors: name → (dtype, shape)."""
    head = {
        name: {"dtype": d, "shape": s, "data_offsets": [0, 0]} for name, (d, s) in tensors.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **head}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def config(folder: Path, **keys: Any) -> None:
    (folder / "config.json").write_text(json.dumps(keys))


def card(folder: Path, front: str) -> None:
    (folder / "README.md").write_text(f"---\n{front}\n---\n# A model\nlicense: not-this-one\n")


def test_card_has_parameters_dtype_and_license(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors", a=("BF16", [10, 100]), b=("BF16", [24]), n=("F32", [2]))
    config(tmp_path, torch_dtype="float32")
    card(tmp_path, "language:\n- es\nlicense: apache-2.0\ntags: [a]")
    assert model_card.of(tmp_path) == ModelCard(1026, "bfloat16", "apache-2.0")


def test_parameters_are_counted_by_the_index_and_without_copies(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors", "consolidated.safetensors"):
        weights(tmp_path / name, w=("F16", [7]))
    index = tmp_path / "model.safetensors.index.json"
    assert model_card.of(tmp_path).parameters == 14
    index.write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))
    assert model_card.of(tmp_path) == ModelCard(7, "float16", None)
    for bad in ("gone.safetensors", "../a.safetensors", str(tmp_path / "a.safetensors")):
        index.write_text(json.dumps({"weight_map": {"w": "a.safetensors", "x": bad}}))
        assert model_card.of(tmp_path).parameters is None  # a partial count is not returned


QUANTIZED = [
    ("gptq", {"quant_method": "gptq", "bits": 4}, "gptq 4-bit", 8 * 16 + 5,
     {"q.qweight": ("I32", [16]), "q.scales": ("F16", [9]), "q.qzeros": ("I32", [9]),
      "q.g_idx": ("I32", [9]), "norm": ("F16", [5])}),
    ("bits not known", {"quant_method": "odd"}, "odd", None, {"w": ("I32", [16])}),
    ("fp8", {"quant_method": "fp8"}, "fp8 8-bit", 16,
     {"w.weight": ("F8_E4M3", [16]), "w.weight_scale_inv": ("F32", [3])}),
    ("bitsandbytes", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes 4-bit",
     32, {"w.weight": ("U8", [16, 1]), "w.weight.absmax": ("F32", [3]),
          "w.weight.quant_state.bitsandbytes__nf4": ("U8", [90])}),
    ("compressed-tensors", {"quant_method": "compressed-tensors", "config_groups":
     {"group_0": {"weights": {"num_bits": 4}}}}, "compressed-tensors 4-bit", 128,
     {"w.weight_packed": ("I32", [16]), "w.weight_shape": ("I64", [2])}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how", "dtype", "parameters", "tensors"), QUANTIZED)
def test_quantized_weights_are_counted_by_their_bits(
    name: str, how: Any, dtype: str, parameters: int | None, tensors: Any, tmp_path: Path
) -> None:
    weights(tmp_path / "model.safetensors", **tensors)
    config(tmp_path, quantization_config=how, torch_dtype="float16")
    assert model_card.of(tmp_path) == ModelCard(parameters, dtype, None)


LICENSES = [
    ("plain", "license: mit", "mit"),
    ("quoted, with a comment", "license: 'cc-by-4.0'  # ours", "cc-by-4.0"),
    ("several", "license:\n- mit\n- apache-2.0\ntags: x", "mit, apache-2.0"),
    ("its own", "license: other\nlicense_name: qwen-research", "other (qwen-research)"),
    ("only below another key", "base:\n  license: mit", None),
    ("a number", "license: 3.0", None),
    ("no YAML", "license: [mit", None),
    ("a tag that would run", "license: !!python/object/apply:os.getcwd []", None),
    ("two lines", 'license: "a\\n\\n\\u202eb\\x1b[31m"', "a \\u202eb\\x1b[31m"),
    ("long", f"license: {'x' * 500}", "x" * 79 + "…"),
    ("behind a long list", "tags:\n" + "- tag\n" * 20_000 + "license: mit", "mit"),
]


@pytest.mark.parametrize(("name", "front", "found"), LICENSES)
def test_license_is_read_from_the_front_matter(
    name: str, front: str, found: str | None, tmp_path: Path
) -> None:
    card(tmp_path, front)
    assert model_card.of(tmp_path).license == found


def test_missing_and_invalid_files_leave_facts_out(tmp_path: Path) -> None:
    nothing = ModelCard()
    assert (
        model_card.of(None)
        == model_card.of(tmp_path / "gone")
        == model_card.of(tmp_path)
        == nothing
    )
    for junk in (b"", b"\xff" * 8, struct.pack("<Q", 9) + b"[1, 2, 3]", struct.pack("<Q", 1 << 40)):
        (tmp_path / "model.safetensors").write_bytes(junk)
        (tmp_path / "config.json").write_bytes(junk)
        (tmp_path / "README.md").write_bytes(junk)
        assert model_card.of(tmp_path) == nothing
    for shape in ([-1], ["1"], [1 << 60], None):
        weights(tmp_path / "model.safetensors", w=("F32", shape))  # type: ignore[arg-type]
        assert model_card.of(tmp_path).parameters is None


def test_snapshot_path_requires_a_commit_hash() -> None:
    hub = Path("/hub")
    commit = "a" * 40
    assert (
        model_card.snapshot(hub, "models--o--n", commit) == hub / "models--o--n/snapshots" / commit
    )
    assert model_card.snapshot(hub, "models--o--n", "../..") is None
    assert model_card.snapshot(hub, "models--o--n", None) is None
