"""Model traits (shots, chat, dtype, parameters, license) as page columns and file fields."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from benchy.evaluation import result as document
from benchy.reporting import exports, index_page, leaderboard, model_traits
from benchy.reporting.leaderboard import BoardSettings
from results import entry, made

EVIL = '=HYPERLINK("http://x")<img src=x onerror=alert(1)>'


def test_traits_are_exported_and_hostile_texts_escaped() -> None:
    plain = entry("m", "a", 0.5)
    known = replace(
        plain.result,
        chat=True,
        model=replace(
            plain.result.model, parameters=1_543_714_304, dtype="gptq 4-bit", license=EVIL
        ),
        engine=replace(plain.result.engine, dtype="bfloat16"),
        task=replace(plain.result.task, shots={"x": 5, "y": 0}),
    )
    found = [(t.text, t.value, t.more) for t in model_traits.of([known])]
    assert found == [
        ("0 to 5", None, ""), ("yes", None, ""), ("bfloat16", None, "weights gptq 4-bit"),
        ("1.54B", 1_543_714_304, ""), (EVIL, None, ""),
    ]  # fmt: skip
    board = leaderboard.board([replace(plain, result=known)], BoardSettings())
    html = index_page.index(board, "now")
    assert (
        "<img" not in html
        and "&lt;img src=x" in html
        and 'data-v="1543714304" hidden>1.54B' in html
    )
    row = next(csv.DictReader(io.StringIO(exports.as_csv(board))))
    assert row["license"] == f"'{EVIL}" and row["chat"] == "True" and row["shots"] == "0 to 5"
    fields = json.loads(exports.as_json(board))[0]
    assert (fields["parameters"], fields["weights_dtype"]) == (1_543_714_304, "gptq 4-bit")


def test_result_without_recorded_traits_has_empty_cells(tmp_path: Path) -> None:
    data = json.loads(document.dump(made()))
    for name in ("parameters", "dtype", "license"):
        del data["model"][name]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(data))
    old = document.read(path)
    assert [t.text for t in model_traits.of([old])] == ["", "no", "", "", ""]
    assert [model_traits.count(n) for n in (7, 134_515_008, 8_030_261_248)] == [
        "7",
        "135M",
        "8.03B",
    ]
