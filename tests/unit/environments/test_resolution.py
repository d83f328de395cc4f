"""Tests of the search for a Python on which a spec resolves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchy.core.errors import Failure
from benchy.environments import interpreters, release_date, resolution, uv
from benchy.environments.compilation import Compilation
from benchy.environments.environment_spec import BuildSpec
from benchy.environments.pins import Pin
from benchy.process.logged_program import Done

LOG = Path("log")
SPEC = BuildSpec("e_1", "engine", "e", "1", ("e==1",), cutoff="none")
UNSOLVED = Done(uv.UNSOLVED, "", ["error: no solution"])
SOLVED = Done(0, "e==1 \\\n    --hash=sha256:00\n")
TOO_NEW = Done(uv.UNSOLVED, "", ["error: e==1 needs Python <3.13"])
CPU = Done(uv.UNSOLVED, "", ["there is no version of torch==2.6.0+cpu"])
YOUNG = (Pin("a==2", "a", "2", datetime(2026, 5, 1, tzinfo=timezone.utc)),)
PYTHONS = ("3.13.1", "3.12.1", "3.11.1", "3.10.1", "3.9.1")

# Pythons that the release excludes; Pythons on which it resolves; the Pythons tried; the result.
SEARCHES: list[tuple[set[str], set[str], int, str | None]] = [
    (set(), {"3.13.1"}, 1, "3.13"),
    (set(), {"3.11.1"}, 3, "3.11"),
    (set(), {"3.10.1"}, resolution.TRIES, None),
    ({"3.13.1", "3.12.1"}, {"3.9.1"}, 5, "3.9"),  # excluded ones do not count as tries
    (set(PYTHONS), set(), 5, None),
]


@pytest.mark.parametrize(("excluded", "solving", "tried", "result"), SEARCHES)
def test_pythons_are_tried_in_order_up_to_a_limit(
    excluded: set[str],
    solving: set[str],
    tried: int,
    result: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    checked: list[str] = []

    def pythons(wanted: str | None, log: Path) -> Iterator[tuple[str, str]]:
        for version in PYTHONS:
            asked.append(version)
            yield version, version

    def compiled(spec: BuildSpec, ask: release_date.IndexQuery, *rest: object) -> Compilation:
        done = SOLVED if ask.python in solving else UNSOLVED
        return Compilation(done, [], done.stderr)

    def unfit(requirement: str, version: str, ask: release_date.IndexQuery) -> Done | None:
        return TOO_NEW if version in excluded else None

    def missing(requirements: object, ask: release_date.IndexQuery) -> list[release_date.Missing]:
        checked.append(ask.python)
        return []

    monkeypatch.setattr(interpreters, "pythons", pythons)
    monkeypatch.setattr(resolution, "compile_spec", compiled)
    monkeypatch.setattr(release_date, "unfit", unfit)
    monkeypatch.setattr(release_date, "missing", missing)
    if result:
        assert resolution.resolve(SPEC, LOG).python == result
    else:
        with pytest.raises(Failure, match=r"^e_1 cannot be resolved on Python 3\.13\.1, 3\.12\.1"):
            resolution.resolve(SPEC, LOG)
    assert len(asked) == tried
    assert len(checked) <= 1, "the index is asked for missing requirements once"


REPAIR = "a repair in the engine's file under configs/engines can replace or drop what is gone"
# Refusals; the error, its hint and its page in docs/problems.md.
ERRORS: list[tuple[list[resolution.Refusal], str, str, int]] = [
    ([], "e_1: no Python here fits it", "python install 3.12", 29),
    ([resolution.Refusal("3.13", UNSOLVED, True), resolution.Refusal("3.12", UNSOLVED, True)],
     "e_1 cannot be resolved on Python 3.13, 3.12", REPAIR, 30),
    ([resolution.Refusal("3.13", TOO_NEW), resolution.Refusal("3.12", UNSOLVED, True, YOUNG, "h")],
     "e_1 cannot be resolved on Python 3.13, 3.12: a 2 (2026-05-01) is younger than the cutoff",
     "h", 37),
    ([resolution.Refusal("3.12", UNSOLVED, True, YOUNG * 2, "h")],
     "a 2 (2026-05-01), a 2 (2026-05-01) are younger than the cutoff", "h", 37),
    ([resolution.Refusal("3.13", CPU, True)], "e_1 cannot be resolved on Python 3.13",
     "set pip's find-links or index-url to an index with torch for CPUs", 35),
]  # fmt: skip


@pytest.mark.parametrize(("refusals", "what", "hint", "page"), ERRORS)
def test_errors_name_the_pythons_the_reason_and_the_page(
    refusals: list[resolution.Refusal], what: str, hint: str, page: int
) -> None:
    error = resolution._unresolved(SPEC, refusals, LOG)
    assert what in error.what and hint in error.hint and error.page == page
