"""Marks of a result, and how each output shows them."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchy.cli import report as report_command
from benchy.config import settings_schema
from benchy.evaluation import marks
from benchy.evaluation import result as document
from benchy.evaluation.result import Checks, Metric, Result, Score
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import comparability, exports, index_page
from benchy.reporting.leaderboard import DOUBTED, Board, BoardSettings, board
from benchy.run import status_cells, status_text
from results import made

EMPTY = "6 of 6 answers empty"
TRUNCATED = "12 of 20 prompts truncated"

CHECKS = [
    ("older results", {}, []),
    ("nothing wrong", {"t": Checks(20, 0, 0, 20, 0, 0)}, []),
    ("nothing known", {"t": Checks(20)}, []),
    ("truncated", {"t": Checks(20, 12)}, [TRUNCATED]),
    ("summed", {"t": Checks(8, 2), "u": Checks(12, 10)}, [TRUNCATED]),
    ("only what is known counts", {"t": Checks(8), "u": Checks(12, 10)},
     ["10 of 12 prompts truncated"]),
    ("leaked", {"t": Checks(20, 0, 5)},
     ["5 of 20 prompts contain their own answer (set fewshot_split)"]),
    ("all empty", {"t": Checks(6, 0, 0, 6, 6, 0)}, [EMPTY]),
    ("null", {"t": Checks(6, answers=6, empty=6, null=6)}, [f"{EMPTY} (no text from the server)"]),
    ("some null", {"t": Checks(6, answers=6, empty=4, null=1)},
     ["4 of 6 answers empty (1 with no text from the server)"]),
    ("null that did not count as empty", {"t": Checks(6, answers=6, null=6)},
     [f"{EMPTY} (no text from the server)"]),
    ("one subtask without any answer",
     {"t": Checks(90, answers=90), "u": Checks(6, answers=6, empty=6)},
     ["6 of 96 answers empty (all of u)"]),
    ("many such",
     {"t": Checks(9, answers=9), **{f"u{n}": Checks(1, answers=1, empty=1) for n in range(5)}},
     ["5 of 14 answers empty (all of u0, u1, u2 and 2 more)"]),
    ("not logged", {"t": Checks(6, null=2)}, ["2 of 6 answers empty (no text from the server)"]),
    ("multiple choice has no answers", {"t": Checks(9, answers=0)}, []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "checks", "words"), CHECKS)
def test_checks_produce_marks(name: str, checks: dict[str, Checks], words: list[str]) -> None:
    found = marks.of_checks(checks)
    assert [str(mark) for mark in found] == words
    assert [mark.brief for mark in found] == [text.split(" (")[0] for text in words]


SHOTS = [
    ("older results", {}, 5, []),
    ("nothing requested: each subtask has its own", {"a": 0, "b": 3}, None, []),
    ("not obeyed by all", {"a": 0, "b": 3}, 3, ["num_fewshot differs: 0 - 3 (requested: 3)"]),
    ("obeyed by none", {"a": 0, "b": 0}, 5, ["num_fewshot is 0 (requested: 5)"]),
    ("requested is not known", {"a": 0, "b": 3}, "?", ["num_fewshot differs: 0 - 3"]),
    ("not known, but the same", {"a": 0, "b": 0}, "?", []),
]


@pytest.mark.parametrize(("name", "shots", "requested", "words"), SHOTS)
def test_num_fewshot_that_was_not_applied_is_a_doubt(
    name: str, shots: dict[str, int], requested: Any, words: list[str], tmp_path: Path
) -> None:
    spec = tmp_path / "spec.json"
    if requested != "?":
        spec.write_text(json.dumps({"task": {"num_fewshot": requested}}))
    task = replace(made().task, shots=shots)
    one = ScoredResult(tmp_path / "results.json", replace(made(), task=task))
    assert one.doubts == words
    assert marks.of_shots(replace(task, num_fewshot=3), spec) == []


def numbered(model: str, task: str = "smoke", value: float = 0.0, **changes: Any) -> Result:
    score = Score(task, "acc,none", value, 0.01, True)
    numbers = {
        "t": {"acc,none": Metric(value, 0.01, True), "acc_norm,none": Metric(value, 0.01, True)}
    }
    found = made(model, task, score=score, metrics=numbers, harness_output=[], **changes)
    return replace(found, task=replace(found.task, task_name=["t"]))


def entry(result: Result, chosen: str | None = None) -> ScoredResult:
    path = Path("results", result.model.config, result.task.name, "results.json")
    return ScoredResult(path, result, chosen)


SILENT = {"t": Checks(6, answers=6, empty=6, null=6)}


def made_board(
    *odd: ScoredResult, weights: dict[str, float] | None = None, others: str | None = None
) -> Board:
    """Return a board of `odd` and two models with scores of 0.5 and 0.6."""
    plain = [entry(numbered(m, value=v), others) for m, v in (("k", 0.5), ("l", 0.6))]
    said = BoardSettings({"g": settings_schema.Group(tasks=weights)} if weights else {})
    return board([*plain, *odd], said)


def test_score_of_empty_answers_is_marked_in_every_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = entry(numbered("odd", checks=SILENT))
    full = f"{EMPTY} (no text from the server)"
    assert (
        odd.marks == [full]
        and [m.brief for m in odd.brief] == [EMPTY]
        and odd.value.startswith("0.0000")
    )
    assert odd.summary == f"acc 0.0000 ± 0.0100 ({full})"
    found = made_board(odd, weights={"smoke": 1})
    assert f"({full})" in report_command.table([odd])
    rows = json.loads(exports.as_json(found))
    assert [r["marks"] for r in rows if r["model"] == "odd"] == [full, DOUBTED]
    assert [r["marks"] for r in csv.DictReader(io.StringIO(exports.as_csv(found)))].count(full) == 1
    (line,) = [line for line in exports.as_markdown(found).splitlines() if "| odd |" in line]
    assert f"| 0.0000 ± 0.0100 ({DOUBTED}) |" in line and f"0.0000 ± 0.0100 acc ({EMPTY})" in line
    html = index_page.index(found, "now")
    assert html.count(f'<span class="mark">{EMPTY}</span>') == 1
    assert html.count(f'<span class="mark">{DOUBTED}</span>') == 1


def test_marked_score_is_not_the_best_and_marks_the_group_mean() -> None:
    odd = entry(numbered("odd", value=0.9, checks={"t": Checks(20, 12)}))
    for found, winner in (
        (made_board(odd), "l"),
        (made_board(entry(numbered("m", value=0.9))), "m"),
    ):
        html = index_page.index(found, "now")
        best = [row for row in html.split("<tr data-kind")[1:] if 'class="n best"' in row]
        assert [re.findall(r'"compare (\w+)"', row) for row in best] == [[winner]]
    means = {row.model: row.means[0] for row in made_board(odd, weights={"smoke": 1}).rows}
    assert means["odd"] and means["odd"].marks == [DOUBTED]
    assert means["l"] and means["l"].marks == []


def test_missing_metric_is_shown_without_a_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = entry(numbered("odd", value=0.9), "f1")
    words = "has no metric f1 (it has: acc, acc_norm)"
    assert (odd.score, odd.value, odd.metric) == (None, "-", "f1")
    assert (
        odd.marks == [words] and [m.brief for m in odd.brief] == ["no f1"] and odd.summary == words
    )
    found = made_board(odd, weights={"smoke": 1})
    (line,) = [line for line in report_command.table([odd]).splitlines() if line.startswith("odd")]
    assert re.search(rf"smoke +f1 +- +results/odd/smoke/results.json \({re.escape(words)}\)", line)
    (row,) = [r for r in json.loads(exports.as_json(found)) if r["model"] == "odd"]
    assert (row["metric"], row["value"], row["marks"]) == ("f1", None, words)
    (row,) = [r for r in csv.DictReader(io.StringIO(exports.as_csv(found))) if r["model"] == "odd"]
    assert row["value"] == ""
    assert "| - | - (no f1) |" in exports.as_markdown(found)
    assert found.columns[0].metric == "acc"
    html = index_page.index(found, "now")
    (cell,) = re.findall(r'<td class="n"[^>]*><a href="odd/[^"]*">.*?</td>', html)
    assert "data-v" not in cell and ">no f1<" in cell and "0.9" not in html
    assert status_cells.scored(odd) == "no f1"


def test_column_without_any_score_gives_no_group_mean() -> None:
    odd = entry(numbered("odd", value=0.9), "f1")
    found = made_board(odd, weights={"smoke": 1}, others="f1")
    assert (found.columns[0].metric, found.columns[0].factor) == ("f1", None)
    assert [row.means for row in found.rows] == [[None]] * 3
    assert index_page.index(found, "now").count(">no f1<") == 3


def partial(model: str, *having: str) -> ScoredResult:
    """Return an entry of three subtasks. Those in `having` have the main metric, exact_match."""
    metrics = {
        name: {"acc,none": Metric(0.2, 0.1, True)}
        | ({"exact_match,none": Metric(0.5, 0.1, True)} if name in having else {})
        for name in "abc"
    }
    found = numbered(model)
    task = replace(found.task, task_name=["a", "b", "c"])
    return entry(replace(found, task=task, metrics=metrics), "exact_match")


def test_a_mean_over_some_of_the_subtasks_is_marked() -> None:
    one = partial("one", "a", "b")
    assert one.score and one.score.value == 0.5 and one.marks == ["mean of 2 of 3 tasks"]
    whole = partial("one", "a", "b", "c")
    assert whole.score and whole.score.of == "mean of 3 tasks" and whole.marks == []


def test_mark_of_a_whole_column_is_not_repeated_in_its_cells() -> None:
    odd = partial("odd", "a")
    found = board([partial("k", "a", "b"), partial("l", "a", "b"), odd],
                  BoardSettings({"g": settings_schema.Group(tasks={"smoke": 1})}))  # fmt: skip
    assert found.columns[0].part == "mean of 2 of 3 tasks"
    cells = {
        row.model: row.brief(row.cells[0], found.columns[0]) for row in found.rows if row.cells[0]
    }
    assert cells == {"k": [], "l": [], "odd": ["mean of 1 of 3 tasks"]}
    assert {row.model: m.marks for row in found.rows if (m := row.means[0])} == {
        "k": [], "l": [], "odd": [DOUBTED],
    }  # fmt: skip
    head = exports.as_markdown(found).splitlines()[0]
    assert head == "| model | engine | g | smoke (mean of 2 of 3 tasks) |"
    assert index_page.index(found, "now").count('class="mark">mean of 1 of 3 tasks<') == 1


def test_only_a_partial_mean_is_the_mark_of_a_column() -> None:
    column = board([partial("k", "a", "b")], BoardSettings()).columns[0]
    assert column.shares(marks.Mark(marks.MarkKind.PARTIAL, column.part))
    assert not column.shares(marks.Mark(marks.MarkKind.PARTIAL, "mean of 1 of 3 tasks"))
    assert not column.shares(marks.Mark(marks.MarkKind.EMPTY, column.part)), (
        "the kind decides, not the text"
    )


def test_status_shows_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = f"{EMPTY} (no text from the server)"

    def cell(one: ScoredResult) -> status_cells.StatusCell:
        made_cell = status_cells.StatusCell(
            one.model, one.task, status_cells.DONE, status_cells.scored(one)
        )
        short = status_cells.short_score(one)
        marks, doubts = tuple(one.marks), tuple(one.doubts)
        return replace(made_cell, marks=marks, doubts=doubts, short_score=short)

    cells = [
        cell(entry(numbered("a", checks=SILENT))),
        cell(entry(numbered("b", checks=SILENT))),
        cell(entry(numbered("c", value=0.5))),
        cell(entry(numbered("d"), "f1")),
    ]
    assert [c.brief for c in cells] == ["0.0000!", "0.0000!", "0.5000", "no f1!"]
    told = list(status_text.details(cells))
    assert f"marked   a/smoke, b/smoke: {words}" in told
    assert "marked   d/smoke: has no metric f1 (it has: acc, acc_norm)" in told
    rows = status_text.data(cells)["results"]
    assert [row["marks"] for row in rows] == [
        [words], [words], [], ["has no metric f1 (it has: acc, acc_norm)"],
    ]  # fmt: skip
    assert "doubts" not in rows[0]


def test_the_model_page_lists_the_counts_of_each_subtask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {"t": Checks(6, 3, None, 6, 6, 6), "<u>": Checks(4, 0, 1)}
    for name, result in (
        ("odd", numbered("odd", checks=checks)),
        ("old", numbered("old", checks={})),
        ("none", numbered("none")),
    ):
        path = Path("results", name, "smoke", "results.json")
        path.parent.mkdir(parents=True)
        document.write(result, path)
    lacking = entry(numbered("none"), "f1")
    exports.write(
        made_written(
            entry(numbered("odd", checks=checks)), entry(numbered("old", checks={})), lacking
        )
    )
    text = Path("results/odd/index.html").read_text()

    def cells(name: str) -> list[str]:
        (row,) = re.findall(rf'<tr><th scope="row">{name}</th>(<td class="n">.*)</tr>', text)
        return re.findall(r'<td class="n">(.*?)</td>', row)

    assert cells("t") == ["6", "3", "", "6", "6", "6"]
    assert cells("&lt;u&gt;") == ["4", "0", "1", "", "", ""]
    assert text.count(f'<span class="mark">{EMPTY}</span>') == 2  # one for each metric of t
    assert f"{EMPTY} (no text from the server)" in text
    old = Path("results/old/index.html").read_text()
    assert "Prompts and answers" not in old and "unchecked: of an older benchy" in old
    text = Path("results/none/index.html").read_text()
    assert "smoke: - <small>f1</small>" in text
    assert "has no metric f1 (it has: acc, acc_norm)" in text


def made_written(*entries: ScoredResult) -> Board:
    return board(entries, BoardSettings())


def test_results_with_different_shots_are_not_comparable() -> None:
    def shots(model: str, **found: int) -> Result:
        result = made(model)
        return replace(result, task=replace(result.task, shots=found))

    old, three, five = made("old"), shots("a", t=0, u=3), shots("b", t=0, u=5)
    kinds, _ = comparability.kinds([three, old, five, shots("c", t=0, u=3)])
    assert kinds == [0, 0, 1, 0]
    ((what, *two),) = comparability.differences(three, five)
    assert what == comparability.SHOTS and two == ["u 3", "u 5"]
    assert comparability.differences(old, five) == []
    asked = replace(five, task=replace(five.task, num_fewshot=5))
    assert [what for what, _, _ in comparability.differences(three, asked)] == ["num_fewshot"]
