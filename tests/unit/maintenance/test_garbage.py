"""What counts as garbage in the folders of results and of interrupted work."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.maintenance import garbage


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lay(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("{}")


def test_results_that_no_config_requests_are_listed_with_and_without_a_limit() -> None:
    lay(*(f"results/{name}/results.json" for name in (
        "m/t", "m/old", "gone/t", "limit-10/m/t", "limit-10/m/old", "limit-10/gone/t",
        "limit-0/t",  # a model of this name is possible
    )))  # fmt: skip
    assert sorted(str(waste.path) for waste in garbage.results({"m": {"t"}})) == [
        "results/gone", "results/limit-0", "results/limit-10/gone", "results/limit-10/m/old",
        "results/m/old",
    ]  # fmt: skip


def test_interrupted_work_of_removed_models_is_listed_with_and_without_a_limit() -> None:
    lay("build/cache/eval/m/x", "build/cache/eval/limit-3/m/x", "build/cache/eval/limit-3/gone/x",
        "logs/eval/gone/x")  # fmt: skip
    assert sorted(str(waste.path) for waste in garbage.work({"m": {"t"}})) == [
        "build/cache/eval/limit-3/gone", "logs/eval/gone",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["[1]", "null", '{"source": null}', '{"source": 5}', "{"])
def test_a_damaged_result_has_no_config(text: str) -> None:
    lay("results/m/t/results.json", "outside.yaml")
    Path("results/m/t/results.json").write_text(text)
    assert not garbage.has_external_config(Path("results/m"))
    lay("results/m/u/results.json")
    Path("results/m/u/results.json").write_text('{"source": "outside.yaml"}')
    assert garbage.has_external_config(Path("results/m"))
