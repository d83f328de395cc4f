"""The script files of samples: parts, long texts, and when they are written anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchy.evaluation.result import Result, Score
from benchy.reporting import sample_files
from results import made

NAME = "samples_t_2026-11-23T09-00-00.1.jsonl"


def written(folder: Path, *found: dict[str, Any]) -> list[dict[str, Any]]:
    """Write samples and return the data that the page's script gets."""
    name = "samples_t_2026-11-23T09-00-00.1.jsonl"
    (folder / name).write_text("\n".join(map(json.dumps, found)))
    sample_files.write(
        folder, made(harness_output=[name]), "key", Score("t", "acc,none", 0, None, True)
    )
    text = (folder / "samples-1.js").read_text().splitlines()[-1]
    match = re.fullmatch(r'samples\("smoke",1,(.*)\);', text)
    assert match
    parts: list[dict[str, Any]] = json.loads(match[1])
    return parts


def prompt(logged: Any) -> dict[str, Any]:
    return {"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": logged, "arg_1": {}}}}


def whole(folder: Path, one: dict[str, Any]) -> Any:
    match = re.fullmatch(r"whole\(\"[^\"]+\",(.*)\);\n", (folder / one["file"]).read_text())
    assert match
    return json.loads(match[1])


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    text = "BEGIN" + "x" * 50_000 + "END"
    (one,) = written(tmp_path, prompt(text))
    cut = one["prompt"]
    assert cut["head"].startswith("BEGINx") and cut["tail"].endswith("xEND")
    assert (len(cut["head"]), len(cut["tail"]), cut["size"]) == (5000, 3000, 50_008)
    assert one["long"] == ["prompt"] and whole(tmp_path, one) == {"prompt": text}
    (tmp_path / "short").mkdir()
    (short,) = written(tmp_path / "short", prompt("x" * sample_files.LONG))
    assert short["prompt"] == "x" * sample_files.LONG and "long" not in short


def test_a_long_chat_keeps_its_first_and_its_last_turns(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "SYSTEM"}]
    turns += [{"role": "user", "content": f"{n}: " + "x" * 500} for n in range(100)]
    turns += [{"role": "user", "content": "y" * 30_000 + "QUESTION"}]
    (one,) = written(tmp_path, prompt([json.dumps(turns)]))
    assert "prompt" not in one  # the text is not stored twice
    found = one["turns"]
    assert found[0] == ["system", "SYSTEM"] and found[1][1].startswith("0: xxx")
    assert found[-1][1]["tail"].endswith("QUESTION") and found[-1][1]["size"] == 30_008
    (left,) = [turn["left"] for turn in found if "left" in turn]
    assert left + len(found) - 1 == len(turns) and left > 50
    assert len(json.dumps(found)) < 2 * sample_files.LONG
    assert [turn[1] for turn in whole(tmp_path, one)["turns"]] == [t["content"] for t in turns]


def test_long_answers_and_choices_are_stored_whole(tmp_path: Path) -> None:
    repeats = ["a" * 20_000, "b"]
    calls = {f"gen_args_{n}": {"arg_0": "Q", "arg_1": c * 9000} for n, c in enumerate("xy")}
    choices = {
        "arguments": calls,
        "filtered_resps": [["-2.0", "False"], ["-1.0", "True"]],
    }  # fmt: skip
    one, two = written(tmp_path, {"filtered_resps": [repeats], "resps": [repeats]}, choices)
    assert one["answer"][0]["size"] == 20_000 and one["answer"][1] == "b"
    assert whole(tmp_path, one) == {"answer": repeats}
    assert set(two["long"]) == {"answer", "choices"}
    assert whole(tmp_path, two)["choices"] == [["x" * 9000, -2.0], ["y" * 9000, -1.0]]


def log(folder: Path, texts: list[str]) -> Result:
    lines = [json.dumps({"doc_id": n, "resps": [[text]]}) for n, text in enumerate(texts)]
    (folder / NAME).write_text("\n".join(lines))
    return made(harness_output=[NAME])


def ids(path: Path) -> list[int]:
    """Return the ids of the samples in a part."""
    return [int(found) for found in re.findall(r'"id":(\d+)', path.read_text())]


PARTS: list[tuple[str, list[int], list[list[int]]]] = [
    ("no samples", [], []),
    ("all in one part", [10, 10, 10], [[0, 1, 2]]),
    ("two to a part", [60, 60, 60], [[0, 1], [2]]),
    ("a full last part", [60, 60], [[0, 1]]),
    ("large ones alone", [300, 300], [[0], [1]]),
]


@pytest.mark.parametrize(("name", "sizes", "parts"), PARTS)
def test_samples_are_divided_into_parts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sizes: list[int],
    parts: list[list[int]],
) -> None:
    monkeypatch.setattr(sample_files, "PART", 500)  # each sample counts 200 more
    result = log(tmp_path, ["x" * size for size in sizes])
    assert sample_files.write(tmp_path, result, "key", None) == len(parts), name
    written = sorted(tmp_path.glob("samples-*.js"))
    assert [ids(path) for path in written] == parts
    if parts:
        assert written[0].read_text().startswith(f"// key\n// of {len(parts)}\nsamples(")
        assert sample_files.complete(tmp_path, "key") == len(parts)


COMPLETE: list[tuple[str, str | None, int | None]] = [
    ("same key", "// key\n// of 2\n", 2),
    ("another key", "// other\n// of 2\n", None),
    ("a part is missing", "// key\n// of 3\n", None),
    ("cut off", "// key\n", None),
    ("no file", None, None),
]


@pytest.mark.parametrize(("name", "text", "count"), COMPLETE)
def test_files_are_complete_if_all_parts_have_the_key(
    tmp_path: Path, name: str, text: str | None, count: int | None
) -> None:
    (tmp_path / "samples-2.js").touch()
    if text is not None:
        (tmp_path / "samples-1.js").write_text(text)
    assert sample_files.complete(tmp_path, "key") == count, name


def test_files_with_the_key_are_kept_and_others_are_deleted(tmp_path: Path) -> None:
    result = log(tmp_path, ["a" * 20_000])
    assert sample_files.write(tmp_path, result, "key", None) == 1
    assert (tmp_path / "samples-1-0.js").exists()
    (tmp_path / "samples-2.js").touch()
    log(tmp_path, ["b"])
    sample_files.write(tmp_path, result, "key", None)
    assert sorted(p.name for p in tmp_path.glob("samples-*.js")) == [
        "samples-1-0.js", "samples-1.js", "samples-2.js",
    ]  # fmt: skip
    sample_files.write(tmp_path, result, "another", None)
    assert [p.name for p in tmp_path.glob("samples-*.js")] == ["samples-1.js"]


def test_sample_without_long_texts_is_unchanged() -> None:
    view = {"id": 0, "prompt": "Q", "answer": ["a", "b"], "ok": 1}
    assert sample_files.shortened(view) == (view, {}, 3)
    chat = {"prompt": "[user] Q", "turns": [["user", "Q"]]}
    assert sample_files.shortened(chat) == ({"turns": [["user", "Q"]]}, {}, 5)


SCORES = [
    ("the metric of the table, not the first", "acc_norm,none", True, [1, 0], [1, 0]),
    ("less is better", "acc,none", False, [0, 1], [1, 0]),
    ("not 0 or 1 in every sample", "f1,none", True, [1.0, 0.5], [-1, -1]),
    ("another filter's", "acc,strict", True, [0, 1], [-1, -1]),
    ("none of it in the samples", "bleu,none", True, [], [-1, -1]),
]


@pytest.mark.parametrize(("name", "metric", "better", "values", "right"), SCORES)
def test_right_and_wrong_follow_the_metric_of_the_table(
    name: str,
    metric: str,
    better: bool,
    values: list[float],
    right: list[int],
    tmp_path: Path,
) -> None:
    key = metric.split(",", maxsplit=1)[0]
    lines = []
    for n in range(2):
        one = {"acc": 0, "acc_norm": 0} | ({key: values[n]} if values else {})
        lines.append(json.dumps({"doc_id": n, "filter": "none", "metrics": [*one], **one}))
    (tmp_path / NAME).write_text("\n".join(lines))
    result = made(harness_output=[NAME])
    score = Score("t", metric, 0.5, None, better)
    first = tmp_path / "samples-1.js"
    assert sample_files.write(tmp_path, result, "key", Score("t", "acc,none", 0, None, True))
    before = first.read_text()
    assert sample_files.write(tmp_path, result, "key", score) == 1
    assert [int(ok) for ok in re.findall(r'"ok":(-?\d)', first.read_text())] == right
    assert first.read_text() != before, "the page's cache knows by which metric"


def test_sample_is_neither_right_nor_wrong_without_a_score(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"doc_id": 0, "metrics": ["acc"], "acc": 1.0}))
    sample_files.write(tmp_path, made(harness_output=[NAME]), "key", None)
    assert '"ok":-1' in (tmp_path / "samples-1.js").read_text()
