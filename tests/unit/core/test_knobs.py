"""Tests of knobs: their table, their values, and mistakes on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import specs
from benchy.core import knob_table, knobs, paths
from benchy.core.errors import UsageError
from benchy.environments import pip_settings
from benchy.hub import access
from benchy.plan import selection
from benchy.run import fetch

MK = "".join(path.read_text() for path in sorted((paths.ROOT / "mk").glob("*.mk")))


@pytest.mark.parametrize("text", ["1", "yes", "Yes", "TRUE", "on", " 1 "])
def test_words_that_turn_a_knob_on(text: str) -> None:
    assert knobs.on("YES", {"YES": text})


@pytest.mark.parametrize("text", ["", "0", "no", "No", "false", "OFF"])
def test_words_that_turn_a_knob_off(text: str) -> None:
    assert not knobs.on("YES", {"YES": text})


@pytest.mark.parametrize(
    ("text", "valid"),
    [("1", True), ("10", True), ("9" * 9, True), ("9" * 10, False), ("0", False), ("01", False),
     ("", False), ("1\n", False), ("-1", False), ("\N{ARABIC-INDIC DIGIT ONE}", False)],
)  # fmt: skip
def test_limits_are_numbers_of_requests(
    text: str, valid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert knobs.is_limit(text) is valid
    monkeypatch.setenv("LIMIT", text)
    assert selection.limit_directory() == (f"/limit-{text}" if valid else "")


def test_absent_knob_has_its_default() -> None:
    assert not knobs.on("YES", {})
    assert knobs.on("FALLBACK", {}, default=True)
    assert knobs.on("FALLBACK", {"FALLBACK": ""}, default=True)
    assert not knobs.on("FALLBACK", {"FALLBACK": "no"}, default=True)


@pytest.mark.parametrize("text", ["2", "maybe", "y", "nope", "-1"])
def test_other_words_for_on_or_off_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither on nor off") as caught:
        knobs.on("PUBLIC", {"PUBLIC": text})
    assert "PUBLIC=1" in str(caught.value) and "PUBLIC=0" in str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [("no", False), ("off", False), ("yes", True)])
def test_offline_means_the_same_everywhere(
    text: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLINE", text)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert pip_settings.offline() is expected
    assert access.network_forbidden() is expected
    assert (fetch.environment(specs.server()).get("HF_HUB_OFFLINE") == "1") is expected


@pytest.mark.parametrize(("text", "expected"), [("0", False), ("false", False), ("1", True)])
def test_hf_hub_offline_turns_the_hub_off(
    text: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", text)
    assert access.network_forbidden() is expected


def said(given: dict[str, str], *goals: str) -> list[str]:
    return [str(mistake) for mistake in selection.mistakes(list(given), goals, given)]


def test_unknown_knob_suggests_the_nearest_name_with_its_value() -> None:
    (told,) = said({"MODEL": "smol"}, "results")
    assert told == "MODEL: make results takes no such knob\n  did you mean MODELS=smol?"
    (told,) = said({"limit": "5"}, "eval")
    assert told == "limit: there is no such knob\n  did you mean LIMIT=5?"


def test_knob_of_another_goal_names_its_goals() -> None:
    (told,) = said({"REPO": "a/b"}, "status")
    assert told.startswith("REPO: make status takes no such knob\n  make publish takes it; ")
    (told,) = said({"CONFIG": "x.yaml"}, "results")
    assert "make eval and make plan" in told and "make results takes MODELS" in told
    (told,) = said({"TASKS": "x"}, "doctor")
    assert told.endswith("make doctor takes FORMAT")


def test_all_mistakes_are_reported_at_once() -> None:
    told = said({"LIMT": "5", "OFFLINE": "maybe", "FORMAT": "jsn", "MODELS": "a"}, "status")
    assert [line.partition(":")[0] for line in told] == [
        "LIMT",
        "OFFLINE",
        "FORMAT=jsn is unknown\n  write text or json",
    ]


def test_unknown_variable_suggests_the_environment() -> None:
    (told,) = said({"MY_SETTING": "1"}, "gc")
    assert told.endswith("make gc takes SET, FALLBACK, YES; to set an environment "
                         "variable: MY_SETTING=… make")  # fmt: skip


def test_correct_knobs_are_accepted() -> None:
    given = {"MODELS": "a*", "LIMIT": "5", "V": "1", "OFFLINE": "no", "CUDA_VISIBLE_DEVICES": "0",
             "HF_TOKEN": "x", "https_proxy": "http://localhost:1"}  # fmt: skip
    assert said(given, "results") == []
    assert said({"LIMIT": "2"}, "results/limit-2/a/b/results.json") == []
    assert said({"MODEL": "org/name", "NAME": "x"}, "new") == []
    assert all(not said({"DEEP": text}, "survey") for text in ("all", "some", "1", "0"))
    assert said({"PYTORCH_CUDA_ALLOC_CONF": "x", "PYTHONHASHSEED": "0"}, "results") == []
    # Goals of one command line accept each other's knobs.
    assert said({"MODELS": "a", "YES": "1"}, "results", "gc") == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("LIMIT", "abc", "LIMIT: 'abc' is not a whole number\n  write LIMIT=10"),
        ("V", "3", "V=3 is unknown\n  write 0, 1 or 2"),
        ("GPU_BUSY", "skp", "GPU_BUSY=skp is unknown\n  write wait, skip or ignore"),
    ],
)
def test_invalid_knob_values_are_refused(name: str, text: str, expected: str) -> None:
    assert said({name: text}, "results") == [expected]


def test_table_has_the_knobs_that_make_passes_on_and_documents() -> None:
    free = re.search(r"^free := ((?:.*\\\n)*.*)$", MK, re.M)
    assert free
    handed = set(free[1].replace("\\\n", " ").split())
    # BUILD_ON and others come only from the environment. Make itself reads ARGS and AS_OF.
    assert set(knob_table.KNOBS) - handed == {"ARGS", "AS_OF"}
    assert handed <= set(knob_table.KNOBS)
    helped = set(re.findall(r"\b([A-Z][A-Z_]*)=", "".join(re.findall(r"@echo '(.*)'\n", MK))))
    assert helped <= set(knob_table.KNOBS)


def test_every_goal_in_the_table_is_a_make_target() -> None:
    goals = {goal for knob in knob_table.KNOBS.values() for goal in knob.goals}
    targets = {name for line in re.findall(r"^([\w% /-]+):", MK, re.M) for name in line.split()}
    assert goals - {knob_table.ANY} <= targets


def test_knobs_page_lists_every_knob() -> None:
    page = Path(paths.ROOT, "docs/knobs.md").read_text()
    assert all(f"| `{name}` |" in page for name in knob_table.KNOBS)


def test_goals_variable_lists_all_phony_targets() -> None:
    named = re.search(r"^goals := ((?:.*\\\n)*.*)$", MK, re.M)
    assert named
    lines = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MK, re.M)
    phony = {word for line in lines for word in line.replace("\\\n", " ").split()}
    inner = {"FORCE", ".known-knobs", "changed_knobs", "planned", "all", "environments"}
    assert set(named[1].replace("\\\n", " ").split()) == phony - inner
