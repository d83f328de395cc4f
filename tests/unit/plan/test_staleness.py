"""What a result was made with, read from the files beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchy.core import paths
from benchy.core.errors import UsageError
from benchy.environments import lock_file
from benchy.plan import planner, staleness


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", ["[1]", "null", "{}", '{"engine": null}', '{"engine": [1]}', "{"])
def test_packages_of_a_damaged_result_are_unknown(text: str) -> None:
    target = paths.result("m", "t")
    target.parent.mkdir(parents=True)
    for name in ("packages.json", "results.json"):
        target.with_name(name).write_text(text)
        assert staleness.packages_of(target, "engine", "e") is None


def test_packages_of_an_older_result_are_those_of_its_unchanged_environment() -> None:
    target, lock = paths.result("m", "t"), paths.env_dir("e") / "lock"
    for path in (target, lock):
        path.parent.mkdir(parents=True)
    lock.write_text("a==1\n")
    target.write_text(json.dumps({"engine": {"lock_sha256": lock_file.digest(lock)}}))
    found = staleness.packages_of(target, "engine", "e")
    assert found and [(package.name, package.version) for package in found] == [("a", "1")]
    lock.write_text("a==2\n")
    assert staleness.packages_of(target, "engine", "e") is None


@pytest.mark.parametrize("limit", ["limit-0", "limit-01", "limit-x"])
def test_only_a_number_from_1_up_is_a_limit(limit: str) -> None:
    assert staleness.parts(paths.result("m", "t", 10)) == (10, "m", "t")
    with pytest.raises(UsageError, match="is not a result"):
        staleness.parts(Path("results", limit, "m", "t", "results.json"))


@pytest.mark.parametrize("text", ["[1]", "null", "{", ""])
def test_a_damaged_marker_of_a_failed_environment_is_ignored(text: str) -> None:
    paths.FAILED.mkdir(parents=True)
    (paths.FAILED / "a.json").write_text(text)
    (paths.FAILED / "b.json").write_text('{"what": "no wheel"}')
    assert planner.failures() == {"b": {"what": "no wheel"}}
