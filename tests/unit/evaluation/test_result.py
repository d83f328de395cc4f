"""The result document: writing, reading, metrics and main score. Also provenance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchy.core.errors import Failure
from benchy.evaluation import provenance
from benchy.evaluation import result as document
from results import made


def test_written_result_is_read_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for result in (
        made(),
        made(gpus="cpu", limit=5),
        made(
            fallback=True, fallback_reason=document.FallbackReason("vllm_0_8_0", "0.8.0", "no disk")
        ),
    ):
        document.write(result, path)
        assert document.read(path) == result
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(json.loads(document.dump(made())) | {"later": 1}))
    assert document.read(path) == made()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("cut off", lambda t: t[:200], "Invalid JSON"),
        ("empty", lambda t: "", "Invalid JSON"),
        ("a key is gone", lambda t: t.replace('"seed"', '"sead"'), "seed"),
        ("another type", lambda t: t.replace('"value": 0.25', '"value": "high"'), "value"),
    ],
)
def test_damaged_result_is_a_failure_with_path_and_cause(
    tmp_path: Path, name: str, change: Any, words: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(change(document.dump(made())))
    with pytest.raises(Failure, match=words) as failure:
        document.read(path)
    assert str(path) in failure.value.what and str(path) in failure.value.hint


def test_a_failed_write_leaves_the_older_result(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    document.write(made(), path)
    nan = replace(made(), score=document.Score("t", "acc,none", math.nan, None, True))
    with pytest.raises(ValueError):
        document.write(nan, path)
    assert document.read(path) == made() and len(list(tmp_path.iterdir())) == 1


def test_digest_depends_on_contents_and_ignores_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = provenance.digest(tmp_path)
    (tmp_path / ".lock").write_text("x")
    assert provenance.digest(tmp_path) == first
    (tmp_path / "config.json").write_text("[]")
    assert provenance.digest(tmp_path) != first


def test_revision_used_is_read_from_the_hub_cache(tmp_path: Path) -> None:
    commit = "a" * 40
    repo = tmp_path / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / ("b" * 40)).mkdir(parents=True)
    ask = provenance.revision_used
    assert ask("org/name", None, str(tmp_path / "hub"), {}) == commit
    assert ask("org/name", None, None, {"HF_HOME": str(tmp_path)}) == commit
    assert ask("org/name", None, None, {"HF_HUB_CACHE": str(tmp_path / "hub")}) == commit
    assert ask("org/name", "b" * 40, str(tmp_path / "hub"), {}) == "b" * 40
    assert ask("org/name", "v2", str(tmp_path / "hub"), {}) is None
    assert ask("org/other", None, str(tmp_path), {}) is None


def test_secrets_are_masked_in_arguments_and_variables() -> None:
    arguments = ["--api-key", "k1", "k2", "--port", "1", "--api-key=k3", "--x=tok-1"]
    assert provenance.without_secrets(arguments, ["tok-1", ""]) == [
        "--api-key", "***", "***", "--port", "1", "--api-key=***", "--x=***",
    ]  # fmt: skip
    assert provenance.public({"HF_TOKEN": "t", "VLLM_X": 1}) == {"HF_TOKEN": "***", "VLLM_X": "1"}


@pytest.mark.parametrize(
    ("used", "package", "revision", "digest", "expected"),
    [
        ("c0ffee", None, "main", None, "c0ffee"),
        (None, "m 1.0", "main", "sha256:1", "m 1.0"),
        (None, None, "main", None, "main"),
        (None, None, None, "sha256:1", "sha256:1"),
    ],
)
def test_what_served_is_not_what_was_requested(
    used: str | None, package: str | None, revision: str | None, digest: str | None, expected: str
) -> None:
    made = document.ModelRecord("m", "org/m", None, revision, used, digest, package=package)
    assert made.served == expected
