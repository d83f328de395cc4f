"""Makes the tiny model: a Llama of two layers with random weights, for tests and the quickstart.

    python lib/benchy/tiny.py DIR

Standard library only, Python 3.8+, so that any environment's Python can run it, and every run
writes the same bytes. What it must satisfy: old and new releases load it, without a network.
transformers 4.x knows `torch_dtype`, `rope_theta` and PreTrainedTokenizerFast; 5.x reads `dtype`
and `rope_parameters`, and would write a tokenizer class that 4.x does not know. So both are said.
The tokenizer has one token a byte and no merges: it needs no training and knows every language.
"""

from __future__ import annotations

import array
import json
import os
import random
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

SEED = 1234
LAYERS, HIDDEN, INNER, HEADS, HEAD = (
    2,
    128,
    384,
    2,
    64,
)  # heads of 64: every attention kernel has it
POSITIONS = 4096
SPECIALS = ["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
# Vocabularies are padded to 64 when weights are sharded; a whole multiple needs no padding.
VOCABULARY = 320
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, spare = {byte: chr(byte) for byte in printable}, 256
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(spare)
            spare += 1
    return [table[byte] for byte in range(256)]


def tokenizer() -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json."""
    spare = [f"<|reserved_{n}|>" for n in range(VOCABULARY - 256 - len(SPECIALS))]
    added = [
        {"id": n, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for n, text in enumerate(SPECIALS + spare, start=256)
    ]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    level["use_regex"] = True
    model: dict[str, Any] = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
        "vocab": {character: n for n, character in enumerate(byte_characters())}, "merges": [],
    }  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": model,
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS,
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(item["id"]): {key: value for key, value in item.items() if key != "id"}
            for item in added
        },
    }  # fmt: skip
    return whole, config


def config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": HEAD,
        "hidden_act": "silu", "max_position_embeddings": POSITIONS, "initializer_range": 0.02,
        "rms_norm_eps": 1e-5, "use_cache": True, "tie_word_embeddings": False,
        "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
        "pretraining_tp": 1, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258,
        "rope_theta": 10000.0, "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "torch_dtype": "float32", "dtype": "float32",
    }  # fmt: skip


def shapes() -> list[tuple[str, tuple[int, ...]]]:
    wide = HEADS * HEAD
    out: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))]
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        out += [(f"{layer}self_attn.{x}_proj.weight", (wide, HIDDEN)) for x in "qkv"]
        out += [
            (f"{layer}self_attn.o_proj.weight", (HIDDEN, wide)),
            (f"{layer}mlp.gate_proj.weight", (INNER, HIDDEN)),
            (f"{layer}mlp.up_proj.weight", (INNER, HIDDEN)),
            (f"{layer}mlp.down_proj.weight", (HIDDEN, INNER)),
            (f"{layer}input_layernorm.weight", (HIDDEN,)),
            (f"{layer}post_attention_layernorm.weight", (HIDDEN,)),
        ]
    return [*out, ("model.norm.weight", (HIDDEN,)), ("lm_head.weight", (VOCABULARY, HIDDEN))]


def weights() -> bytes:
    """A safetensors file: length, JSON header, numbers (github.com/huggingface/safetensors).

    Norms are one. The rest is uniform and wide enough that the model prefers some tokens to others;
    uniform numbers come out the same on every platform, which a logarithm does not promise.
    """
    source = random.Random(SEED)  # noqa: S311  (weights, no secrets)
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in shapes():
        count = 1
        for size in shape:
            count *= size
        norm = "norm" in name
        half = 1.0 if "embed" in name else (3.0 / shape[-1]) ** 0.5
        numbers = (1.0 if norm else (2 * source.random() - 1) * half for _ in range(count))
        block = array.array("f", numbers)
        if sys.byteorder == "big":
            block.byteswap()
        start = len(body)
        body += block.tobytes()
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(body)]}
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def files() -> dict[str, bytes]:
    """Every file of the model, by name."""
    whole, tokens = tokenizer()
    specials = {key: tokens[key] for key in ("bos_token", "eos_token", "pad_token")}
    generation = {"bos_token_id": 256, "eos_token_id": [257, 262], "pad_token_id": 258}
    texts = {
        "config.json": config(), "generation_config.json": generation, "tokenizer.json": whole,
        "tokenizer_config.json": tokens, "special_tokens_map.json": specials,
    }  # fmt: skip
    out = {
        name: (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
        for name, data in texts.items()
    }
    out["model.safetensors"] = weights()
    return out


def make(folder: Path, aside: Path | None = None) -> bool:
    """Write the model into `folder`, whole or not at all; False if it lay there already.

    aside: where it is made first (temporary.aside; this module runs without the others, too).
    """
    content = files()
    if folder.is_dir() and all(
        (folder / name).is_file() and (folder / name).read_bytes() == data
        for name, data in content.items()
    ):
        return False
    aside = aside or folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, data in content.items():
        (aside / name).write_bytes(data)
    if folder.is_dir():
        old = aside.with_name(f"{aside.name}.old")
        folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old)
    else:
        aside.rename(folder)
    return True


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print("usage: bin/tiny-model DIR\n\nMakes the tiny model in DIR.", file=sys.stderr)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    make(Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
