"""Result documents and scored results, for tests of the code that reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchy.evaluation import result as document
from benchy.evaluation.result import Metric, Score
from benchy.evaluation.scored_result import ScoredResult


def made(model: str = "tiny", task: str = "smoke", **changes: Any) -> document.Result:
    score = document.Score("benchy_smoke", "acc,none", 0.25, 0.07, True)
    return replace(
        document.Result(
            schema=document.SCHEMA,
            model=document.ModelRecord(model, "org/name", None, "main", "0123", None),
            engine=document.EngineRecord("vllm", "vllm", "0.8.0", "0.8.0", "vllm_0_8_0", "ab"),
            fallback=False,
            fallback_reason=None,
            harness=document.HarnessRecord("lm_eval", "0.4.13", "lm_eval_0_4_13", "cd"),
            task=document.TaskRecord(task, ["benchy_smoke"], {"t": "1.0"}, None, {}, 1024, {}),
            limit=None,
            seed=1234,
            chat=False,
            gpus=[0],
            arguments=["--port", "1"],
            options={"max_model_len": 1024},
            variables={},
            times=document.Times(3.5, "2026-11-23T09:00:00+00:00", "2026-11-23T09:01:00+00:00", 60),
            counts=document.Counts({"t": 2}, 8),
            git=document.Git("0" * 40, False),
            spec_sha256="ef",
            harness_output=["harness/m/results_1.json"],
            metrics={"t": {"acc,none": Metric(0.25, 0.07, True)}},
            groups={},
            score=score,
            checks={"t": document.Checks(2, 0, 0)},
        ),
        **changes,
    )


def entry(
    model: str, task: str, value: float, stderr: float | None = 0.01, *, metric: str = "acc,none",
    up: bool | None = True, **changes: Any,
) -> ScoredResult:  # fmt: skip
    score = Score(task, metric, value, stderr, up)
    result = made(model, task, score=score, metrics={task: {metric: Metric(value, stderr, up)}})
    return ScoredResult(Path("results", model, task, "results.json"), replace(result, **changes))
