"""The paths of results and what identifies a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.core import paths, result_files
from benchy.core.result_files import ResultId


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (ResultId("m", "t"), "m/t"),
        (ResultId("m@0.10.2", "limit-10"), "m@0.10.2/limit-10"),
        (ResultId("m", "t", 10), "limit-10/m/t"),
        (ResultId("limit-0", "t"), "limit-0/t"),
        (ResultId("limit-x", "t", 1), "limit-1/limit-x/t"),
    ],
)
def test_the_path_of_a_result_is_parsed(result: ResultId, name: str) -> None:
    assert (result.name, str(result.path)) == (name, f"results/{name}/results.json")
    assert ResultId.parse(result.path) == ResultId.parse(str(result.path)) == result


@pytest.mark.parametrize(
    "path",
    [
        "", "results.json", "results/m/results.json", "results/limit-10/m/results.json",
        "results/limit-0/m/t/results.json", "results/limit-01/m/t/results.json",
        "results/limit-\N{ARABIC-INDIC DIGIT ONE}/m/t/results.json",
        "results/limit-1/limit-2/t/results.json", "results/m/t/spec.json", "other/m/t/results.json",
        "results/a/m/t/results.json",
    ],
)  # fmt: skip
def test_other_paths_are_not_of_results(path: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a result"):
        ResultId.parse(path)


def test_files_of_results_are_found_with_their_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = {ResultId("m", "t"), ResultId("m", "t", 5), ResultId("limit-0", "t")}
    for result in expected:
        result.path.parent.mkdir(parents=True)
        result.path.write_text("{}")
    (paths.RESULTS / "index.html").write_text("")
    found = dict(result_files.files())
    assert {ResultId.parse(path) for path in found} == expected
    assert all(ResultId.parse(path).limit == limit for path, limit in found.items())
