"""What a run displays on a real pseudo-terminal, wide and narrow, and without a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pyte
import pytest

from trees import ALL, MODELS, Tree, ended, titles, wait_for


class Terminal:
    """A terminal of the given width that runs make.

    `display` returns the lines on the screen, `lines` also those that scrolled off.
    """

    def __init__(self, tree: Tree, columns: int, *arguments: str, **more: str) -> None:
        self.screen = pyte.HistoryScreen(columns, 24, history=2000, ratio=0.01)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            ["make", *arguments], cwd=tree.root,
            env=tree.environ(**{"TERM": "xterm-256color", **more}),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def read(self, until: Callable[[], bool] = lambda: False, seconds: float = 60) -> None:
        """Read output until `until` returns true or make ends; fail after `seconds`."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, self.lines()
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                self.process.wait(10)
                os.close(self.master)
                return
            self.raw += data
            self.stream.feed(data)

    def display(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def lines(self) -> list[str]:
        above = [
            "".join(row[column].data for column in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        return [*above, *self.display()]


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "more"), [(110, {}), (40, {"NO_COLOR": "1"})])
def test_live_lines_are_below_finished_lines(
    tree: Tree, columns: int, more: dict[str, str]
) -> None:
    models = "MODELS=one two"

    def both() -> bool:
        busy = [line for line in shown.display() if line.startswith("  EVAL    limit-2/")]
        # The line of the total is the last one. A read may end in the middle of a frame.
        last = next((line for line in reversed(shown.display()) if line), "")
        return len(busy) >= 2 and bool(re.match(r"\s+0 of 4 results", last))

    with tree.held():
        words = ("-j4", "results", models, "LIMIT=2")
        shown = Terminal(tree, columns, *words, CPU_SLOTS="1", **more)
        shown.read(both)
        screen = shown.display()
    assert all(len(line) <= columns for line in screen)
    assert "\x1b[?25l" not in shown.raw.decode().rpartition("\x1b[?25h")[2]  # the cursor is visible
    shown.read()
    text = "\n".join(shown.lines())
    assert shown.process.returncode == 0, text
    assert not re.search(r"^\s+\d of 4 results", text, re.M)  # the live lines are gone
    # Lines of different jobs do not mix. Only a narrow screen wraps them.
    joined = re.sub(r"\n", "", text) if columns < 80 else text
    for title in ("one/alpha", "one/beta", "two/alpha", "two/beta"):
        assert re.search(rf"EVAL    {title}: acc \d\.\d{{4}}", joined), text
    if columns >= 80:
        assert re.search(r"^results: 4 made, 0 up to date in \d+ s$", text, re.M), text
    if more:
        assert not re.search(rb"\x1b\[[0-9;]*m", shown.raw)


@pytest.mark.slow
def test_make_venvs_has_live_lines(fresh: Tree) -> None:
    shown = Terminal(fresh, 110, "-j", "venvs")
    shown.read(lambda: any("of 7 environments" in line for line in shown.display()))
    shown.read(lambda: any(re.match(r"  VENV    \w+: \w+ing", line) for line in shown.display()))
    said, status = [""], ""  # empty between two builds
    while shown.process.poll() is None and not said[-1]:
        status = fresh.make("status").text
        said += re.findall(r"^building (?:standin|lm_eval)_\S+: ", status, re.M)
    assert said[-1], status
    shown.read()
    text = "\n".join(shown.lines())
    assert shown.process.returncode == 0, text
    assert len(re.findall(r"^  READY   ", text, re.M)) == 7, text
    assert "of 7 environments" not in text
    again = Terminal(fresh, 110, "venvs")
    again.read()
    assert again.process.returncode == 0
    assert "".join(again.lines()).strip() == "venvs: every environment is ready"


def test_output_of_a_build_does_not_break_its_live_line(fresh: Tree) -> None:
    """One environment has one live line. A terminal that cannot redraw gets plain lines only."""
    one = Terminal(fresh, 110, "venv", "ENGINE=standin", "VERSION=1.0.0")
    one.read()
    lines = [line for line in one.lines() if line]
    assert one.process.returncode == 0 and lines[-1].startswith("  READY   standin_1_0_0"), lines
    # Nothing of a live line is left on the screen, and a finished line replaced it in place.
    assert b"VENV    standin_1_0_0: installing" in one.raw, one.raw
    assert not [line for line in lines if re.match(r"  VENV    \w+: \w+ing", line)], lines
    dumb = Terminal(fresh, 110, "venv", "ENGINE=standin", "VERSION=1.1.0", TERM="dumb")
    dumb.read()
    assert dumb.process.returncode == 0 and b"\x1b" not in dumb.raw, dumb.raw


def test_output_without_a_terminal_is_plain_lines(tree: Tree) -> None:
    done = tree.make("-j4", "results", "MODELS=one two", "LIMIT=2", STANDIN_HARNESS_SECONDS="1")
    assert done.status == 0 and "\x1b" not in done.text and "\r" not in done.text
    last = done.text.splitlines()[-1]
    assert re.fullmatch(r"results: 4 made, 0 up to date in \d+ s", last), done.text
    again = tree.make("results", "MODELS=one two", "LIMIT=2")
    assert again.text.splitlines()[0] == "results: everything is up to date (4 results)"


@pytest.mark.slow
def test_status_reports_the_state_of_each_result(tree: Tree) -> None:
    before = tree.make("status", MODELS)
    assert f"{len(ALL)} results: {len(ALL)} done" in before.text
    (tree.root / "results/two/beta/results.json").unlink()
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {max_model_len: 256}")
    stale = tree.make("status", MODELS)
    assert re.search(r"^one +stale +stale$", stale.text, re.M), stale.text
    assert "options.max_model_len: 512 → 256  (configs/models/one.yaml:" in stale.text
    assert f"{len(ALL)} results: {len(ALL) - 3} done, 2 stale, 1 missing" in stale.text
    assert not tree.ran()

    with tree.held():
        run = tree.start("-j4", "results", MODELS, CPU_SLOTS="1")
        file = tree.root / "run/board/task"
        wait_for(lambda: list(file.glob("*/*.json")), 30, "a task under way")
        during = tree.make("status", MODELS, "FORMAT=json")
        said = json.loads(during.text)
        states = {f"{c['model']}/{c['task']}": c["state"] for c in said["results"]}
        assert sorted(states) == sorted(ALL)
        assert "running" in states.values() and "waiting" in states.values(), states
        waits = [c for c in said["results"] if c["state"] == "waiting"]
        assert {c["text"] for c in waits} == {"1 CPU slot"}
        assert len(said["runs"]) == 1
    assert ended(run).status == 0
    after = json.loads(tree.make("status", MODELS, "FORMAT=json").text)
    assert after["counts"] == {"done": len(ALL)} and not after["runs"]
    assert not list((tree.root / "run/board").rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "goal", [["eval", "CONFIG=configs/models/one.yaml"], ["results", "MODELS=one", "LIMIT=1"]]
)
def test_status_works_from_the_start_of_a_first_run(fresh: Tree, goal: list[str]) -> None:
    run, seen = fresh.start(*goal), set[str]()
    while run.poll() is None:
        done = fresh.make("status", "FORMAT=json")
        assert done.status == 0 and "no plan" not in done.text, done.text
        said = json.loads(done.text[done.text.index("{") :])
        seen |= {c["state"] for c in said["results"] if c["model"] == "one"}
    assert ended(run).status == 0
    assert "running" in seen and seen <= {"missing", "waiting", "running", "done"}, seen
    assert [path.name for path in (fresh.root / "results").glob("**/one/*/results.json")]


@pytest.mark.slow
def test_failure_is_reported_in_summary_status_and_notify(tree: Tree) -> None:
    words = {"STANDIN_FAIL": "oom", "STANDIN_FAIL_MODEL": "acme/two"}
    notify = "NOTIFY=cat > told; echo $BENCHY_STATUS $(cat $BENCHY_SUMMARY | wc -l) >> told"
    done = tree.make("-j2", "results", "MODELS=one two", "LIMIT=1", notify, **words)
    assert done.status == 2
    tail = done.text.splitlines()[-8:]
    text = "\n".join(tail)
    assert "  FAILED  results/limit-1/two/alpha/results.json\n" in text
    assert "the memory does not hold the model\n          log: logs/serve/two.log\n" in text
    assert re.search(r"^  COST    CPU slot-hours: \d+\.\d\d", text, re.M)
    assert re.search(r"^results: 2 made, 0 up to date, 2 failed in \d+ s$", text, re.M)
    told = (tree.root / "told").read_text()
    assert told.startswith("results: 2 made, 0 up to date, 2 failed in ") and "FAILED" in told
    assert re.fullmatch(r"1 \d\d", told.splitlines()[-1])
    summary = json.loads((tree.root / "run/summary.json").read_text())
    assert [row["result"] for row in summary["failed"]] == [
        "results/limit-1/two/alpha/results.json", "results/limit-1/two/beta/results.json",
    ]  # fmt: skip
    status = tree.make("status", "MODELS=one two", "LIMIT=1")
    assert re.search(r"^two +FAILED +FAILED$", status.text, re.M)
    assert "failed   two/alpha, two/beta: two: the server ended with status 1" in status.text
    # The next run repeats only what failed.
    tree.events()
    again = tree.make("-j2", "results", "MODELS=one two", "LIMIT=1")
    assert again.status == 0 and tree.ran() == ["two/alpha", "two/beta"]
    assert "results: 2 made, 2 up to date in" in again.text


@pytest.mark.slow
def test_summary_reports_the_results_on_disk(tree: Tree) -> None:
    """Both tasks have earlier results. One task fails now, and its old score is marked as stale."""
    for task in ("alpha", "beta"):
        tree.edit(f"tasks/{task}.yaml", "offline: true", "offline: true\nnum_fewshot: 3")
    words = {"STANDIN_HARNESS_FAIL": "exit", "STANDIN_HARNESS_FAIL_TASK": "*beta"}
    done = tree.make("results", "MODELS=one", **words)
    assert done.status == 2
    rows = [line for line in done.text.splitlines() if line.startswith("one  ")]
    assert [row.endswith("results.json (stale)") for row in rows] == [False, True], done.text
    failed = [line for line in done.text.splitlines() if line.startswith("  FAILED")]
    assert failed == ["  FAILED  results/one/beta/results.json"]
    assert "results: 1 made, 0 up to date, 1 failed in " in done.text


@pytest.mark.slow
def test_task_edited_during_its_evaluation_is_stale_and_not_failed(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    with tree.held():
        run = tree.start("results", "MODELS=one", "TASKS=alpha")
        wait_for(lambda: titles(tree.events()), 60, "alpha is evaluated")
        tree.edit("tasks/alpha.yaml", "offline: true", "offline: true\nnum_fewshot: 3")
    done = ended(run)
    assert done.status == 0, done.text
    assert "  STALE   results/one/alpha/results.json, edited during the run\n" in done.text
    assert "results: 1 made, 0 up to date, 1 stale again in " in done.text
    assert "FAILED" not in done.text and "results.json (stale)" in done.text


def test_failed_notify_is_reported_and_does_not_fail_the_run(tree: Tree) -> None:
    done = tree.make("results", "MODELS=one", "LIMIT=1", "NOTIFY=exit 3")
    assert done.status == 0 and "  NOTIFY  exit 3: ended with status 3" in done.text


def test_watch_shows_the_table_until_interrupted(tree: Tree) -> None:
    shown = Terminal(tree, 100, "watch", MODELS)
    total = f"{len(ALL)} results: {len(ALL)} done"
    shown.read(lambda: any(line.startswith(total) for line in shown.display()))
    tree.file("one/alpha").unlink()
    changed = f"{len(ALL)} results: {len(ALL) - 1} done, 1 missing"
    shown.read(lambda: any(line.startswith(changed) for line in shown.display()))
    assert shown.process.poll() is None
    os.killpg(shown.process.pid, 2)  # Ctrl-C
    shown.read()
    assert "Traceback" not in "\n".join(shown.lines())


@pytest.mark.slow
def test_killed_run_is_not_shown_as_running_and_is_cleaned_up_later(tree: Tree) -> None:
    board = tree.root / "run/board"
    with tree.held():
        run = tree.start("-j4", "results", MODELS, "LIMIT=2", CPU_SLOTS="1")
        wait_for(lambda: list(board.glob("task/limit-2/*/*.json")), 30, "a task under way")
        (main,) = [pid for pid, words in tree.processes().items() if " run results" in words]
        os.kill(main, 9)
        ended(run)
        wait_for(lambda: not tree.processes(), 30, "all have ended")
    status = tree.make("status", MODELS, "LIMIT=2")
    assert f"{len(ALL)} results: 0 done, {len(ALL)} missing" in status.text
    # The note of the killed run stays until the next run has cleaned up.
    assert list((board / "run").iterdir())
    assert tree.make("results", MODELS, "LIMIT=2").status == 0
    assert not list((board / "run").iterdir())
