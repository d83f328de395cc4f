"""Metrics of a result, from the harness's results file, and the score that stands for a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchy.evaluation.result import Metric, Score, mean_of

_ABOUT = ("alias", "name", "sample_len", "sample_count", "samples")


def metrics_of(entry: Mapping[str, Any], better: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of one task or group in the harness's "results".

    `better` is its entry in "higher_is_better". The keys are "metric,filter", with the standard
    error in "metric_stderr,filter". Raises ValueError that names the metric if a value is not a
    finite number.
    """
    metrics: dict[str, Metric] = {}
    for key, value in entry.items():
        metric, _, chosen = key.partition(",")
        if key in _ABOUT or not chosen or metric.endswith("_stderr"):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{key} is {value!r}, which is not a number")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
        # The harness gives "N/A" if it cannot estimate it, and NaN for a single sample.
        stderr = entry.get(f"{metric}_stderr,{chosen}")
        known = isinstance(stderr, (int, float)) and math.isfinite(stderr)
        metrics[key] = Metric(float(value), float(stderr) if known else None, better.get(metric))  # type: ignore[arg-type]
    return metrics


def main_score(
    requested: list[str],
    metrics: dict[str, dict[str, Metric]],
    groups: dict[str, dict[str, Metric]],
) -> Score:
    """Return the number that represents a task in a table.

    If one name was requested and has metrics, this is its first metric. Otherwise it is a mean in
    which each task counts once: of the first metric if all tasks share it, else of the accuracy of
    the tasks that have one. Different metrics are never mixed.

    Args:
        requested: Names in the harness, in the order of the task file.
        metrics: Metrics of each task, in the harness's order.
        groups: Metrics of each group.

    Raises:
        ValueError: There is no metric.
    """
    if len(requested) == 1 and (own := groups.get(requested[0]) or metrics.get(requested[0])):
        key, first = next(iter(own.items()))
        return Score(requested[0], key, first.value, first.stderr, first.higher_is_better)
    firsts = [next(iter(task)) for task in metrics.values() if task]
    if not firsts:
        raise ValueError("no metric")
    key = firsts[0]
    if any(other != key for other in firsts) and any("acc,none" in m for m in metrics.values()):
        key = "acc,none"
    parts = [task[key] for task in metrics.values() if key in task]
    errors = [part.stderr for part in parts if part.stderr is not None]
    stderr = math.hypot(*errors) / len(parts) if len(errors) == len(parts) else None
    count, total = len(parts), len(metrics)
    return Score(
        mean_of(count, total),
        key,
        sum(part.value for part in parts) / count,
        stderr,
        parts[0].higher_is_better,
    )
