"""Pins that a person writes: those that do not exist, and those younger than the cutoff. Real uv,
an index of our own."""

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
from benchy.environments.environment_spec import Spec
from index import Index

ENV = "pkg_1_0_0"
OLD, DAY, LATER = "2025-03-01T00:00:00Z", "2025-03-18T00:00:00Z", "2025-06-01T00:00:00Z"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A release of March, and one of transformers of June that needs a hub of June."""
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


def spec(transformers: str = "", *packages: str, **changes: Any) -> Spec:
    requirements = ["pkg==1.0.0", *packages, *(["transformers"] if transformers else [])]
    overrides = [f"transformers=={transformers}"] if transformers else []
    asked: dict[str, Any] = {"requirements": requirements, "overrides": overrides, **changes}
    return empty_root.spec(ENV, "pkg", asked.pop("version", "1.0.0"), **asked)


def locked() -> dict[str, str]:
    return {p.name: p.version for p in lock_file.packages(paths.lock(ENV))}


def test_a_young_pin_is_exempt_with_what_it_needs_and_nothing_else() -> None:
    assert builder.ensure_lock(spec("5.0.0"))
    assert locked() == {"pkg": "1.0.0", "transformers": "5.0.0", "hub": "2.0", "dep": "1.0"}
    said = lock_file.header(paths.lock(ENV))
    day = "2025-06-08T01:00:00Z"  # its own day and the slack
    assert said["exceptions"] == {"hub": day, "transformers": day}
    assert said["cutoff"] == "2025-03-25T01:00:00Z"
    assert f"transformers={day}" in said["options"], "installing needs them again"


def test_a_young_pin_alone_where_that_is_enough() -> None:
    builder.ensure_lock(spec("5.1.0"))
    assert locked() == {"pkg": "1.0.0", "transformers": "5.1.0", "hub": "1.0", "dep": "1.0"}
    assert list(lock_file.header(paths.lock(ENV))["exceptions"]) == ["transformers"]


def test_a_young_extra_package() -> None:
    builder.ensure_lock(spec("", "dep==2.0"))
    assert locked()["dep"] == "2.0" and locked()["transformers"] == "4.0.0"


def test_the_same_lock_again(index: Index) -> None:
    builder.ensure_lock(spec("5.0.0"))
    before = paths.lock(ENV).read_text()
    index.add("hub", "2.5", "2025-10-01T00:00:00Z")
    index.put(
        "transformers", "transformers-5.0.0-2-py3-none-any.whl", b"later", "2025-11-01T00:00:00Z"
    )
    assert not builder.ensure_lock(spec("5.0.0"), fresh=True)
    assert paths.lock(ENV).read_text() == before


def test_a_pin_that_the_cutoff_lets_pass_leaves_the_lock_as_it_was() -> None:
    builder.ensure_lock(spec("4.0.0"))
    assert "exceptions" not in lock_file.header(paths.lock(ENV))


def test_a_pin_that_does_not_fit_says_which_cutoff_would(index: Index) -> None:
    index.add("other", "1.0", OLD, requires=["hub<2"])
    index.add("other", "2.0", LATER, requires=["hub>=2"])
    with pytest.raises(Failure, match="younger than the cutoff") as told:
        builder.ensure_lock(spec("5.0.0", "other"))
    assert "transformers 5.0.0 (2025-06-01)" in told.value.what
    assert told.value.hint == 'everything as of another day resolves: cutoff: "2025-06-09"'
    assert (told.value.page, told.value.kind) == (37, "")
    with pytest.raises(Failure, match="younger than the cutoff") as told:
        builder.ensure_lock(spec("5.0.0", "hub<2"))
    assert told.value.hint.startswith("no cutoff makes it resolve")


def test_the_machine_s_own_cutoff_holds_for_pins_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2025-05-01T00:00:00Z")
    with pytest.raises(Failure, match="cannot be resolved") as told:
        builder.ensure_lock(spec("5.1.0"))
    assert told.value.kind == "", "it exists, though this machine may not have it"


# Of a spec before pins were exempt: no lock of that time is resolved anew.
def test_inputs_are_what_they_were() -> None:
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
def test_what_does_not_exist_is_a_mistake(
    changes: dict[str, Any], what: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec(**changes)
    with pytest.raises(ConfigError) as told:  # no Failure: exit status 2
        venv_command.main(["lock", ENV])
    assert {mistake.what for mistake in told.value.mistakes} == set(what)
    assert hint in [mistake.hint for mistake in told.value.mistakes]
    marker = failures.failure_of(ENV)
    assert (marker["kind"], marker["what"]) == ("no-such-release", what[0])
    assert venv_command.main(["create", "--soft", ENV]) == 0, "for make, another model goes on"
    assert f"error: {told.value.mistakes[0].what}" in capsys.readouterr().err


def test_a_release_that_came_out_since_is_found(index: Index) -> None:
    asked = spec(requirements=["pkg==9.0.0"], version="9.0.0")
    with pytest.raises(release_date.NoSuchRelease):
        builder.ensure_lock(asked)
    index.add("pkg", "9.0.0", DAY)
    assert uv.run(["cache", "clean"], Path("log")).status == 0
    assert builder.ensure_lock(asked)
    assert failures.failure_of(ENV) == {}


def test_a_yanked_release_exists(index: Index, capfd: pytest.CaptureFixture[str]) -> None:
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
def test_an_index_that_does_not_answer_proves_nothing(
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


def test_repairs_are_not_pins_of_a_person() -> None:
    asked = spec(overrides=["xgrammar==0.1.17"])
    assert pins.written(asked) == ["pkg==1.0.0"]
    assert pins.written(spec("5.0.0", "dep==2"))[1:] == ["dep==2", "transformers==5.0.0"]
