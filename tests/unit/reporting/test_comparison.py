"""Comparison of two results: what is compared, what is refused, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchy.cli import compare as compare_command
from benchy.core.errors import ConfigError, Failure, UsageError
from benchy.evaluation import harness_metrics
from benchy.evaluation import result as document
from benchy.plan import result_status
from benchy.reporting import comparison_sides
from benchy.reporting.comparison import Pairs, logged, paired
from results import made

STAMP = "2026-11-23T09-00-00.123"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for knob in ("A", "B", "TASK", "TASKS", "FLIPS", "ANYWAY", "BENCHY_CWD"):
        monkeypatch.delenv(knob, raising=False)
    return tmp_path


def put(
    where: str,
    values: Mapping[str, Sequence[float]],
    metric: str = "acc,none",
    logged: bool = True,
    **changes: Any,
) -> None:
    """Write a result. values: harness task → the value of each sample."""
    folder = Path("results", where)
    folder.mkdir(parents=True)
    metrics, output = {}, []
    for task, numbers in values.items():
        mean = sum(numbers) / len(numbers)
        metrics[task] = {metric: document.Metric(mean, 0.05, True)}
        if logged:
            name = f"harness/samples_{task}_{STAMP}.jsonl"
            output.append(name)
            (folder / "harness").mkdir(exist_ok=True)
            key = metric.partition(",")[0]
            lines = [line(n, key, value) for n, value in enumerate(numbers)]
            (folder / name).write_text("\n".join(lines))
    score = harness_metrics.main_score(list(values), metrics, {})
    model, task_name = where.split("/")[-2:]
    found = made(model, task_name, metrics=metrics, score=score, harness_output=output, **changes)
    of = replace(found.task, task_name=list(values), versions=dict.fromkeys(values, "1.0"))
    counts = document.Counts({name: len(v) for name, v in values.items()}, None)
    document.write(replace(found, task=of, counts=counts), folder / "results.json")


def line(n: int, metric: str, value: float) -> str:
    return json.dumps(
        {
            "doc_id": n, "doc_hash": f"h{n}", "filter": "none", "metrics": [metric],
            metric: value, "target": "sí <b>", "resps": [["no"]], "filtered_resps": ["no\x1b[2J"],
            "arguments": {"gen_args_0": {"arg_0": f"¿{n}?", "arg_1": "x"}},
        }
    )  # fmt: skip


def edit(path: str, **changes: Any) -> None:
    file = Path("results", path, "results.json")
    document.write(replace(document.read(file), **changes), file)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert compare_command.main(list(argv)) == 0
    return capsys.readouterr().out


def test_difference_beyond_noise_is_reported_with_its_samples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put("a/smoke", {"t": [0.0] * 20 + [1.0] * 32})
    put("b/smoke", {"t": [1.0] * 18 + [0.0] * 2 + [1.0] * 32})
    text = said(capsys, "a", "b")
    assert "A  a (vllm 0.8.0)\nB  b (vllm 0.8.0)" in text
    row = next(r for r in text.splitlines() if r.startswith("smoke "))
    assert row.split()[:5] == ["smoke", "acc", "0.6154", "0.9615", "+0.3462"]
    assert "<0.001  +18 -0 of 52  B better" in row
    assert "smoke: only B is right in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 8 more" in text
    assert all(len(r) <= 100 for r in text.splitlines())


def test_difference_within_noise_is_called_noise(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0, 0.0] * 20})
    put("b/smoke", {"t": [1.0, 0.0] * 18 + [0.0, 1.0, 1.0, 1.0]})
    text = said(capsys, "a", "b")
    assert "  noise" in text and "smoke: noise. 40 samples detect a difference of" in text


def test_model_compared_with_itself_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0, 0.0, 1.0]})
    text = said(capsys, "a", "a")
    assert "+0.0000" in text and "1.000  +0 -0 of 3  same" in text and "noise" not in text


def test_numeric_metric_uses_the_bootstrap_and_its_direction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    down = [0.1 * n for n in range(40)]
    put("a/smoke", {"t": down}, "loss,none")
    put("b/smoke", {"t": [v - 0.05 - 0.001 * n for n, v in enumerate(down)]}, "loss,none")
    for name in ("a", "b"):
        found = document.read(Path(f"results/{name}/smoke/results.json"))
        metric = replace(found.metrics["t"]["loss,none"], higher_is_better=False)
        edit(f"{name}/smoke", metrics={"t": {"loss,none": metric}})
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    (row,) = told["rows"]
    assert row["verdict"]["test"] == "bootstrap" and row["word"] == "B better"
    assert row["verdict"]["high"] < 0 and len(row["gained"]) == 40


def test_tasks_are_tested_separately_and_as_a_mean(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [0.0] * 30 + [1.0] * 10, "u": [1.0, 0.0] * 20})
    put("b/smoke", {"t": [1.0] * 40, "u": [1.0, 0.0] * 20})
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert [(r["task"], r["word"]) for r in told["rows"]] == [
        ("t", "B better"), ("u", "same"), ("smoke: mean of 2", "B better"),
    ]  # fmt: skip
    assert "p is adjusted for the number of tasks compared (Holm)." in said(capsys, "a", "b")


UNLIKE = [
    ("limit", {"limit": 5}, "limit: null and 5"),
    ("seed", {"seed": 1}, "seed: 1234 and 1"),
    ("chat", {"chat": True}, "use_chat_completions: false and true"),
    ("harness", {"harness": document.HarnessRecord("lm_eval", "0.4.9", "e", None)},
     "harness: lm_eval 0.4.13 and lm_eval 0.4.9"),
    ("version", {"task": replace(made().task, task_name=["t"], versions={"t": "2.0"})},
     'task version: t 1.0 and t 2.0'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "words"), UNLIKE)
def test_results_measured_differently_are_refused_without_anyway(
    name: str, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    put("b/smoke", {"t": [1.0, 0.0]})
    edit("b/smoke", **changes)
    with pytest.raises(ConfigError) as refused:
        compare_command.main(["a", "b"])
    assert f"smoke: {words}\n  ANYWAY=1 compares them anyway" in str(refused.value)
    assert compare_command.main(["a", "b", "--anyway"]) == 0
    assert f"unlike: smoke: {words}" in capsys.readouterr().err


def test_results_of_other_documents_are_refused_without_anyway(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put("a/smoke", {"t": [1.0, 0.0, 1.0, 1.0]})
    put("b/smoke", {"t": [1.0, 0.0, 0.0]})
    with pytest.raises(ConfigError, match="1 documents differ, 3 are the same"):
        compare_command.main(["a", "b"])
    text = said(capsys, "a", "b", "--anyway")
    assert "0.6667  0.3333  -0.3333" in text and "+0 -1 of 3" in text


def test_corpus_metric_uses_standard_errors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", 21.5), ("b", 30.0)):
        put(f"{name}/smoke", {"t": [1.0, 0.0]}, "bleu,none")
        metric = document.Metric(value, 1.0, True)
        edit(f"{name}/smoke", metrics={"t": {"bleu,none": metric}},
             score=document.Score("t", "bleu,none", value, 1.0, True))  # fmt: skip
    text = said(capsys, "a", "b")
    assert "21.50  30.00  +8.50" in text and "B better" in text
    assert "smoke: by standard errors alone" in text


def test_without_logged_samples_standard_errors_are_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put("a/smoke", {"t": [1.0, 0.0]}, logged=False)
    put("b/smoke", {"t": [1.0, 1.0]}, logged=False)
    text = said(capsys, "a", "b")
    assert "smoke: by standard errors alone" in text and "B better" in text


def test_flips_are_shown_without_terminal_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    put("b/smoke", {"t": [0.0, 1.0]})
    text = said(capsys, "a", "b", "--flips", "1")
    assert "--- smoke 1: A 0, B 1\n¿1?\n    expected  sí <b>\n    A         no\\x1b[2J\n" in text
    assert "\x1b" not in text


def test_results_in_another_directory_can_be_compared(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    Path("results/a").rename("kept")
    put("a/smoke", {"t": [1.0, 1.0]})
    assert "0.5000  1.0000" in said(capsys, "kept", "a")


MISTAKES = [
    (["a"], "B: is missing"),
    (["a", "limitless"], "B: 'limitless' has no results"),
    (["bb", "a"], "did you mean A=b?"),
    (["a", "b", "--task", "x"], "not both have the task 'x'\n  both have: smoke"),
    (["a", "b", "--flips", "many"], "'many' is not a number of samples"),
]


@pytest.mark.parametrize(("argv", "words"), MISTAKES)
def test_wrong_arguments_are_reported(argv: list[str], words: str) -> None:
    put("a/smoke", {"t": [1.0]})
    put("b/smoke", {"t": [1.0]})
    with pytest.raises(UsageError) as refused:
        compare_command.main(argv)
    assert words in str(refused.value)


def test_one_sample_is_too_few(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0]})
    put("b/smoke", {"t": [0.0]})
    text = said(capsys, "a", "b")
    assert "+0 -1 of 1  too few" in text and "smoke: too few samples to tell: 1 of 1 differ" in text


def test_detectable_difference_above_one_is_not_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put("a/smoke", {"t": [0.0, 0.0, 1.0, 1.0]})
    put("b/smoke", {"t": [1.0, 1.0, 0.0, 1.0]})
    text = said(capsys, "a", "b")
    assert "smoke: too few samples to tell: 3 of 4 differ" in text and "four times" not in text
    put("c/smoke", {"t": [0.0] * 4 + [1.0] * 3})
    put("d/smoke", {"t": [1.0] * 4 + [0.0] * 3})
    text = said(capsys, "c", "d")
    assert "+4 -3 of 7  noise" in text and "smoke: too few samples to tell: 7." in text


def test_lower_value_is_right_if_lower_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [0.0] * 8 + [1.0]}, "wrong,none")
    put("b/smoke", {"t": [1.0] * 8 + [0.0]}, "wrong,none")
    for name in ("a", "b"):
        found = document.read(Path(f"results/{name}/smoke/results.json"))
        metric = replace(found.metrics["t"]["wrong,none"], higher_is_better=False)
        edit(f"{name}/smoke", metrics={"t": {"wrong,none": metric}})
    text = said(capsys, "a", "b")
    assert "0.039  +1 -8 of 9  A better" in text
    assert "smoke: only B is right in 8\n" in text
    assert "smoke: only A is right in 0, 1, 2, 3, 4, 5, 6, 7\n" in text


def test_releases_are_listed_by_task_if_they_differ(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        for task in ("smoke", "talk", "walk"):
            put(f"{name}/{task}", {task: [1.0, 0.0]})
    older = replace(made().engine, answered="0.7.0")
    edit("b/talk", engine=older, fallback=True)
    text = said(capsys, "a", "b")
    assert "A  a (vllm 0.8.0)\nB  b (vllm 0.8.0): smoke, walk\n" in text
    assert "B  b (vllm 0.7.0, fallback): talk\n" in text
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert told["B"]["tasks"] == {
        "b (vllm 0.8.0)": ["smoke", "walk"], "b (vllm 0.7.0, fallback)": ["talk"],
    }  # fmt: skip


def test_stale_results_are_marked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    put("b/smoke", {"t": [1.0, 0.0]})
    old = {Path("results/b/smoke/results.json"): True, Path("results/a/smoke/results.json"): False}
    monkeypatch.setattr(result_status, "stale", lambda limits: old)
    assert "A  a (vllm 0.8.0)\nB  b (vllm 0.8.0, stale)\n" in said(capsys, "a", "b")


def test_different_limit_is_the_only_reason_reported() -> None:
    put("a/smoke", {"t": [1.0, 0.0, 1.0]})
    put("b/smoke", {"t": [1.0, 0.0]}, limit=2)
    with pytest.raises(ConfigError) as refused:
        compare_command.main(["a", "b"])
    assert [m.what for m in refused.value.mistakes] == ["limit: null and 2"]


def test_damaged_samples_count_as_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        put(f"{name}/smoke", {"t": [1.0, 0.0]})
        (file,) = Path(f"results/{name}/smoke/harness").iterdir()
        file.write_text('{"doc_id":\n[]\nnull\n')
    assert "by standard errors alone" in said(capsys, "a", "b")


def test_group_over_all_samples_is_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    for name, flips in (("a", [0.0] * 12), ("b", [1.0] * 12)):
        put(f"{name}/smoke", {"t": [*flips, 1.0, 0.0], "u": [1.0, 0.0]})
        mean = (sum(flips) + 2) / 16
        group = {"all": {"acc,none": document.Metric(mean, 0.05, True)}}
        score = document.Score("all", "acc,none", mean, 0.05, True)
        edit(f"{name}/smoke", groups=group, score=score)
    text = said(capsys, "a", "b")
    assert "<0.001  +12 -0 of 16  B better" in text
    assert "smoke: only B is right in t 0, t 1" in text


def test_group_with_equal_task_weights_has_a_row_for_each_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        put(f"{name}/smoke", {"t": [1.0, 0.0, 0.0, 0.0], "u": [1.0, 1.0]})
        group = {"all": {"acc,none": document.Metric(0.625, 0.05, True)}}
        score = document.Score("all", "acc,none", 0.625, 0.05, True)
        edit(f"{name}/smoke", groups=group, score=score)
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert [(r["task"], r["a"]) for r in told["rows"]] == [
        ("t", 0.25), ("u", 1.0), ("smoke: mean of 2", 0.625),
    ]  # fmt: skip


def names_metric(metric: str) -> None:
    Path("configs/tasks").mkdir(parents=True, exist_ok=True)
    Path("configs/tasks/smoke.yaml").write_text(f"task_name: x\nmetric: {metric}\n")


def test_marks_of_either_side_are_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    empty = {"t": document.Checks(2, 1, 0, 2, 2, 0)}
    put("a/smoke", {"t": [1.0, 0.0]}, checks={"t": document.Checks(2, 1)})
    put("b/smoke", {"t": [0.0, 0.0]}, checks=empty)
    text = said(capsys, "a", "b")
    assert "\nwarning: A and B: smoke: 1 of 2 prompts truncated\n" in text
    assert "\nwarning: B: smoke: 2 of 2 answers empty\n" in text
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert told["warnings"] == [
        "A and B: smoke: 1 of 2 prompts truncated", "B: smoke: 2 of 2 answers empty",
    ]  # fmt: skip


def test_metric_missing_on_one_side_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    names_metric("f1")
    for name in ("a", "b"):
        put(f"{name}/smoke", {"t": [1.0, 0.0]}, "f1,none" if name == "a" else "acc,none")
    with pytest.raises(Failure, match=r"smoke: B has no metric f1 \(it has: acc\)"):
        compare_command.main(["a", "b"])
    for name in ("a", "b"):
        put(f"{name}/talk", {"t": [1.0, 0.0]})
    text = said(capsys, "a", "b")
    assert "\nnot compared: smoke: B has no metric f1 (it has: acc)\n" in text
    assert "warning" not in text
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert told["not_compared"] == {"smoke": "B has no metric f1 (it has: acc)"}
    assert [row["task"] for row in told["rows"]] == ["t"]


def test_task_without_a_common_metric_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    put("b/smoke", {"t": [1.0, 0.0]}, "f1,none")
    for name in ("a", "b"):
        put(f"{name}/talk", {"t": [1.0, 0.0]})
    words = "not compared: smoke: no task of the harness has the metric acc on both sides"
    assert words in said(capsys, "a", "b")


def test_config_mistakes_are_reported_and_the_comparison_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names_metric("f1\nodd: 1")
    put("a/smoke", {"t": [1.0, 0.0]})
    assert compare_command.main(["a", "a"]) == 0
    assert "comparing without the metrics of the task files: configs/tasks/smoke.yaml:3" in (
        capsys.readouterr().err
    )


def test_empty_answer_of_a_flip_is_shown_as_empty(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/smoke", {"t": [1.0, 0.0]})
    put("b/smoke", {"t": [0.0, 1.0]})
    (file,) = Path("results/b/smoke/harness").iterdir()
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    empty = [json.dumps(one | {"resps": [[""]], "filtered_resps": [""]}) for one in lines]
    file.write_text("\n".join(empty))
    text = said(capsys, "a", "b", "--flips", "1")
    assert "    B         (empty)\n" in text


def test_tasks_that_share_a_harness_task_have_distinct_labels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        put(f"{name}/mc_es", {"t": [0.0, 1.0] * 10})
        put(f"{name}/mc_es_3shot", {"t": [1.0, 1.0] * 10})
        put(f"{name}/two", {"t": [1.0] * 9, "u": [1.0] * 9})
    text = said(capsys, "a", "b")
    names = [line.partition("  ")[0] for line in text.splitlines() if " acc " in line]
    assert names == ["mc_es", "mc_es_3shot", "two: t", "two: u", "two: mean of 2"]
    told = json.loads(said(capsys, "a", "b", "--format", "json"))
    assert [row["task"] for row in told["rows"]] == ["t", "t", "t", "u", "two: mean of 2"]
    assert [row["label"] for row in told["rows"]] == names


EXPLAIN: list[tuple[str, Pairs, tuple[float, float], bool]] = [
    ("means", Pairs(["0", "1"], [0, 1], [1, 1], 0, True), (0.5, 1), True),
    ("rounded means", Pairs(["0", "1"], [0, 1], [1, 1], 0, True), (0.5 + 1e-9, 1), True),
    ("no means", Pairs(["0", "1"], [0, 1], [1, 1], 0, True), (0.5, 0.9), False),
    ("some samples are common", Pairs(["0"], [0], [1], 3, True), (0.5, 0.9), True),
    ("none are common", Pairs([], [], [], 3, True), (0.5, 1), False),
    ("none are logged", Pairs([], [], [], 0, False), (0.5, 1), False),
]


@pytest.mark.parametrize(("name", "pairs", "means", "expected"), EXPLAIN)
def test_samples_stand_for_a_metric_that_is_their_mean(
    name: str, pairs: Pairs, means: tuple[float, float], expected: bool
) -> None:
    assert pairs.explain(*means) is expected, name


def test_samples_are_paired_by_id_and_document() -> None:
    for side, values in (("a", [0.0, 1.0, 1.0]), ("b", [1.0, 1.0, 0.0, 1.0])):
        put(f"{side}/smoke", {"t": values})
    (file,) = Path("results/b/smoke/harness").iterdir()
    file.write_text(file.read_text().replace('"h1"', '"another"'))
    a, b = (comparison_sides.read(Path(f"results/{side}/smoke")) for side in "ab")
    assert paired(a, b, ["t"], "acc,none") == Pairs(["0", "2"], [0, 1], [1, 0], 2, True)
    assert paired(a, b, ["t"], "f1,none") == Pairs([], [], [], 0, False)
    assert list(logged(a, ["t", "u"], "acc,none")) == ["t 0", "t 1", "t 2"]
