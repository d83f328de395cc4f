"""All results on disk, each with its score and its marks.

Reads results/[limit-N/]<model>/<task>/results.json.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchy.core import result_files
from benchy.core.errors import Failure
from benchy.evaluation import result as document
from benchy.evaluation.scored_result import ScoredResult


def collect(
    models: Sequence[str] | None = None, limit: int | None = None, limited: bool | None = None
) -> tuple[list[ScoredResult], list[Failure]]:
    """Read results, sorted by limit (those without one first), model and task.

    Args:
        models: Read only the results of these models.
        limit: The limit that `limited=True` selects.
        limited: True reads only results with `limit`, False only those without a limit.

    Returns:
        The results, and a failure for each damaged or misplaced file.
    """
    entries, damaged = [], []
    for path, its_limit in sorted(result_files.files(), key=lambda f: (f[1] or 0, f[0])):
        model = path.parent.parent.name
        if models is not None and model not in models:
            continue
        if limited is not None and its_limit != (limit if limited else None):
            continue
        try:
            result = document.read(path)
        except Failure as failure:
            damaged.append(failure)
            continue
        if result.limit != its_limit or result.model.config != model:
            damaged.append(
                Failure(
                    f"{path} is a copy of a result of {result.model.config}, limit {result.limit}",
                    f"Delete it; the next run creates it again: rm {path}",
                )
            )
            continue
        entries.append(ScoredResult(path, result))
    return entries, damaged
