"""Tests of checking options against pinned releases, and of comparing two releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.config import engine_schema
from benchy.core import hashing
from benchy.core.errors import ConfigError, UsageError
from benchy.core.specs import ServerSpec
from benchy.engines import option_check, option_diff, option_table, release_flags

INT = {"type": "int", "action": "_StoreAction", "nargs": None, "default": None, "choices": None}
TASK = {"option": "task", "since": "2.0.0", "use": ["runner"], "why": ""}
SWAP = {"option": "swap_space", "since": "1.5.0", "use": [], "why": ""}


def spec(model: str, written: dict[str, Any], **changes: Any) -> ServerSpec:
    file = f"configs/{model}.yaml"
    given = {
        "model": model, "source": file, "engine": "e", "title": "E", "package": "e",
        "release": "1.0.0", "environment": "e_1_0_0", "fallback": None, "options": written,
        "defaults": {}, "origin": {key: f"{file}:7" for key in written},
        "keys": {key: f"vllm.overrides.{key}" for key in written}, "gone": [TASK, SWAP],
    }  # fmt: skip
    return specs.server(**given | changes)


def build(root: Path, env: str, version: str, *names: str) -> None:
    folder = root / "venvs" / env
    folder.mkdir(parents=True)
    (folder / "check.json").write_text(json.dumps({"version": version}))
    (folder / "flags.json").write_text(json.dumps({f"--{name}": INT for name in names}))
    (folder / ".stamp").write_text("{}")


def told(root: Path, *servers: ServerSpec) -> list[str]:
    return [
        str(mistake) for mistake in option_check.mistakes(servers, option_check.FlagsCache(root))
    ]


def test_options_are_checked_against_a_built_environment(tmp_path: Path) -> None:
    build(tmp_path, "e_1_0_0", "1.0.0+cpu", "task", "max-model-len")
    fine = spec("fine", {"task": 1, "max_model_len": 2, "kv_cache_memory": 0})
    bad = spec("bad", {"runner": 1, "max_model_len": "long"})
    assert told(tmp_path, fine) == []
    assert told(tmp_path, fine, bad) == [
        "configs/bad.yaml:7: vllm.overrides.max_model_len: 'long' is not a whole number\n"
        "  write a whole number",
        'configs/bad.yaml:7: vllm.overrides.runner: E 1.0.0+cpu has no option "runner"\n'
        '  use "task" instead',
    ]


@pytest.mark.parametrize("text", ["[1]", "null", '"a"', "{", ""])
def test_a_damaged_file_of_an_environment_counts_as_missing(tmp_path: Path, text: str) -> None:
    build(tmp_path, "e_1_0_0", "1.0.0", "task")
    for name in ("flags.json", ".stamp", "check.json"):
        (tmp_path / "venvs/e_1_0_0" / name).write_text(text)
        assert told(tmp_path, spec("m", {"task": 1})) == []
        known = option_check.FlagsCache(tmp_path)
        assert known.flags("e", "e_1_0_0", "1.0.0")[1] == {} and not known.current("e_1_0_0")


@pytest.mark.parametrize("text", ["[1]", "null", "{", ""])
def test_damaged_tables_of_flags_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text)
    for read in (option_table.read, release_flags.read_flags):
        with pytest.raises(ValueError):
            read(path)


def test_half_built_environments_and_other_releases_are_ignored(tmp_path: Path) -> None:
    build(tmp_path, "e_1_0_0", "0.9.0", "task")
    build(tmp_path, "e_1_1_0", "1.1.0", "task")
    (tmp_path / "venvs/e_1_1_0/.stamp").unlink()
    other = spec("m", {"no_such": 1}, release="1.1.0", environment="e_1_1_0")
    assert told(tmp_path, spec("n", {"no_such": 1}), other) == []


def test_removed_options_are_reported_before_the_environment_exists(tmp_path: Path) -> None:
    new = {"release": "2.0.0", "environment": "e_2_0_0_transformers_4_5_0"}
    assert told(tmp_path, spec("m", {"task": 1, "swap_space": 1})) == []
    assert told(tmp_path, spec("m", {"task": 1, "swap_space": 1}, **new)) == [
        'configs/m.yaml:7: vllm.overrides.swap_space: E 2.0.0 has no option "swap_space" '
        "(removed in 1.5.0)\n  leave it out",
        'configs/m.yaml:7: vllm.overrides.task: E 2.0.0 has no option "task" (removed in 2.0.0)\n'
        '  use "runner"',
    ]


def test_the_option_table_applies_to_the_exact_release_only(tmp_path: Path) -> None:
    table = option_table.with_seen({}, "e", {"1.0.0": {"--task": INT}})
    option_table.write(tmp_path / option_table.FILE, table)
    assert len(told(tmp_path, spec("m", {"runner": 1}))) == 1
    assert told(tmp_path, spec("m", {"runner": 1}, release="1.0.1", environment="e_1_0_1")) == []
    # Extra packages can add choices that the release alone does not have.
    assert told(tmp_path, spec("m", {"runner": 1}, environment="e_1_0_0_x12345678")) == []
    assert told(tmp_path, spec("m", {"runner": 1}, engine="f")) == []


def test_options_are_checked_against_the_main_environment(tmp_path: Path) -> None:
    build(tmp_path, "../.venv", "1.0.0", "task")
    main = {"environment": "main"}
    assert len(told(tmp_path, spec("m", {"runner": 1}, **main))) == 1
    assert told(tmp_path, spec("m", {"runner": 1}, **main, release="1.1.0")) == []


def test_with_a_fallback_the_requested_release_is_checked(tmp_path: Path) -> None:
    build(tmp_path, "e_1_0_0", "1.0.0", "runner")
    fallback = {"environment": "e_2_0_0", "version": "2.0.0", "error": "gone"}
    found = told(tmp_path, spec("m", {"no_such": 1, "task": 1}, fallback=fallback))
    assert len(found) == 1 and 'E 2.0.0 has no option "task"' in found[0]


def test_a_mistake_that_many_models_share_is_reported_once(tmp_path: Path) -> None:
    build(tmp_path, "e_1_0_0", "1.0.0", "task")
    shared = {"origin": {"runner": "configs/providers/p.yaml:3"}, "keys": {}}
    found = told(tmp_path, *(spec(name, {"runner": 1}, **shared) for name in "abcde"))
    assert len(found) == 1
    assert found[0].startswith("configs/providers/p.yaml:3: runner: E 1.0.0 has no option")
    assert "needed by a, b, c and 2 more\n" in found[0]


def test_mistakes_of_all_models_are_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    option_check.refuse([spec("m", {"task": 1})])
    with pytest.raises(ConfigError) as caught:
        option_check.refuse([spec(name, {"task": 1}, release="2.0.0") for name in "ab"])
    assert len(caught.value.mistakes) == 2


# --- option tables and differences --------------------------------------------------------------

SEEN: dict[str, dict[str, dict[str, Any]]] = {
    "0.9.0": {"--a": INT, "--task": INT},
    "0.10.0": {"--a": INT, "--b": {**INT, "choices": [1, None], "help": "x"}},
    "0.10.1": {"--a": {**INT, "default": 5}, "--b": {**INT, "choices": [1, None]}},
    "0.11.0": {"--a": INT},
}


def test_an_option_table_returns_the_recorded_flags(tmp_path: Path) -> None:
    tables = option_table.with_seen({}, "e", SEEN)
    assert option_table.releases(tables, "e") == ["0.9.0", "0.10.0", "0.10.1", "0.11.0"]
    for release, seen in SEEN.items():
        plain = {
            flag: {fact: about.get(fact) for fact in option_table.FACTS}
            for flag, about in seen.items()
        }
        assert option_table.flags(tables, "e", release) == plain
    assert option_table.flags(tables, "e", "0.10.2") == {}
    # Neither the order of the releases nor recording one twice changes the table.
    one_by_one: option_table.Tables = {}
    for release in [*reversed(SEEN), "0.9.0"]:
        one_by_one = option_table.with_seen(one_by_one, "e", {release: SEEN[release]})
    assert option_table.text(one_by_one) == option_table.text(tables)
    file = tmp_path / "options.json"
    assert option_table.write(file, tables) and not option_table.write(file, tables)
    assert option_table.read(file) == tables


def engine(**changes: Any) -> engine_schema.Engine:
    gone = [engine_schema.Gone(options=["task"], since="0.10.0", use=["b", "zzz"])]
    return engine_schema.Engine.model_validate(
        {"package": "e", "module": "e", "gone": gone, **changes}
    )


def test_a_difference_names_the_replacement_of_a_removed_option() -> None:
    gone = engine().gone_options()
    found = option_diff.difference(SEEN["0.9.0"], SEEN["0.10.1"], gone)
    assert (list(found.added), list(found.removed)) == (["b"], ["task"])
    assert found.changed == {"a": {"default": (None, 5)}}
    text = option_diff.as_text(found, SEEN["0.10.1"])
    assert "task  use b\n" in text.replace("    ", "  ") and "default null → 5" in text
    same = option_diff.difference(SEEN["0.9.0"], SEEN["0.9.0"], gone)
    assert option_diff.as_text(same, SEEN["0.9.0"]) == "no differences\n"


def test_removals_in_an_engine_file_are_compared_with_the_table() -> None:
    table = option_table.fold(SEEN)
    assert option_diff.contradictions(table, engine()) == [
        "b is not listed: the first release without it is 0.11.0"
    ]
    for since in ("0.9.0", "0.10.1"):
        gone = [engine_schema.Gone(options=["task", "b"], since=since)]
        wrong = f"task is listed as gone since {since}, not 0.10.0"
        assert wrong in option_diff.contradictions(table, engine(gone=gone))


def test_flags_of_an_unknown_release_are_refused_with_a_hint(tmp_path: Path) -> None:
    for version, words in (("1.2.3", "make venv VERSION=1.2.3 ENGINE=e"), ("x", "write e.g.")):
        with pytest.raises(UsageError) as caught:
            option_diff.flags_of("e", engine(), version, option_check.FlagsCache(tmp_path))
        assert words in str(caught.value)


# --- shipped files ------------------------------------------------------------------------------


def test_the_shipped_table_matches_the_output_of_its_writer() -> None:
    root = Path(__file__).resolve().parents[3]
    tables = option_table.read(root / option_table.FILE)
    assert option_table.text(tables) == (root / option_table.FILE).read_text()
    assert hashing.canonical(option_table.with_seen(tables, "vllm", {})) == hashing.canonical(
        tables
    )


def test_no_option_is_declared_removed_while_a_release_has_it() -> None:
    from benchy.config import loader  # noqa: PLC0415

    root = Path(__file__).resolve().parents[3]
    engines = loader.load_engines(root)
    tables = option_table.read(root / option_table.FILE)
    wrong = [
        line
        for line in option_diff.contradictions(tables["vllm"], engines["vllm"])
        if "not named" not in line
    ]
    assert [line for line in wrong if "before" not in line] == []
    assert engines["vllm_cpu"].gone == engines["vllm"].gone
    assert engines["vllm_cpu"].neutral == engines["vllm"].neutral
