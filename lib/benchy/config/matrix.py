"""A model's matrix: one model for each combination of the values of some keys.

    matrix: {vllm_version: ["0.10.2", "0.11.2"], dtype: [float16, bfloat16]}

in configs/single_card/m.yaml makes m@0.10.2+float16, m@0.10.2+bfloat16 and so on. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchy.config.yaml_file import Document
from benchy.core.hashing import digest
from benchy.core.names import AT

MOST = 1000  # cells of one config; a few short lists can make millions
Cell = tuple[str, Document]  # the model's name; the cell's keys and values with their lines


def label(value: Any) -> str:
    """Return a value as part of a name, such as 0.10.2 or true; a hash if it is not one word."""
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    if isinstance(value, (list, dict)) or not re.fullmatch(r"[A-Za-z0-9._+-]{1,40}", text):
        return digest(value)[:8]
    return text


def cells(stem: str, matrix: Mapping[str, Sequence[Any]], document: Document) -> list[Cell]:
    """Return every combination; the last key varies fastest. The caller checks for equal names."""
    out = []
    for places in itertools.product(*(range(len(values)) for values in matrix.values())):
        cell = Document(document.file)
        for (key, values), place in zip(matrix.items(), places, strict=True):
            where = ("matrix", key, place)
            cell.data[key] = values[place]
            cell.lines[key,] = document.line(where)
            if where in document.written:
                cell.written[key,] = document.written[where]
        labels = [label(value) for value in cell.data.values()]
        out.append((f"{stem}{AT}{'+'.join(labels)}", cell))
    return out
