"""A model's matrix: one model for each combination of the values of some keys.

    matrix: {vllm_version: ["0.10.2", "0.11.2"], dtype: [float16, bfloat16]}

in configs/single_card/m.yaml makes m@0.10.2+float16, m@0.10.2+bfloat16 and so on. Pure.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchy.config import option_checks, schema, set_knob
from benchy.config.model_schema import Model
from benchy.config.validation import Checked
from benchy.config.yaml_file import Document
from benchy.core.errors import Mistake, UsageError
from benchy.core.hashing import digest
from benchy.core.names import AT, MOST, QUICKSTART

MOST_CELLS = 1000  # of one config; a few short lists can make millions
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


def checked_cells(stem: str, model: Model, document: Document, knob: str) -> Checked[list[Cell]]:
    """Return the cells of a model's matrix, or the model itself if it has no matrix.

    stem: the name of the model's file. knob: SET. Raise UsageError if SET has a key of the matrix.
    """
    if not model.matrix:
        return Checked([(stem, Document(document.file))])
    mistakes = [*option_checks.names(model.matrix, document, ("matrix",))]
    for key in model.matrix:
        option = key.replace("-", "_")
        if option in schema.neutral():
            what = "cannot change answers, so a matrix must not vary it"
            mistakes.append(document.mistake(("matrix", key), what, "remove it"))
        if option in set_knob.document(knob).data:
            raise UsageError(
                f"{key} is varied by the matrix of {document.file}",
                f"select its cells instead: make results MODELS='{stem}@*'", "SET",
            )  # fmt: skip
    count = math.prod(map(len, model.matrix.values()))
    if count > MOST_CELLS:
        what = f"has {count} cells; the limit is {MOST_CELLS}"
        return Checked(
            [], [*mistakes, document.mistake(("matrix",), what, "split it into several configs")]
        )
    combinations = cells(stem, model.matrix, document)
    mistakes += _wrong_names([name for name, _ in combinations], document)
    cells_ = [] if mistakes else combinations
    if stem == QUICKSTART:
        mistakes.append(document.mistake(("matrix",), "is not allowed in the quickstart"))
    return Checked(cells_, mistakes)


def _wrong_names(names: Sequence[str], document: Document) -> Iterator[Mistake]:
    if longest := next((name for name in names if len(name) > MOST), ""):
        what = f"the names of its cells are too long, such as {longest[:40]}…"
        yield document.mistake(("matrix",), what, "vary fewer keys")
    for name in sorted({name for name in names if names.count(name) > 1}):
        what = f"two of its cells have the name {name}"
        yield document.mistake(("matrix",), what, "remove one of them")
