"""Read a model's parameter count, weight dtype and license from its files.

Reads safetensors headers, config.json and the front matter of README.md in one folder: a local
model or a snapshot in the hub's cache. Uses no network, reads no weights, writes nothing. The files
come from the model's author and are not trusted: file sizes are bounded, and each text is reduced
to one printable line.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchy.core.errors import printable
from benchy.core.text import shorten

HEADER = 100_000_000  # bytes; the limit of the safetensors library
CARD = 1 << 20  # bytes of README.md to search for front matter
TEXT = 80  # maximum characters of a text
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I8": "int8",
}  # fmt: skip
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
    "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
}  # fmt: skip
# Tensors of a quantized model that are not parameters: scales, zero points, group order.
EXTRA = re.compile(r"(?:^|[._])(?:w?scales?|scale_inv|q?zeros|zero_point|g_idx|absmax|quant_map|"
                   r"quant_state[.\w]*|weight_shape|workspace)(?:$|[._])")  # fmt: skip
_LICENSE = re.compile(r"^(license(?:_name)?):(.*(?:\n(?:[ \t]+\S|- ).*)*)", re.M)


@dataclass(frozen=True)
class ModelCard:
    """Facts about a model; None if the files do not contain them.

    parameters: their number, shared ones counted once. dtype: the stored dtype of most weights
    ("bfloat16") or the quantization ("gptq 4-bit"). license: the author's name for it
    ("apache-2.0").
    """

    parameters: int | None = None
    dtype: str | None = None
    license: str | None = None


def of(folder: Path | None) -> ModelCard:
    """Return the card of a model's folder; empty for None. Unreadable files leave facts out."""
    if folder is None or not folder.is_dir():
        return ModelCard()
    config = _json(folder / "config.json")
    method, bits = _quantization(config)
    tensors = list(_tensors(folder))
    stored = Counter[str]()
    for _, kind, size in tensors:
        stored[kind] += size
    dtype = _line(config.get("dtype") or config.get("torch_dtype"))
    dtype = dtype.removeprefix("torch.") if dtype else None
    if stored:
        most = max(sorted(stored), key=lambda kind: stored[kind])
        dtype = DTYPES.get(most, most.lower())
    if method:
        dtype = f"{method} {bits}-bit" if bits else method
    return ModelCard(_parameters(tensors, method, bits), dtype, _license(folder / "README.md"))


def snapshot(hub_cache: Path, folder_name: str, commit: str | None) -> Path | None:
    """Return the folder of a commit in the hub's cache; None without a valid commit."""
    if not commit or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return None
    return hub_cache / folder_name / "snapshots" / commit


def _parameters(
    tensors: Iterable[tuple[str, str, int]], method: str, bits: int | None
) -> int | None:
    """Count the parameters; None if there are none.

    Packed weights are counted by their bits. Returns None if these are not known.
    """
    total = 0
    for name, kind, size in tensors:
        if method and EXTRA.search(name):
            continue
        packed = kind in ("I32", "I16", "U8") or (kind == "I8" and bits is not None and bits < 8)
        if method and packed:
            if not bits or BITS[kind] % bits:
                return None
            size *= BITS[kind] // bits
        total += size
    return total or None


def _quantization(config: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return (method, bits per weight or None) of the quantization; "" for no quantization."""
    section = config.get("quantization_config")
    if not isinstance(section, dict):
        return "", None
    method = _line(section.get("quant_method")) or "quantized"
    bits = section.get("bits") or section.get("w_bit")
    if section.get("load_in_4bit") or method == "mxfp4":
        bits = 4
    elif section.get("load_in_8bit") or method == "fp8":
        bits = 8
    groups = section.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        bits = bits or (weights.get("num_bits") if isinstance(weights, dict) else None)
    known = isinstance(bits, int) and not isinstance(bits, bool) and 0 < bits <= 64
    return method, bits if known else None


def _tensors(folder: Path) -> Iterable[tuple[str, str, int]]:
    """Return (name, safetensors dtype, number of elements) of each tensor.

    Returns none if any file cannot be read, because a partial count would be wrong.
    """
    index = _json(folder / "model.safetensors.index.json").get("weight_map")
    if isinstance(index, dict) and index:
        names = {str(name) for name in index.values()}
    elif (folder / "model.safetensors").is_file():
        names = {"model.safetensors"}
    else:
        files = {path.name for path in folder.glob("*.safetensors")}
        # Leave out Mistral's copy of the same weights, and adapters.
        names = {n for n in files if not n.startswith(("consolidated", "adapter"))} or files
    tensors: list[tuple[str, str, int]] = []
    for name in sorted(names):
        header = _header(folder / name) if Path(name).name == name else None
        if header is None:
            return []
        for tensor, about in header.items():
            if tensor == "__metadata__":
                continue
            shape = about.get("shape") if isinstance(about, dict) else None
            kind = about.get("dtype") if isinstance(about, dict) else None
            if not _is_shape(shape) or kind not in BITS:
                return []
            tensors.append((tensor, str(kind), math.prod(shape or ())))
    return tensors


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(isinstance(n, int) and 0 <= n < 2**40 for n in shape)


def _header(path: Path) -> dict[str, Any] | None:
    """Return the header of a safetensors file: 8 bytes of length, then JSON. None if invalid."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > HEADER:
                return None
            header = json.loads(file.read(length))
    except (OSError, ValueError, struct.error, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > HEADER:
            return {}
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _license(path: Path) -> str | None:
    """Return the license from the front matter of README.md; "other (NAME)" for a custom one.

    Only its keys are parsed as YAML, because the front matter may be long.
    """
    try:
        with path.open("rb") as file:
            text = file.read(CARD).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return None
    match = re.match(r"\ufeff?---\n(.*?)\n---\s*(?:\n|$)", text, re.S)
    fields: dict[str, str | None] = {}
    for key, value in _LICENSE.findall(match[1]) if match else ():
        try:
            parsed = yaml.safe_load(f"{key}:{value}" if len(value) < 4096 else "")
        except (yaml.YAMLError, ValueError, RecursionError):
            continue
        entry = parsed.get(key) if isinstance(parsed, dict) else None
        fields[key] = _line(", ".join(map(str, entry)) if isinstance(entry, list) else entry)
    if fields.get("license") == "other" and fields.get("license_name"):
        return _line(f"other ({fields['license_name']})")
    return fields.get("license")


def _line(value: Any) -> str | None:
    """Return a text as one printable line of at most TEXT characters; None if it is empty."""
    if not isinstance(value, str) or not (text := " ".join(value.split())):
        return None
    return shorten(printable(text), TEXT)
