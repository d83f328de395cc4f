"""The metric that a task file names, in a real run.

The last line of an evaluation, the table, status, the leaderboard and compare show this metric or
report that the result does not have it.
"""

from __future__ import annotations

import json

from trees import Tree


def test_every_output_shows_the_metric_of_the_task_or_reports_it_missing(tree: Tree) -> None:
    alpha = "tasks/alpha.yaml"
    tree.edit(alpha, "offline:", "metric: f1\noffline:")
    assert tree.results().status == 0
    assert tree.ran() == [], "a metric changes no answer"
    tree.file("one/alpha").unlink()
    done = tree.make("results", "MODELS=one", "TASKS=alpha")
    has = ", ".join(
        k.removesuffix(",none") for k in tree.result("one/alpha")["metrics"]["standin_alpha"]
    )
    words = f"has no metric f1 (it has: {has})"
    assert done.status == 0 and f"EVAL    one/alpha: {words}\n" in done.text, done.text
    rows = json.loads((tree.root / "results/leaderboard.json").read_text())
    alphas = [row for row in rows if row["task"] == "alpha"]
    assert len(alphas) == 3 and all((r["metric"], r["value"]) == ("f1", None) for r in alphas)
    told = tree.make("status", "MODELS=one", "TASKS=alpha").text
    assert "no f1!" in told and f"marked   one/alpha: {words}" in told
    refused = tree.make("compare", "A=one", "B=two", "TASK=alpha")
    assert refused.status != 0 and f"alpha: A {words}" in refused.text
    tree.edit(alpha, "f1", "acc")
    tree.file("one/alpha").unlink()
    done = tree.make("eval", "CONFIG=configs/models/one.yaml", "TASKS=alpha")
    assert done.status == 0, done.text
    value = tree.result("one/alpha")["metrics"]["standin_alpha"]["acc,none"]["value"]
    assert f"EVAL    one/alpha: acc {value:.4f}" in done.text
    assert f"one    alpha  acc     {value:.4f}" in done.text
