"""Groups, metrics and marks of the leaderboard; hostile texts in its files; samples."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.config import settings_schema
from benchy.core.errors import ConfigError
from benchy.evaluation import result as document
from benchy.evaluation.result import Metric
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import exports, html_page, index_page, leaderboard, reproduce
from benchy.reporting.leaderboard import BoardSettings
from results import entry, made


def means(entries: list[ScoredResult], weights: dict[str, float]) -> list[leaderboard.Mean | None]:
    said = BoardSettings({"g": settings_schema.Group(tasks=weights)})
    return [row.means[0] for row in leaderboard.board(entries, said).rows]


def test_group_mean_weighs_scores_on_a_common_scale() -> None:
    found = means(
        [entry("m", "a", 0.5, 0.02), entry("m", "b", 30.0, 1.0, metric="chrf,none")],
        {"a": 1, "b": 3},
    )
    assert found[0] is not None and found[0].value == pytest.approx((0.5 + 3 * 0.3) / 4)
    assert found[0].stderr == pytest.approx(math.hypot(0.02, 0.03) / 4)


def test_mean_inverts_a_score_if_lower_is_better() -> None:
    found = means([entry("m", "a", 40.0, 1.0, metric="ter,none", up=False)], {"a": 1})
    assert found == [leaderboard.Mean(0.6, 0.01)]


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
def test_incomparable_scores_have_no_mean(name: str, entries: list[ScoredResult]) -> None:
    assert not any(means(entries, {"a": 1, "b": 1}))


def test_score_of_another_metric_than_its_column_has_no_mean() -> None:
    entries = [entry(m, "a", 0.5) for m in ("k", "l")]
    entries.append(entry("m", "a", 0.5, metric="exact_match,none"))
    assert [m is None for m in means(entries, {"a": 1})] == [False, False, True]


def test_mean_has_no_error_if_a_score_has_none() -> None:
    assert means([entry("m", "a", 0.5, None)], {"a": 1}) == [leaderboard.Mean(0.5, None)]


def best(entries: list[ScoredResult]) -> list[tuple[str, str]]:
    """Return the (model, task) pairs that the page shows as best."""
    html = index_page.index(leaderboard.board(entries, BoardSettings()), "now")
    found = []
    for row in html.split("<tr data-kind")[1:]:
        model = re.search(r"compare (\w+)", row)
        assert model
        found += [(model[1], t) for t in re.findall(r'class="n best".*?#(\w+)"', row)]
    return found


REASON = document.FallbackReason("e", "0.8.0", "no disk")


@pytest.mark.parametrize(
    ("name", "change", "mark"),
    [
        ("stale", {"stale": True}, "stale"),
        ("no config", {"unasked": True}, "not in any config"),
        ("fallback", {"fallback": True, "fallback_reason": REASON}, "fallback: 0.8.0 instead of"),
        ("limit", {"limit": 5}, "limit 5"),
        ("seed", {"seed": 1}, "seed 1, others 1234"),
        ("chat", {"chat": True}, "use_chat_completions true, others false"),
        (
            "harness",
            {"harness": replace(made().harness, version="0.4.9")},
            "harness lm_eval 0.4.9, others lm_eval 0.4.13",
        ),
        (
            "few-shot",
            {"task": replace(made().task, name="a", num_fewshot=5)},
            "num_fewshot 5, others null",
        ),
        (
            "task version",
            {"task": replace(made().task, name="a", versions={"t": "2.0"})},
            "task version t 2.0, others t 1.0",
        ),
    ],
)
def test_a_marked_result_is_not_the_best(name: str, change: dict[str, Any], mark: str) -> None:
    entries = [entry("k", "a", 0.5), entry("l", "a", 0.6), entry("m", "a", 0.9)]
    assert best(entries) == [("m", "a")]
    own = {key: value for key, value in change.items() if key in ("stale", "unasked")}
    result = {key: value for key, value in change.items() if key not in own}
    odd = replace(entries[2], result=replace(entries[2].result, **result), **own)
    assert best([*entries[:2], odd]) == [("l", "a")]
    board = leaderboard.board([*entries[:2], odd], BoardSettings())
    texts = [exports.as_json(board), exports.as_csv(board).replace('""', '"')]
    assert all(mark in text.replace('\\"', '"') for text in texts)
    word = "other seed" if name == "seed" else mark if name in ("stale", "no config") else ""
    assert word in exports.as_markdown(board) and word in index_page.index(board, "now")


def test_most_common_kind_counts_unlimited_results_and_newest_breaks_ties() -> None:
    old, new = entry("k", "a", 0.5, seed=1), entry("l", "a", 0.6)
    times = replace(new.result.times, end="2027-01-01T00:00:00+00:00")
    new = replace(new, result=replace(new.result, times=times))
    assert [e.kind for e in leaderboard.board([old, new], BoardSettings()).entries] == [1, 0]
    limited = [entry(m, "a", 0.5, seed=1, limit=5) for m in "nop"]
    board = leaderboard.board([old, new, *limited], BoardSettings())
    assert [e.kind for e in board.entries] == [1, 0, 1, 1, 1]


def test_unlike_results_mark_the_mean_and_unrequested_results_prevent_it() -> None:
    said = BoardSettings({"g": settings_schema.Group(tasks={"a": 1, "b": 1})})
    entries = [entry(m, t, 0.5) for m in "klmn" for t in "ab"]
    entries[3] = entry("l", "b", 0.99, seed=1)
    entries[5] = replace(entries[5], unasked=True)
    entries[7] = replace(entries[7], stale=True, result=entry("n", "b", 0.9).result)
    board = leaderboard.board(entries, said)
    found = {row.model: row.means[0] for row in board.rows}
    assert found["m"] is None and found["l"] and found["l"].kinds == (0, 1)
    rows = {r["model"]: r["marks"] for r in exports.flat_all(board) if r["group"]}
    assert rows == {"k": "", "l": "of unlike results", "n": "stale"}
    assert index_page.index(board, "now").count("of unlike results") == 1
    assert not re.search(r"group best", index_page.index(board, "now"))  # a lone mean is not best


def test_results_that_no_config_requests_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases: a task removed from its config, a deleted config, a config outside the checkout that
    exists, and one that does not."""
    monkeypatch.chdir(tmp_path)
    for model, task in (("m", "a"), ("m", "b"), ("gone", "a"), ("far", "a"), ("lost", "a")):
        path = Path("results", model, task, "results.json")
        path.parent.mkdir(parents=True)
        document.write(entry(model, task, 0.5).result, path)

    def plan(where: str, source: str, model: str, *tasks: str) -> None:
        path = Path("build", where, "plan.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        models = {model: specs.model(source=source, tasks=list(tasks))}
        path.write_text(json.dumps(specs.plan(models=models)))

    def unasked() -> list[tuple[str, str]]:
        board, _, _ = leaderboard.load_board(BoardSettings())
        return [(e.model, e.task) for e in board.entries if e.unasked]

    assert unasked() == []  # without a plan, nothing is known
    far = tmp_path / "far.yaml"
    far.write_text("")
    plan("", "configs/m.yaml", "m", "a")
    plan("eval/m", "configs/m.yaml", "m", "a", "b")  # from before b was removed
    plan("eval/far/limit-2", str(far), "far", "a")
    plan("eval/lost", str(tmp_path / "lost.yaml"), "lost", "a")
    assert unasked() == [("gone", "a"), ("lost", "a"), ("m", "b")]
    Path("build/plan.json").write_text("[")
    assert unasked() == []


def test_score_uses_the_metric_that_the_task_file_names() -> None:
    numbers = {"acc,none": Metric(0.5, 0.1, True), "acc_norm,none": Metric(0.7, 0.1, True)}
    result = made(metrics={"s": numbers, "t": {"acc_norm,none": Metric(0.9, 0.1, True)}})
    asked = ScoredResult(Path("results/m/smoke/results.json"), result, "acc_norm")
    assert asked.score and asked.score.metric == "acc_norm,none"
    assert asked.score.value == pytest.approx(0.8)
    assert replace(asked, chosen="acc_norm,none").score == asked.score
    group = made(groups={"benchy_smoke": numbers})
    found = replace(asked, result=group).score
    assert found and found.value == 0.7


def test_group_with_an_unknown_task_or_zero_weight_is_refused(
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


def test_csv_escapes_spreadsheet_formulas() -> None:
    evil = '=HYPERLINK("http://x")'
    one = entry("m", "a", -0.5)
    result = replace(one.result, model=replace(one.result.model, name=evil, revision_used="+1|x"))
    board = leaderboard.board([replace(one, result=result)], BoardSettings())
    row = next(csv.DictReader(io.StringIO(exports.as_csv(board))))
    assert row["name"] == f"'{evil}" and row["revision"] == "'+1|x" and row["value"] == "-0.5"


def test_leaderboard_files_neutralize_hostile_texts(tmp_path: Path) -> None:
    """Terminal escapes, bidirectional control characters, and injected links."""
    evil = "\x1b]0;x\x07\u202eoops\u2066 [x](http://evil) `c` <script>"
    one = entry("m", "a", -0.5)
    engine = replace(one.result.engine, answered=evil)
    model = replace(one.result.model, name=evil)
    result = replace(one.result, engine=engine, model=model)
    board = leaderboard.board([replace(one, result=result)], BoardSettings())
    html_page.put(tmp_path / "x.html", index_page.index(board, "now"))
    html = (tmp_path / "x.html").read_text()
    for text in (exports.as_csv(board), exports.as_markdown(board), html):
        assert not {"\x1b", "\x07", "\u202e", "\u2066"} & set(text)
    row = exports.as_markdown(board).splitlines()[2]
    assert "\\[x](http" in row and "\\`c\\`" in row and "&lt;script" in row
    assert "<script>" not in row and json.loads(exports.as_json(board))[0]["name"] == evil
    html_page.put(tmp_path / "x.json", exports.as_json(board))
    assert json.loads((tmp_path / "x.json").read_text())[0]["name"] == evil, "data stay data"


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
        "   # *** is a secret, which is not in the result",
    ),
]


@pytest.mark.parametrize(("name", "changes", "command"), REPEATED)
def test_commands_reproduce_a_result(name: str, changes: Any, command: str) -> None:
    limit = "limit-5/" if "limit" in changes else ""
    said = reproduce.commands(made("m", **changes)).splitlines()
    assert said[1:] == [f"rm results/{limit}m/smoke/results.json", command]
