"""Comparison of the server's and the harness's tokenizers, and why a run of the harness failed."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.core.errors import ConfigError, Failure
from benchy.evaluation import evaluate as evaluation
from benchy.evaluation import (
    harness,
    harness_output,
    harness_questions,
    result_writer,
)
from benchy.evaluation import result as document
from benchy.process import runner
from benchy.serving.preparation import NOT_FETCHED


def publish(spec: bytes) -> None:
    job: Any = SimpleNamespace(
        target=Path("results/one/alpha/results.json"), spec_bytes=spec, locks=[], model="one",
        task="alpha", limit=None, run={"subdirectory": "harness"},
        server={"environment": "none"}, spec={"task": {"harness_environment": "none"}},
    )  # fmt: skip
    left: Any = SimpleNamespace(files=["r.json"], directory=Path("aside"))
    made: Any = SimpleNamespace(harness_output=["harness/r.json"], said=spec)
    Path("aside").mkdir(exist_ok=True)
    Path("aside/r.json").write_bytes(spec)
    result_writer.publish(job, made, left)


def test_spec_of_an_older_result_is_removed_before_the_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Path("results/one/alpha/spec.json")
    killed = False

    def write(made: Any, target: Path) -> None:
        assert not kept.exists(), "of the older result"
        target.write_bytes(made.said)
        if killed:
            raise KeyboardInterrupt

    monkeypatch.setattr(document, "write", write)
    publish(b"1")
    assert kept.read_bytes() == b"1"
    killed = True
    with pytest.raises(KeyboardInterrupt):
        publish(b"2")
    assert not kept.exists()
    killed = False
    publish(b"3")
    assert kept.read_bytes() == b"3"
    there = ["harness", "packages.json", "results.json", "spec.json"]
    assert sorted(p.name for p in kept.parent.iterdir()) == there


def ids(text: str, special: bool) -> list[int]:
    return [1] * special + list(text.encode())


@pytest.mark.parametrize(
    ("backend", "server", "told"),
    [
        ("huggingface", ids, ""),
        ("huggingface", lambda text, special: None, ""),  # a server without /tokenize
        ("huggingface", lambda text, special: ids(text, False), "from token 0 on [1, 72"),
        (
            "huggingface",
            lambda text, special: [*ids(text, special), 2][: 1 + 99 * special],
            "token",
        ),
        ("huggingface", lambda text, special: ids(text.replace("ñ", "n"), special), "token"),
        ("none", ids, ""),
        ("none", lambda text, special: [*ids(text, special), *[2] * special], "with token 2"),
    ],
)
def test_different_token_ids_of_server_and_harness_raise_a_config_error(
    backend: str, server: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = SimpleNamespace(
        spec={"chat": False, "task": {"tokenizer_backend": backend}},
        server={"spec": specs.server()},
        run=specs.task(environment="harness"),
        endpoint=SimpleNamespace(files=NOT_FETCHED),
    )  # fmt: skip
    facts = {
        "plain": [ids(text, False) for text in harness_questions.PROBE],
        "special": [ids(text, True) for text in harness_questions.PROBE],
    }
    monkeypatch.setattr(harness, "environment", lambda *args: {})
    monkeypatch.setattr(harness_questions, "tokenizer_facts", lambda *args: facts)
    monkeypatch.setattr(evaluation, "tokenized", lambda job, text, special: server(text, special))
    if not told:
        return evaluation.check_tokenizer(job, {})
    with pytest.raises(ConfigError) as stopped:
        evaluation.check_tokenizer(job, {})
    assert told in str(stopped.value)


REFUSED = {"task": "t", "what": "n: 2 asks for several answers", "hint": "write 1"}
ENDS: list[tuple[int, dict[str, str] | None, list[str], type[Exception], str]] = [
    (3, REFUSED, ["x"], ConfigError, "mine.yaml: t: n: 2 asks for several answers"),
    (1, None, [f"Error: {harness_output.CHAT_CANNOT}"], ConfigError, "has multiple choice (t)"),
    (1, None, ["KeyError: 'acc'"], Failure, "one/mine: the harness "),
    (-signal.SIGKILL, None, [], Failure, "out of memory?"),
]


@pytest.mark.parametrize(("status", "refused", "lines", "kind", "told"), ENDS)
def test_failed_run_is_explained_by_the_wrapper_the_log_or_the_signal(
    status: int,
    refused: dict[str, str] | None,
    lines: list[str],
    kind: type[Exception],
    told: str,
) -> None:
    job: Any = SimpleNamespace(
        title="one/mine", model="one", task="mine", log=Path("eval.log"),
        run={"source": "mine.yaml"}, spec={"task": {"task_name": ["t"]}},
        server={"spec": specs.server()},
    )  # fmt: skip
    found = evaluation.explained(job, runner.Ended(status), refused, lines)
    assert type(found) is kind
    text = f"{found.what} {found.hint}" if isinstance(found, Failure) else str(found)
    assert told in text and ("out of memory" in text) == (status == -signal.SIGKILL)
