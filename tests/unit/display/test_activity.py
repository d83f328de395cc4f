"""Tests of the board and of progress output."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.core import process_info, temporary_files
from benchy.core.errors import Failure
from benchy.display import activity, progress, units
from benchy.display.activity import Note
from benchy.display.progress import Step


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_note_of_a_reused_pid_is_ignored() -> None:
    note = activity.put(Note("model", "m", activity.SERVING))
    text = json.loads(note.path.read_text()) | {"ticks": note.ticks - 1}
    note.path.write_text(json.dumps(text))
    assert not list(activity.notes())


def test_note_of_another_host_expires_if_not_renewed() -> None:
    note = activity.put(Note("model", "m", activity.SERVING))
    note.path.write_text(json.dumps(json.loads(note.path.read_text()) | {"host": "node7"}))
    assert [n.host for n in activity.notes()] == ["node7"]
    old = time.time() - activity.SILENT - 1
    os.utime(note.path, (old, old))
    assert not list(activity.notes())


def test_damaged_notes_and_an_unwritable_board_are_ignored(here: Path) -> None:
    (here / "run/board/task/m").mkdir(parents=True)
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"kind": "task"}'), ("d", '{"odd": 1}')):
        (here / f"run/board/task/m/{name}.json").write_text(text)
    assert not list(activity.notes()) and not list(activity.runs())
    (here / "run/board/model").write_text("a file where a directory should be")
    activity.put(Note("model", "m", activity.SERVING))


def test_note_of_a_failed_step_stays_until_the_next_attempt() -> None:
    with pytest.raises(Failure), Step("EVAL", "m/t", "task", "m/t", activity.RUNNING):
        raise Failure("no answer", "look", "logs/x.log", ["line"])
    (note,) = activity.notes()
    assert (note.state, note.text, note.log) == (activity.FAILED, "no answer", "logs/x.log")
    with Step("EVAL", "m/t", "task", "m/t", activity.RUNNING):
        assert [n.state for n in activity.notes()] == [activity.RUNNING]
    assert not list(activity.notes())


def test_interrupted_step_leaves_no_note() -> None:
    with pytest.raises(SystemExit), Step("EVAL", "m/t", "task", "m/t", activity.RUNNING):
        sys.exit(143)
    assert not list(activity.notes())


def test_run_note_lists_what_models_wait_for() -> None:
    activity.put_run({"m": "2 GPUs"}, 5.0, {"n": "job 7: RUNNING on n1"})
    (run,) = activity.runs()
    assert (run.pid, run.waiting, run.began) == (os.getpid(), {"m": "2 GPUs"}, 5.0)
    assert run.jobs == {"n": "job 7: RUNNING on n1"}
    activity.clear_run()
    assert not list(activity.runs())


def test_pids_of_a_container_with_the_hosts_name_are_not_looked_up_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pids are valid in one pid namespace only: here no process has this one."""
    stat, pid = os.stat, 1 << 22

    def stat_in_container(path: Any, **more: Any) -> Any:
        inside = path == "/proc/self/ns/pid"
        return SimpleNamespace(st_ino=0xF0001234) if inside else stat(path, **more)

    with monkeypatch.context() as container:
        container.setattr(os, "stat", stat_in_container)
        container.setattr(os, "getpid", lambda: pid)
        activity.put_run({}, 5.0, {})
        activity.put(Note("model", "m", activity.SERVING))
    assert not activity.forget_killed()
    assert [run.pid for run in activity.runs()] == [pid]
    assert [note.name for note in activity.notes()] == ["m"]


def test_scope_of_a_pid_can_be_part_of_a_jobs_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="a:b/c~d"))
    assert process_info.host().startswith("a-b-c-d")


ASKING = Note("", "", "running", "asking", 0, 100, began=0)
WORDS = [
    (replace(ASKING, done=30, since=90, at=10), "asking 30/100, 2.0/s, 35 s left"),
    (replace(ASKING, done=11, since=40, at=10), "asking 11/100, 1.0/min, 89 min left"),
    (replace(ASKING, done=10, since=90, at=10), "asking 10/100"),
    (Note("", "", "starting", "weights", began=58, since=90), "weights, 42 s"),
    (Note("", "", "building", began=58, text="torch"), "building, 42 s, torch"),
]


@pytest.mark.parametrize(("note", "expected"), WORDS)
def test_progress_shows_stage_rate_and_time_left(note: Note, expected: str) -> None:
    assert progress.words(note, 100) == expected


SPANS = [
    (0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3600, "60 min"), (7500, "2 h 05 min"),
    (48 * 3600, "2 d 0 h"), (76 * 3600, "3 d 4 h"), (-5, "0 s"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "expected"), SPANS)
def test_span_formats_seconds(seconds: float, expected: str) -> None:
    assert units.span(seconds) == expected


SHARED = [("", False), ("-j4", True), ("k -j4", True), ("-j1", False), ("-j", True),
          ("s -- MODELS=-j4", False), ("-j12 --jobserver-auth=3,4", True)]  # fmt: skip


@pytest.mark.parametrize(("flags", "expected"), SHARED)
def test_parallel_make_shares_its_terminal(
    flags: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", flags)
    assert progress.shares_terminal() is expected


def test_without_terminal_lasting_stages_and_each_minute_print_a_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Step("EVAL", "m/t") as step:
        for second in range(200):
            now[0] = 1000.0 + second
            step.at("loading" if second < 10 else "asking", max(0, second - 10), 500)
    told = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in told] == [
        "  EVAL    m/t: loading 0/500",
        "  EVAL    m/t: asking 2/500",
        "  EVAL    m/t: asking 62/500",
        "  EVAL    m/t: asking 122/500",
        "  EVAL    m/t: asking 182/500",
    ]


def test_step_under_a_display_writes_only_to_the_board(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCHY_BOARD", "12")
    monkeypatch.setenv("BENCHY_DISPLAY", "1")
    with Step("EVAL", "m/t", "task", "m/t", activity.RUNNING) as step:
        step.at("asking", 1, 2)
        assert [(n.stage, n.run) for n in activity.notes()] == [("asking", 12)]
    assert capfd.readouterr().err == ""


def test_serving_step_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Step("SERVE", "m", "model", "m", activity.STARTING) as step:
        step.at("api")
        step.enter(activity.SERVING)
        for second in range(200):
            now[0] = 1000.0 + second
            step.beat()
        assert [(n.state, n.stage) for n in activity.notes()] == [(activity.SERVING, "")]
    assert capfd.readouterr().err == ""


def test_same_pid_on_two_hosts_gets_two_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pids are not unique across the nodes of a shared file system."""
    here = temporary_files.aside(tmp_path / "plan.json")
    name = SimpleNamespace(nodename="another")
    monkeypatch.setattr(os, "uname", lambda: name)
    there = temporary_files.aside(tmp_path / "plan.json")
    assert here != there and here.parent == there.parent == tmp_path
