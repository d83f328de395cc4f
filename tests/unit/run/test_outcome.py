"""What became of the requested results of a run, and its exit status."""

from __future__ import annotations

from typing import Any

import pytest

import specs
from benchy.core.errors import FailureKind
from benchy.environments import health
from benchy.run import outcome as module
from benchy.run.outcome import outcome, status_of

# (about, requested, stale before, stale now, rewritten) → (made, kept, left, edited)
OUTCOMES = [
    ("all made", "ab", "a", "", "a", (1, 1, "", "")),
    ("one not made", "ab", "ab", "b", "a", (1, 0, "b", "")),
    ("its lock came out identical", "ab", "a", "", "", (0, 2, "", "")),
    ("edited during the run", "ab", "a", "a", "a", (1, 1, "", "a")),
    ("another one became stale", "ab", "a", "b", "a", (1, 0, "b", "")),
    ("its config was removed", "b", "a", "", "", (0, 1, "a", "")),
    ("made, then its config was removed", "b", "a", "", "a", (1, 1, "", "")),
    ("a target that was not requested is stale", "a", "a", "x", "a", (1, 0, "", "")),
]


@pytest.mark.parametrize(("about", "requested", "before", "now", "new", "expected"), OUTCOMES)
def test_each_requested_result_is_made_kept_not_made_or_edited(
    about: str, requested: str, before: str, now: str, new: str, expected: tuple[Any, ...]
) -> None:
    found = outcome(requested, before, now, new)
    counts = (found.made, found.unchanged, "".join(found.not_made), "".join(found.edited))
    assert counts == expected, about


STATUSES = [
    ([], 0, {}, 0),
    ([], 1, {}, 1),
    (["good"], 0, {}, 1),
    (["typo"], 0, {"e": FailureKind.NO_SUCH_RELEASE}, 2),
    (["typo"], 1, {"e": FailureKind.NO_SUCH_RELEASE}, 1),
    (["good", "typo"], 0, {"e": FailureKind.NO_SUCH_RELEASE}, 1),
    (["removed"], 0, {}, 1),
]


@pytest.mark.parametrize(("left", "refused", "markers", "expected"), STATUSES)
def test_exit_status_is_2_if_only_missing_releases_failed(
    monkeypatch: pytest.MonkeyPatch,
    left: list[str],
    refused: int,
    markers: dict[str, FailureKind],
    expected: int,
) -> None:
    monkeypatch.setattr(health, "intact", lambda env: env not in markers)
    monkeypatch.setattr(module, "failure_of", lambda env: {"kind": markers[env]})
    models = {
        "typo": specs.model(asked="e", harnesses=[]),
        "good": specs.model(asked="g", harnesses=["h"]),
    }
    targets = [f"results/{model}/task/results.json" for model in left]
    assert status_of(targets, refused, specs.plan(models=models)) == expected
