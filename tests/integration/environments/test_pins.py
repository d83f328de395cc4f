"""Tests of pins in a configuration: pins that do not exist, and pins younger than the cutoff.

They run real uv against a local index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import empty_root
from benchy.cli import venv as venv_command
from benchy.core import paths
from benchy.core.errors import ConfigError, Failure
from benchy.environments import builder, failures, lock_file, pins, release_date, uv
from benchy.environments.environment_spec import BuildSpec
from index import Index

ENV = "pkg_1_0_0"
OLD, DAY, LATER = "2025-03-01T00:00:00Z", "2025-03-18T00:00:00Z", "2025-06-01T00:00:00Z"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with pkg of March and transformers 5.0.0 of June, which needs a hub of June."""
    empty_root.enter(tmp_path, monkeypatch)
    monkeypatch.delenv("CONFIG", raising=False)
    monkeypatch.setattr(paths, "ROOT", Path.cwd())
    with Index() as index:
        index.add("pkg", "1.0.0", DAY, requires=["transformers", "dep"])
        index.add("dep", "1.0", OLD)
        index.add("dep", "2.0", LATER)
        index.add("hub", "1.0", OLD)
        index.add("hub", "2.0", LATER)
        index.add("hub", "3.0", "2025-09-01T00:00:00Z")
        index.add("transformers", "4.0.0", OLD, requires=["hub>=1", "dep"])
        index.add("transformers", "5.0.0", LATER, requires=["hub>=2", "dep"])
        index.add("transformers", "5.1.0", LATER, requires=["hub>=1", "dep"])
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        yield index


def spec(transformers: str = "", *packages: str, **changes: Any) -> BuildSpec:
    requirements = ["pkg==1.0.0", *packages, *(["transformers"] if transformers else [])]
    overrides = [f"transformers=={transformers}"] if transformers else []
    asked: dict[str, Any] = {"requirements": requirements, "overrides": overrides, **changes}
    return empty_root.spec(ENV, "pkg", asked.pop("version", "1.0.0"), **asked)


def locked() -> dict[str, str]:
    return {p.name: p.version for p in lock_file.packages(paths.lock(ENV))}


def test_pin_younger_than_the_cutoff_exempts_itself_and_its_requirements() -> None:
    assert builder.ensure_lock(spec("5.0.0"))
    assert locked() == {"pkg": "1.0.0", "transformers": "5.0.0", "hub": "2.0", "dep": "1.0"}
    said = lock_file.header(paths.lock(ENV))
    day = "2025-06-08T01:00:00Z"  # its release date and the slack
    assert said["exceptions"] == {"hub": day, "transformers": day}
    assert said["cutoff"] == "2025-03-25T01:00:00Z"
    assert f"transformers={day}" in said["options"], "installing needs them again"


def test_young_pin_exempts_only_itself_if_that_resolves() -> None:
    builder.ensure_lock(spec("5.1.0"))
    assert locked() == {"pkg": "1.0.0", "transformers": "5.1.0", "hub": "1.0", "dep": "1.0"}
    assert list(lock_file.header(paths.lock(ENV))["exceptions"]) == ["transformers"]


def test_young_pin_of_an_extra_package_is_exempt() -> None:
    builder.ensure_lock(spec("", "dep==2.0"))
    assert locked()["dep"] == "2.0" and locked()["transformers"] == "4.0.0"


def test_lock_with_exceptions_is_reproducible(index: Index) -> None:
    builder.ensure_lock(spec("5.0.0"))
    before = paths.lock(ENV).read_text()
    index.add("hub", "2.5", "2025-10-01T00:00:00Z")
    index.put(
        "transformers", "transformers-5.0.0-2-py3-none-any.whl", b"later", "2025-11-01T00:00:00Z"
    )
    assert not builder.ensure_lock(spec("5.0.0"), fresh=True)
    assert paths.lock(ENV).read_text() == before


def test_pin_within_the_cutoff_needs_no_exception() -> None:
    builder.ensure_lock(spec("4.0.0"))
    assert "exceptions" not in lock_file.header(paths.lock(ENV))


def test_unresolvable_young_pin_suggests_a_cutoff(index: Index) -> None:
    index.add("other", "1.0", OLD, requires=["hub<2"])
    index.add("other", "2.0", LATER, requires=["hub>=2"])
    with pytest.raises(Failure, match="younger than the cutoff") as told:
        builder.ensure_lock(spec("5.0.0", "other"))
    assert "transformers 5.0.0 (2025-06-01)" in told.value.what
    assert told.value.hint == 'a later cutoff for all packages resolves: cutoff: "2025-06-09"'
    assert (told.value.page, told.value.kind) == (37, "")
    with pytest.raises(Failure, match="younger than the cutoff") as told:
        builder.ensure_lock(spec("5.0.0", "hub<2"))
    assert told.value.hint.startswith("no cutoff makes it resolve")


def test_machine_cutoff_applies_to_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2025-05-01T00:00:00Z")
    with pytest.raises(Failure, match="cannot be resolved") as told:
        builder.ensure_lock(spec("5.1.0"))
    assert told.value.kind == "", "it exists, though this machine may not have it"


# INPUTS is from before pins could be exempt: locks of that time must not be resolved again.
def test_spec_inputs_have_not_changed() -> None:
    assert spec("5.0.0").inputs == INPUTS


INPUTS = "1187154a119cf81be55397a5840aabf100d9a12e95551d69832176ffdbdb0e8d"

GONE = [
    ("the release", {"requirements": ["pkg==9.0.0"], "version": "9.0.0"},
     ["the index has no release 9.0.0 of pkg"], "nearest: 1.0.0"),
    ("the release, as of a day",
     {"requirements": ["pkg==9.0.0"], "version": "9.0.0", "cutoff": "2026-01-01"},
     ["the index has no release 9.0.0 of pkg"], "nearest: 1.0.0"),
    ("transformers", {"requirements": ["pkg==1.0.0", "transformers"],
                      "overrides": ["transformers==4.5.0"]},
     ["the index has no release 4.5.0 of transformers"], "nearest: 4.0.0, 5.0.0"),
    ("a package beside it", {"requirements": ["pkg==1.0.0", "dep==7"]},
     ["the index has no release 7 of dep"], "nearest: 2.0"),
    ("a bound", {"requirements": ["pkg==1.0.0", "dep>=7"]},
     ["the index has no release >=7 of dep"], "the newest is 2.0"),
    ("a name", {"requirements": ["pkg==1.0.0", "dpe"]},
     ["the index has no package named dpe"], "check the name"),
    ("all at once", {"requirements": ["pkg==9.0.0", "dep==7", "dpe[x]==1"], "version": "9.0.0"},
     ["the index has no release 9.0.0 of pkg", "the index has no release 7 of dep",
      "the index has no package named dpe"], "nearest: 1.0.0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "what", "hint"), [row[1:] for row in GONE], ids=[row[0] for row in GONE]
)
def test_missing_package_or_release_is_a_config_error(
    changes: dict[str, Any], what: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec(**changes)
    with pytest.raises(ConfigError) as told:  # not a Failure, so the exit status is 2
        venv_command.main(["lock", ENV])
    assert {mistake.what for mistake in told.value.mistakes} == set(what)
    assert hint in [mistake.hint for mistake in told.value.mistakes]
    marker = failures.failure_of(ENV)
    assert (marker["kind"], marker["what"]) == ("no-such-release", what[0])
    assert venv_command.main(["create", "--soft", ENV]) == 0, "for make, another model goes on"
    assert f"error: {told.value.mistakes[0].what}" in capsys.readouterr().err


def test_release_published_after_a_failure_is_found(index: Index) -> None:
    asked = spec(requirements=["pkg==9.0.0"], version="9.0.0")
    with pytest.raises(release_date.NoSuchRelease):
        builder.ensure_lock(asked)
    index.add("pkg", "9.0.0", DAY)
    assert uv.run(["cache", "clean"], Path("log")).status == 0
    assert builder.ensure_lock(asked)
    assert failures.failure_of(ENV) == {}


def test_yanked_release_is_locked_with_a_warning(
    index: Index, capfd: pytest.CaptureFixture[str]
) -> None:
    index.add("dep", "1.5", OLD)
    for file in index.projects["dep"]:
        if "-1.5-" in file["filename"]:
            file["yanked"] = "it is bad"
    builder.ensure_lock(spec("", "dep==1.5"))
    assert locked()["dep"] == "1.5"
    said = f'WARNING {ENV}: dep==1.5 is yanked (reason: "it is bad")'
    assert said in capfd.readouterr().err


REFUSALS = [("away", "cannot be reached"), ("offline", "cannot be"), ("password", "cannot be")]


@pytest.mark.parametrize(("how", "said"), REFUSALS, ids=[how for how, _ in REFUSALS])
def test_index_without_an_answer_is_not_a_config_error(
    how: str, said: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spec("4.5.0")
    if how == "away":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    elif how == "offline":
        monkeypatch.setenv("OFFLINE", "1")
    else:
        index.password = b"me:s3cret"
    with pytest.raises(Failure, match=said) as told:
        builder.ensure_lock(asked)
    assert told.value.kind == ""
    assert "kind" not in json.loads(paths.failed(ENV).read_text())


def test_repairs_are_not_pins() -> None:
    asked = spec(overrides=["xgrammar==0.1.17"])
    assert pins.written(asked) == ["pkg==1.0.0"]
    assert pins.written(spec("5.0.0", "dep==2"))[1:] == ["dep==2", "transformers==5.0.0"]
