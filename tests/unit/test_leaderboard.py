"""Groups, main metrics, percent; what a spreadsheet and a page make of texts; samples."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_result import made

from benchy import again, leaderboard, report, samples, schema
from benchy.errors import ConfigError
from benchy.leaderboard import Entry, Settings
from benchy.result import Metric, Score


def entry(
    model: str, task: str, value: float, stderr: float | None = 0.01, *, metric: str = "acc,none",
    up: bool | None = True, **changes: Any,
) -> Entry:  # fmt: skip
    score = Score(task, metric, value, stderr, up)
    result = made(model, task, score=score, metrics={task: {metric: Metric(value, stderr, up)}})
    return Entry(Path("results", model, task, "results.json"), replace(result, **changes))


def means(entries: list[Entry], weights: dict[str, float]) -> list[leaderboard.Mean | None]:
    said = Settings({"g": schema.Group(tasks=weights)})
    return [row.means[0] for row in leaderboard.board(entries, said).rows]


def test_a_weighted_mean_in_percent() -> None:
    found = means(
        [entry("m", "a", 0.5, 0.02), entry("m", "b", 30.0, 1.0, metric="chrf,none")],
        {"a": 1, "b": 3},
    )
    assert found[0] is not None and found[0].value == pytest.approx((50 + 3 * 30) / 4)
    assert found[0].stderr == pytest.approx(math.hypot(2, 3) / 4)


def test_less_is_better() -> None:
    found = means([entry("m", "a", 40.0, 1.0, metric="ter,none", up=False)], {"a": 1})
    assert found == [leaderboard.Mean(60.0, 1.0)]


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("a task is missing", [entry("m", "a", 0.5)]),
        ("no scale", [entry("m", "a", 0.5), entry("m", "b", 7, metric="word_perplexity,none")]),
        ("bits", [entry("m", "a", 0.5), entry("m", "b", 0.7, metric="bits_per_byte,none")]),
        ("over 1", [entry("m", "a", 0.5), entry("m", "b", 7.0, metric="rating,none")]),
        ("no direction", [entry("m", "a", 0.5), entry("m", "b", 0.5, up=None)]),
        ("another limit", [entry("m", "a", 0.5), entry("m", "b", 0.5, limit=5)]),
    ],
)  # fmt: skip
def test_no_mean(name: str, entries: list[Entry]) -> None:
    assert not any(means(entries, {"a": 1, "b": 1}))


def test_another_metric_than_the_column_makes_no_mean() -> None:
    entries = [entry(m, "a", 0.5) for m in ("k", "l")]
    entries.append(entry("m", "a", 0.5, metric="exact_match,none"))
    assert [m is None for m in means(entries, {"a": 1})] == [False, False, True]


def test_a_missing_error_leaves_the_mean_without_one() -> None:
    assert means([entry("m", "a", 0.5, None)], {"a": 1}) == [leaderboard.Mean(50.0, None)]


def test_a_task_names_its_metric() -> None:
    numbers = {"acc,none": Metric(0.5, 0.1, True), "acc_norm,none": Metric(0.7, 0.1, True)}
    result = made(metrics={"s": numbers, "t": {"acc_norm,none": Metric(0.9, 0.1, True)}})
    asked = Entry(Path("results/m/smoke/results.json"), result, "acc_norm")
    assert asked.score.metric == "acc_norm,none" and asked.score.value == pytest.approx(0.8)
    assert replace(asked, chosen="acc_norm,none").score == asked.score
    assert replace(asked, chosen="none such").score == result.score
    group = made(groups={"benchy_smoke": numbers})
    assert replace(asked, result=group).score.value == 0.7


def test_a_group_of_unknown_tasks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs/tasks").mkdir(parents=True)
    Path("configs/tasks/spanish.yaml").write_text("task_name: x\nmetric: acc_norm\n")
    path = Path("configs/config.yaml")
    path.write_text("leaderboard:\n  groups:\n    A: {tasks: [spanisch]}\n")
    with pytest.raises(ConfigError) as told:
        leaderboard.settings()
    assert "configs/config.yaml:3" in str(told.value) and "'spanish'" in str(told.value)
    path.write_text("leaderboard:\n  groups:\n    A: {tasks: {spanish: 0}}\n")
    with pytest.raises(ConfigError):
        leaderboard.settings()
    path.write_text("leaderboard:\n  groups:\n    A: {tasks: {spanish: 2}}\n")
    said = leaderboard.settings()
    assert said.metrics == {"spanish": "acc_norm"} and said.groups["A"].weights == {"spanish": 2.0}


def test_a_spreadsheet_runs_no_formula() -> None:
    evil = '=HYPERLINK("http://x")'
    one = entry("m", "a", -0.5)
    result = replace(one.result, model=replace(one.result.model, name=evil, revision_used="+1|x"))
    board = leaderboard.board([replace(one, result=result)], Settings())
    row = next(csv.DictReader(io.StringIO(report.as_csv(board))))
    assert row["name"] == f"'{evil}" and row["revision"] == "'+1|x" and row["value"] == "-0.5"


def test_samples_of_each_kind() -> None:
    choice = {
        "doc_id": 3, "target": "1", "filter": "none", "metrics": ["acc"], "acc": 1.0,
        "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " a"},
                      "gen_args_1": {"arg_0": "Q", "arg_1": " b"}},
        "resps": [[["-2.0", "False"]], [["-1.0", "True"]]],
        "filtered_resps": [["-2.0", "False"], ["-1.0", "True"]],
    }  # fmt: skip
    found = samples.shown("t", choice)
    assert (found["prompt"], found["answer"], found["target"], found["ok"]) == ("Q", " b", " b", 1)
    assert found["choices"] == [[" a", -2.0], [" b", -1.0]]
    chat = '[{"role": "user", "content": "Hi"}]'
    text = {
        "doc_id": 0, "target": "x", "filter": "first", "metrics": ["chrf"], "chrf": ["x", "y"],
        "arguments": {"gen_args_0": {"arg_0": chat, "arg_1": {"until": []}}},
        "resps": [["y\nz"]], "filtered_resps": ["y"],
    }  # fmt: skip
    found = samples.shown("t", text)
    assert found["prompt"] == "[user] Hi" and found["answer"] == "y" and found["raw"] == "y\nz"
    assert found["ok"] == -1 and "choices" not in found
    assert samples.shown("t", {})["ok"] == -1


REPEATED = [
    ("of an older benchy", {"limit": 5}, "make results MODELS=m TASKS=smoke LIMIT=5"),
    ("a config", {"source": "configs/m.yaml"}, "make eval CONFIG=configs/m.yaml TASKS=smoke"),
    (
        "elsewhere, SET, LIMIT",
        {"source": "/else where/m.yaml", "set": "a=1 b=$x", "limit": 5},
        "make eval CONFIG='/else where/m.yaml' TASKS=smoke SET='a=1 b=$x' LIMIT=5",
    ),
    (
        "a secret",
        {"source": "m.yaml", "set": "hf_token=***"},
        "make eval CONFIG=m.yaml TASKS=smoke SET='hf_token=***'"
        "   # *** is a secret, which no result keeps",
    ),
]


@pytest.mark.parametrize(("name", "changes", "command"), REPEATED)
def test_the_commands_that_repeat_a_result(name: str, changes: Any, command: str) -> None:
    limit = "limit-5/" if "limit" in changes else ""
    said = again.commands(made("m", **changes)).splitlines()
    assert said[1:] == [f"rm results/{limit}m/smoke/results.json", command]
