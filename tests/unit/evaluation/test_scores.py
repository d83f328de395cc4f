"""The format of scores, and which score of a column is best."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchy.cli import report as report_command
from benchy.config import settings_schema
from benchy.evaluation import scores
from benchy.reporting import comparison_text, exports, index_page, leaderboard, model_page
from benchy.reporting.comparison import rows
from benchy.reporting.comparison_sides import Side
from benchy.reporting.leaderboard import BoardSettings
from benchy.reporting.ranking import standing
from benchy.run import status_cells
from results import entry

NUMBERS = [
    ("a share", 0.15, 0.0790123, "acc,none", "0.1500 ± 0.0790"),
    ("all right", 1.0, 0.0, "acc,none", "1.0000 ± 0.0000"),
    ("percent", 45.2134, 0.9, "chrf,none", "45.21 ± 0.90"),
    ("percent, under 1", 0.9012, 0.1, "chrf,none", "0.90 ± 0.10"),
    ("with a filter", 0.4137, None, "exact_match,strict-match", "0.4137"),
    ("bits", 0.71234, None, "bits_per_byte,none", "0.7123"),
    ("perplexity", 2.64141, None, "word_perplexity,none", "2.6414"),
    ("a larger one", 23.4567, 0.5, "word_perplexity,none", "23.46 ± 0.50"),
    ("of a random model", 10293847.123, None, "word_perplexity,none", "1.029e+07"),
    ("negative", -0.5, 0.25, "bleu_diff,none", "-0.50 ± 0.25"),
]


@pytest.mark.parametrize(("name", "value", "stderr", "metric", "text"), NUMBERS)
def test_score_has_the_same_format_in_every_output(
    name: str, value: float, stderr: float | None, metric: str, text: str
) -> None:
    """Covers leaderboard, model page, tables, status, comparison and the end of a run."""
    one = entry("m", "a", value, stderr, metric=metric)
    assert scores.with_error(value, stderr, metric) == text
    number, _, error = text.partition(" ± ")
    board = leaderboard.board([one], BoardSettings())
    assert f">{number}</a>" in index_page.index(board, "now")
    assert (f"<small>±{error}</small>" in index_page.index(board, "now")) == bool(error)
    (part,) = model_page._parts(one)
    assert (part["value"], part["stderr"]) == (number, error)
    assert f"<h3>a: {text} <small>" in model_page.text(board.rows[0], board, {})
    assert f" {text} " in report_command.table([one]) and f" {text} " in one.summary + " "
    assert f"| {text} {one.metric} |" in exports.as_markdown(board)
    assert status_cells.scored(one) == f"{text} {one.metric}"
    (row,) = rows(Side(Path("a"), one.result), Side(Path("b"), one.result), "a", [])
    assert list(comparison_text.table([row]))[1].split()[2:4] == [number, number]
    # JSON is for programs and has the exact number.
    assert json.loads(exports.as_json(board))[0]["value"] == value


def test_a_difference_has_the_decimals_of_its_scores() -> None:
    assert scores.number(0.01234, "acc,none", peers=(0.5, 0.51), sign=True) == "+0.0123"
    assert scores.number(-0.5, "word_perplexity", peers=(12.5, 13.0), sign=True) == "-0.50"
    assert (scores.of_sample(1.0, "acc"), scores.of_sample(45.25, "chrf")) == ("1", "45.25")


def test_group_mean_uses_the_scale_of_its_scores() -> None:
    entries = [entry("m", "a", 0.5, 0.02), entry("m", "b", 30.0, 1.0, metric="chrf,none")]
    board = leaderboard.board(
        entries, BoardSettings({"g": settings_schema.Group(tasks={"a": 1, "b": 1})})
    )
    html = index_page.index(board, "now")
    assert re.search(r'class="n group" data-v="0.4" data-e="[\d.]+"><b>0.4000</b>', html)
    assert "| 0.4000 ± 0.0112 |" in exports.as_markdown(board)
    (mean,) = [r for r in json.loads(exports.as_json(board)) if r["group"]]
    assert (mean["metric"], mean["value"]) == ("percent", pytest.approx(40))


N = None
STANDING = [
    ("apart", [(0.9, 0.01), (0.5, 0.01)], 1, ["best", ""]),
    ("within the noise", [(0.52, 0.02), (0.5, 0.02), (0.3, 0.02)], 1, ["tied", "tied", ""]),
    ("just within", [(0.5, 0.1), (0.5 + 0.277, 0.1)], 1, ["tied", "tied"]),  # 1.96·√2·0.1 = 0.2772
    ("just beyond", [(0.5, 0.1), (0.5 + 0.278, 0.1)], 1, ["", "best"]),
    ("less is better", [(9.0, 0.1), (5.0, 0.1)], -1, ["", "best"]),
    ("equal", [(0.5, 0.01), (0.5, 0.01)], 1, ["tied", "tied"]),
    ("equal, with no error at all", [(1.0, 0.0), (1.0, 0.0)], 1, ["tied", "tied"]),
    ("no error at all", [(1.0, 0.0), (0.0, 0.0)], 1, ["", ""]),
    ("errors not known", [(0.9, N), (0.5, N)], 1, ["", ""]),
    ("one of them", [(0.9, 0.01), (0.5, 0.01), (0.4, N)], 1, ["", "", ""]),
    ("the best of them", [(0.9, N), (0.5, 0.01), (0.5, 0.01)], 1, ["", "", ""]),
    ("tied beside an unknown", [(0.9, 0.01), (0.9, 0.01), (0.4, N)], 1, ["tied", "tied", ""]),
    ("one alone", [(0.9, 0.01)], 1, [""]),
    ("no direction", [(0.9, 0.01), (0.1, 0.01)], 0, ["", ""]),
    ("none", [], 1, []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "numbers", "better", "found"), STANDING)
def test_best_score_differs_by_more_than_noise(
    name: str, numbers: list[tuple[float, float | None]], better: int, found: list[str]
) -> None:
    assert standing(numbers, better) == found


def test_page_shows_which_scores_are_tied() -> None:
    entries = [entry("k", "a", 0.71, 0.02), entry("l", "a", 0.70, 0.02), entry("m", "a", 0.5, 0.02)]
    html = index_page.index(leaderboard.board(entries, BoardSettings()), "now")
    assert re.findall(r'<td class="n( \w+)?" data-v="([\d.]+)"', html) == [
        (" tied", "0.71"), (" tied", "0.7"), ("", "0.5"),
    ]  # fmt: skip
