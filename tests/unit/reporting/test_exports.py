"""The files and tables of the leaderboard, from a tree of results."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchy.cli import report as report_command
from benchy.evaluation import result as document
from results import made


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    reason = document.FallbackReason("vllm_0_8_0", "0.8.0", "no disk")
    engine = replace(made().engine, answered="0.32.0")
    for where, result in {
        "b/smoke": made("b"),
        "a/smoke": made("a", fallback=True, fallback_reason=reason, engine=engine),
        "a/spanish": made(
            "a", "spanish", score=document.Score("mean", "bleu,none", 21.5, None, True)
        ),
        "limit-5/a/smoke": made("a", limit=5),
    }.items():
        path = Path("results", where, "results.json")
        path.parent.mkdir(parents=True)
        document.write(result, path)
    return tmp_path


def test_report_writes_page_json_csv_and_markdown(tree: Path) -> None:
    assert report_command.main([]) == 0
    rows = json.loads(Path("results/leaderboard.json").read_text())
    assert [(r["limit"], r["model"], r["task"]) for r in rows] == [
        (None, "a", "smoke"), (None, "a", "spanish"), (None, "b", "smoke"), (5, "a", "smoke"),
    ]  # fmt: skip
    assert rows[0]["fallback"] and rows[0]["version_asked"] == "0.8.0"
    assert rows[0]["version_answered"] == "0.32.0"
    # Without this byte order mark, Excel does not read the file as UTF-8.
    assert Path("results/leaderboard.csv").read_bytes().startswith(b"\xef\xbb\xbfmodel,")
    text = Path("results/leaderboard.csv").read_text("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert [float(r["value"]) for r in table] == [0.25, 21.5, 0.25, 0.25]
    markdown = Path("results/leaderboard.md").read_text().splitlines()
    assert markdown[0] == "| model | engine | smoke | spanish |"
    assert markdown[2].count("fallback: 0.32.0 instead of 0.8.0") == 1
    assert markdown[-1].startswith("| a (limit 5) |") and markdown[-1].endswith("| - |")
    assert sorted(p.name for p in Path("results").iterdir() if p.is_file()) == [
        "index.html", "leaderboard.csv", "leaderboard.json", "leaderboard.md",
    ]  # fmt: skip


def test_page_is_self_contained_and_escapes_html(tree: Path) -> None:
    path = Path("results/b/smoke/results.json")
    result = document.read(path)
    model = replace(result.model, name='<script>alert("x")</script>')
    document.write(replace(result, model=model), path)
    report_command.main([])
    page = Path("results/index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert "http:" not in page and "https:" not in page and " src=" not in page
    assert "limit 5" in page and "fallback: 0.32.0 instead of 0.8.0" in page


def test_damaged_results_are_reported_and_left_out(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/b/smoke/results.json").write_text("{")
    Path("results/c/smoke").mkdir(parents=True)
    text = Path("results/a/spanish/results.json").read_text()
    Path("results/c/smoke/results.json").write_text(text)
    assert report_command.main([]) == 1
    said = capsys.readouterr().err
    assert "results/b/smoke/results.json is damaged" in said
    assert "results/c/smoke/results.json is a copy of a result of a" in said
    assert len(json.loads(Path("results/leaderboard.json").read_text())) == 3


def test_table_is_aligned_and_shows_only_requested_models(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_command.main(["--table", "a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and len({line.find("results/") for line in lines[1:]}) == 1
    assert "0.2500 ± 0.0700" in lines[1] and "(fallback: 0.32.0 instead of 0.8.0)" in lines[1]
    assert "21.50 " in lines[2] and "bleu " in lines[2]
    assert report_command.main(["--table", "--limit", "5", "a", "b"]) == 0
    assert "(limit 5)" in capsys.readouterr().out
    assert not Path("results/leaderboard.json").exists()


def test_table_shows_the_metric_of_the_task_file(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("configs/tasks").mkdir(parents=True)
    task = Path("configs/tasks/smoke.yaml")
    for metric, words in (
        ("acc", r"acc +0\.2500 ± 0\.0700 +results/b/smoke/results\.json$"),
        ("f1", r"f1 +- +results/b/smoke/results\.json \(has no metric f1 \(it has: acc\)\)$"),
    ):
        task.write_text(f"task_name: x\nmetric: {metric}\n")
        assert report_command.main(["--table", "b"]) == 0
        said = capsys.readouterr()
        assert re.search(words, said.out.splitlines()[1]) and not said.err
    task.write_text("task_name: x\nmetrics: f1\n")
    assert report_command.main(["--table", "b"]) == 0
    said = capsys.readouterr()
    assert " acc " in said.out
    assert "the table lacks the metrics of the task files: configs/tasks/smoke.yaml:2" in said.err


def test_report_without_results_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report_command.main([]) == 0
    assert "No results yet" in Path("results/index.html").read_text()
    assert report_command.main(["--table", "a"]) == 0
