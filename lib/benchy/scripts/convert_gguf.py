"""Converts a model from a GGUF file to the hub's format, in an environment that has transformers.

    python -I convert_gguf.py '{"source": …, "packages": …, "target": …}'

source: the GGUF file. packages: a folder with the packages gguf and accelerate. target: the new
folder. Imports nothing of benchy.

The weights are dequantized and stored in bfloat16, the type of the hub's files. Both transformers 4
and 5 can read the files, whichever of them wrote them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def convert(source: Path, target: Path) -> None:
    """Write the model and its tokenizer to `target`."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    options: dict[str, Any] = {"gguf_file": source.name}
    kind: Any = torch.bfloat16
    # transformers 5 keeps the quantized weights unless told otherwise, and cannot save those.
    if config := getattr(transformers, "GgufConfig", None):
        options["quantization_config"] = config(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=kind, **options)
    model.save_pretrained(target)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(target)
    (target / "model.safetensors").chmod((target / "config.json").stat().st_mode)  # not 0600
    edit(target / "config.json", older_names)
    edit(target / "tokenizer_config.json", lambda data: older_tokenizer(data, tokenizer))


def edit(path: Path, change: Any) -> None:
    """Apply `change` to the content of a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def older_names(config: dict[str, Any]) -> None:
    """Add the names that transformers 4 reads to what transformers 5 wrote."""
    if "dtype" in config:
        config.setdefault("torch_dtype", config["dtype"])
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
    config.pop("quantization_config", None)


def older_tokenizer(about: dict[str, Any], tokenizer: Any) -> None:
    """Name a class that both releases have, and keep the chat template where both look for it."""
    about["tokenizer_class"] = "PreTrainedTokenizerFast"
    if tokenizer.chat_template:
        about["chat_template"] = tokenizer.chat_template


def main() -> int:
    request = json.loads(sys.argv[1])
    # Behind the environment's own packages, whose releases fit each other.
    sys.path.append(request["packages"])
    convert(Path(request["source"]), Path(request["target"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
