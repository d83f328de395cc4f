"""Tests of the tiny model: reproducible bytes, atomic creation, and the keys that loaders read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from benchy.scripts import tiny_model


def test_complete_model_is_kept_and_damaged_one_rewritten(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "tiny"
    assert tiny_model.make(folder)
    before = (folder / "config.json").stat().st_mtime_ns
    assert not tiny_model.make(folder)
    assert (folder / "config.json").stat().st_mtime_ns == before
    (folder / "model.safetensors").write_bytes(b"half")
    assert tiny_model.make(folder)
    assert (folder / "model.safetensors").read_bytes() == tiny_model.weights()
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"], "nothing is left aside"


def test_weights_are_safetensors_with_the_configured_shapes() -> None:
    data = tiny_model.weights()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    head = json.loads(data[8 : 8 + length])
    assert head.pop("__metadata__") == {"format": "pt"}
    end = 0
    for name, shape in tiny_model.shapes():
        about = head.pop(name)
        size = 4
        for dimension in shape:
            size *= dimension
        assert (about["shape"], about["data_offsets"]) == (list(shape), [end, end + size])
        end += size
    assert not head
    assert len(data) == 8 + length + end


def test_config_has_keys_for_old_and_new_transformers() -> None:
    config = tiny_model.config()
    assert config["torch_dtype"] == config["dtype"]
    assert config["rope_parameters"]["rope_theta"] == config["rope_theta"]
    assert config["max_position_embeddings"] >= 2048
    assert config["hidden_size"] == config["num_attention_heads"] * config["head_dim"]


def test_tokenizer_has_a_token_for_each_byte_and_no_merges() -> None:
    whole, config = tiny_model.tokenizer()
    vocabulary = whole["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(256))
    assert vocabulary["A"] == ord("A")
    assert vocabulary["\u0120"] == ord(" "), "GPT-2's table: Ġ stands for a space"
    assert whole["model"]["merges"] == []
    added = {item["content"]: item["id"] for item in whole["added_tokens"]}
    assert max(added.values()) + 1 == tiny_model.config()["vocab_size"] == tiny_model.VOCABULARY
    assert added[config["eos_token"]] == tiny_model.config()["eos_token_id"]
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "assistant" in config["chat_template"]


def test_missing_folder_argument_is_a_usage_error() -> None:
    assert tiny_model.main([]) == 2
