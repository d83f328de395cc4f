"""Tests of the phases of a session with a server that only pretends to run."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.core import paths
from benchy.core.errors import Died, Failure
from benchy.display.progress import Step
from benchy.serving import preparation, session_phases
from benchy.serving.endpoint import Endpoint

SPEC: dict[str, Any] = {
    "name": "test/one", "command": ["-m", "engine"], "startup_timeout": 5, "package": "engine",
    "environment": "engine_1_0",
}  # fmt: skip
COMMAND = ["evaluate"]


@dataclass
class Fake:
    """A server and its guardian.

    Attributes:
        fault: Phase that fails, and its exception.
        status: Status of the command.
        calls: The phases it went through.
    """

    log_path: Path
    fault: tuple[str, Exception] | None = None
    status: int = 0
    calls: list[str] = field(default_factory=list)
    pid: int = 7

    def __post_init__(self) -> None:
        self.endpoint = Endpoint("127.0.0.1", 8000, "key", 6)
        self.log = SimpleNamespace(times={}, text=lambda: "")
        self.guardian = SimpleNamespace(pid=6, start=lambda *_: self.call("command"))

    def call(self, phase: str) -> None:
        self.calls.append(phase)
        if self.fault and self.fault[0] == phase:
            raise self.fault[1]

    def start(self, argv: Sequence[str], variables: dict[str, str]) -> None:
        self.argv = argv
        self.call("start")

    def wait_ready(self, timeout: float, step: Step) -> float:
        self.call("ready")
        return 1.5

    def identity(self, expected: str | None) -> tuple[str, int]:
        self.call("identity")
        return "1.0", 512

    def log_probabilities(self) -> list[float]:
        self.call("log-probabilities")
        return [-1.0, -0.5]

    def sample_answer(self, chat: bool) -> str:
        self.call("chat" if chat else "completion")
        return "clear"

    def watch(self, name: str, step: Step) -> int:
        self.call("watch")
        return self.status


def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Fake, **spec: object) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.delenv("BENCHY_LAUNCHED", raising=False)
    environment = preparation.EngineEnvironment("engine_1_0", tmp_path / "venv")
    prepared = preparation.PreparedServer(
        specs.server(**SPEC | spec), environment, "test/one", ["--x=1"]
    )
    server: Any = fake
    return session_phases.Session(prepared, server, [], Step("SERVE", "one"), ["--joined"])


CHECKS = ["start", "ready", "identity", "log-probabilities"]
ALL = [*CHECKS, "command", "watch"]
# Name: (fails in this phase with this exception, status of the command, exit status, phases).
ENDINGS: dict[str, tuple[tuple[str, Exception] | None, int, int | type[Exception], list[str]]] = {
    "no start": (("start", Failure("no program")), 0, Failure, CHECKS[:1]),
    "not ready": (("ready", Failure("no answer")), 0, Failure, CHECKS[:2]),
    "another release": (("identity", Failure("2.0")), 0, Failure, CHECKS[:3]),
    "no log-probabilities": (("log-probabilities", Failure("NaN")), 0, Failure, CHECKS),
    "no such command": (("command", OSError("not found")), 0, Failure, ALL[:-1]),
    "server dies": (("watch", Died("killed")), 0, Died, ALL),
    "command succeeds": (None, 0, 0, ALL),
    "command fails": (None, 3, 3, ALL),
    "command is killed": (None, -9, 137, ALL),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_ending_has_its_exit_status(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, status, expected, phases = ENDINGS[ending]
    fake = Fake(tmp_path / "log", fault, status)
    one = session(tmp_path, monkeypatch, fake)
    if isinstance(expected, int):
        assert one.run(COMMAND) == expected
    else:
        with pytest.raises(expected):
            one.run(COMMAND)
    assert fake.calls == phases
    assert not list((tmp_path / "run").glob("*")), "server.json is left"


# Command, chat → phases.
PHASES = [
    (COMMAND, False, ALL),
    (COMMAND, True, [*CHECKS, "chat", "command", "watch"]),  # verifies the chat template
    ([], False, [*CHECKS, "completion"]),
    ([], True, [*CHECKS, "chat"]),
]


@pytest.mark.parametrize(("command", "chat", "phases"), PHASES)
def test_sample_request_is_sent_in_a_test_and_for_chat(
    command: list[str],
    chat: bool,
    phases: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = Fake(tmp_path / "log")
    assert session(tmp_path, monkeypatch, fake, chat=chat).run(command) == 0
    assert fake.calls == phases
    shown = capsys.readouterr().out
    answers = (
        "release   1.0\n"
        "model     test/one, 512 tokens\n"
        f"{'chat      ' if chat else 'completion'}'clear'\n"
        "logprobs  -1.000 -0.500 … (2 tokens, sum -1.500)\n"
    )
    assert shown == ("" if command else answers)


def test_command_finds_the_record_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(tmp_path / "log")
    records = []

    def start(name: str, command: Sequence[str], variables: dict[str, str]) -> None:
        assert (name, command) == ("command", COMMAND)
        assert variables["BENCHY_URL"] == "http://127.0.0.1:8000"
        assert variables["NO_PROXY"].endswith("127.0.0.1,localhost")
        records.append(json.loads((Path(variables["BENCHY_RUN"]) / "server.json").read_text()))

    fake.guardian.start = start
    assert session(tmp_path, monkeypatch, fake).run(COMMAND) == 0
    (record,) = records
    assert list(record) == sorted(record)
    assert record["arguments"] == fake.argv[1:]
    assert record["arguments"][-2:] == ["--x=1", "--joined"]
    assert (record["version"], record["max_model_len"], record["gpus"]) == ("1.0", 512, "cpu")
    assert record["seconds_to_ready"] == {"total": 1.5}
    assert "nodes" not in record and "key" not in json.dumps(record["variables"])
    assert "folder" not in record


@pytest.mark.parametrize(
    ("files", "commit", "folder"),
    [
        (preparation.FetchedFiles("a" * 40), "a" * 40, None),
        (preparation.FetchedFiles(package="/cache/m"), None, "/cache/m"),
    ],
)
def test_the_record_names_the_files_that_were_prepared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: preparation.FetchedFiles,
    commit: str | None,
    folder: str | None,
) -> None:
    """Another run may have fetched a newer commit since then."""
    made = session(tmp_path, monkeypatch, Fake(tmp_path / "log"))
    made = replace(made, prepared=replace(made.prepared, files=files))
    paths.fetched("one").parent.mkdir(parents=True)
    note = {"name": "test/one", "revision": None, "commit": "b" * 40, "folder": "/elsewhere"}
    paths.fetched("one").write_text(json.dumps(note))
    start = session_phases.Start(["python"], {}, datetime.datetime.now(datetime.timezone.utc), 1.5)
    record = made.record(start, session_phases.Answers("1.0", 512, [-1.0], None))
    assert (record["commit"], record.get("folder")) == (commit, folder)
