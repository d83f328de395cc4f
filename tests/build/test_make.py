"""Which targets run, and when: real make, real uv and real processes on the stand-in engine."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import wheels
from benchy.environments import lock_file
from trees import ALL, MODELS, Done, Tree, ended, read_until, titles, wait_for


def quiet(tree: Tree) -> None:
    """Check that make finds nothing to do: no server and no harness starts."""
    done = tree.results()
    assert done.status == 0, done.text
    assert tree.events() == []


def test_first_run_makes_all_results_and_second_run_none(
    complete: tuple[Path, Done, list[str]], tree: Tree
) -> None:
    _, done, ran = complete
    assert (done.status, ran) == (0, list(ALL)), done.text
    assert tree.written() == list(ALL)
    quiet(tree)


def edit(*edits: tuple[str, str, str]) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        for one in edits:
            tree.edit(*one)

    return apply


def in_turn(*changes: Callable[[Tree], None]) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        for change in changes:
            change(tree)

    return apply


def reorder(tree: Tree) -> None:
    file = tree.root / "configs/models/one.yaml"
    head, _, tail = file.read_text().partition("vllm:")
    file.write_text(f"vllm:{tail}{head}")


def share(tree: Tree, more: str) -> None:
    """Write a shared lock with `more` lines, as a pull from another user would."""
    lock = tree.root / "configs/locks/standin_1_0_0.lock"
    lock.parent.mkdir(exist_ok=True)
    here = tree.root / "venvs" / lock.name
    body = here.read_text().partition("\n")[2]
    lock.write_text(lock_file.text(lock_file.header(here), body + more))


ONE, THREE = "models/one.yaml", "models/three.yaml"
PROVIDER, ALPHA = "providers/standin.yaml", "tasks/alpha.yaml"
ALPHAS = ("one/alpha", "three/alpha", "two/alpha")
NOTHING: tuple[str, ...] = ()

EDITS: list[tuple[str, Callable[[Tree], None], Sequence[str]]] = [
    (
        "comments, a port, a timeout, and a shared lock with the same packages",
        in_turn(
            edit(
                (ONE, "model:", "# hello\nmodel:"),
                (PROVIDER, "engine:", "# hello\nengine:"),
                (ALPHA, "task_name:", "# hello\ntask_name:"),
                (ONE, "overrides: {}", "overrides: {port: 18123}"),
                (PROVIDER, "timeout: 30", "timeout: 31"),
            ),
            lambda tree: share(tree, ""),
        ),
        NOTHING,
    ),
    ("order of keys", reorder, NOTHING),
    ("max_model_len of one", edit((THREE, "len: 256", "len: 128")), ("three/alpha",)),
    (
        "max_model_len of a provider",  # three overrides it
        edit((PROVIDER, "len: 512", "len: 384")),
        tuple(t for t in ALL if t != "three/alpha"),
    ),
    ("seed of a task", edit((ALPHA, "offline:", "seed: 7\noffline:")), ALPHAS),
    (
        "one task more",
        edit((THREE, '["alpha"]', '["alpha", "beta"]')),
        ("three/beta",),
    ),
    ("a result is deleted", lambda tree: tree.file("two/beta").unlink(), ("two/beta",)),
    (
        "a shared lock with others",
        lambda tree: share(tree, "lm_eval==0.0.1\n"),
        ("three/alpha", "two/alpha", "two/beta"),
    ),
    ("build/ is deleted", lambda tree: shutil.rmtree(tree.root / "build"), NOTHING),
]


def test_single_result_is_up_to_date_after_one_make(tree: Tree) -> None:
    """The make that resolves a lock again also takes its new packages into account."""
    name = "results/two/alpha/results.json"
    edit(("engines/standin.yaml", "cutoff:", 'requirements: ["lm_eval==0.0.1"]\ncutoff:'))(tree)
    done = tree.make(name)
    assert (done.status, tree.ran()) == (0, ["two/alpha"]), done.text
    done = tree.make(name)
    assert (done.status, tree.ran()) == (0, []), done.text


@pytest.mark.parametrize(("apply", "runs"), [c[1:] for c in EDITS], ids=[c[0] for c in EDITS])
def test_edit_reruns_only_results_that_it_affects(
    tree: Tree, apply: Callable[[Tree], None], runs: Sequence[str]
) -> None:
    apply(tree)
    done = tree.results()
    assert (done.status, tree.ran()) == (0, list(runs)), done.text
    assert sum(map(int, re.findall(r"results: (\d+) made", done.text))) == len(runs), done.text
    quiet(tree)


def test_changed_release_reruns_only_its_model(tree: Tree) -> None:
    tree.edit("models/two.yaml", "1.0.0", "1.1.0")
    shutil.rmtree(tree.root / "venvs/standin_1_1_0")
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["two/alpha", "two/beta"]), done.text
    assert done.text.count("READY ") == 1
    assert tree.result("two/alpha")["engine"]["answered"] == "1.1.0"
    assert (tree.root / "venvs/standin_1_0_0/.stamp").exists()  # model three still needs it
    quiet(tree)


@pytest.mark.slow
def test_a_matrix_has_results_for_each_cell(tree: Tree) -> None:
    one = tree.root / "configs/models/one.yaml"
    one.write_text(one.read_text() + 'matrix: {vllm_version: ["1.0.0", "2.0.0"]}\n')
    done = tree.make("results", "MODELS=one", "TASKS=alpha")
    assert done.status == 0, done.text
    assert len(tree.ran()) == 2
    for release in ("1.0.0", "2.0.0"):
        assert tree.result(f"one@{release}/alpha")["engine"]["answered"] == release
    assert tree.make("eval", "CONFIG=configs/models/one.yaml", "TASKS=alpha").status == 0
    assert tree.ran() == []
    one.write_text(one.read_text().replace('"2.0.0"]', '"2.0.0", "1.1.0"]'))
    assert tree.make("results", "MODELS=one@1*", "TASKS=alpha").status == 0
    assert tree.result("one@1.1.0/alpha")["engine"]["answered"] == "1.1.0"
    assert len(tree.ran()) == 1


@pytest.mark.slow
def test_dead_server_is_restarted_only_once(tree: Tree) -> None:
    for task in ("alpha", "beta"):
        tree.file(f"two/{task}").unlink()
    fail = {"STANDIN_FAIL_MODEL": "acme/two", "TASK_JOBS": "1"}
    done = tree.results(STANDIN_FAIL="die_once_after_3_requests", **fail)
    assert done.status == 0, done.text
    assert "two: starting its server again for 2 tasks" in done.text
    # One death, one message: of bin/serve, not of the tasks too.
    counts = done.text.count("failed:"), done.text.count("during the run")
    assert counts == (1, 1), done.text
    tree.events()
    quiet(tree)
    for task in ("alpha", "beta"):
        tree.file(f"two/{task}").unlink()
    tree.events()
    done = tree.results(STANDIN_FAIL="die_after_3_requests", **fail)
    assert done.status != 0 and done.text.count("starting its server again") == 1
    starts = [e for e in tree.events() if e["event"] == "start" and e["model"] == "acme/two"]
    assert len(starts) == 2
    assert [t for t in ALL if t not in tree.written()] == ["two/alpha", "two/beta"]


def test_gc_removes_unreferenced_results_only_with_yes(tree: Tree) -> None:
    assert tree.make("gc").text.strip() == "gc: everything is referred to"
    (tree.root / "configs/models/three.yaml").unlink()
    tree.edit("models/one.yaml", '["alpha", "beta"]', '["beta"]')
    done = tree.make("gc")
    assert done.status == 0 and "Nothing is removed without YES=1" in done.text
    assert "results/three  no config has its model" in done.text
    assert "results/one/alpha  its model no longer has this task" in done.text
    assert tree.file("three/alpha").exists() and tree.file("one/alpha").exists()
    assert tree.make("gc", "YES=1").status == 0
    assert [t for t in ALL if t not in tree.written()] == ["one/alpha", "three/alpha"]
    assert not (tree.root / "logs/serve/three.log").exists()
    assert tree.make("gc").text.strip() == "gc: everything is referred to"
    assert tree.make("results", "MODELS=one two four").status == 0
    assert tree.events() == []


@pytest.mark.slow
def test_wheel_can_replace_a_release(tree: Tree) -> None:
    """The result names the wheel's version. New bytes at the same path make a new environment."""
    wheel = tree.wheels / "standin_engine-1.1.0-py3-none-any.whl"
    tree.edit(THREE, 'vllm_version: "1.0.0"', f'engine_source: "../wheels/{wheel.name}"')
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
    first = tree.result("three/alpha")["engine"]
    assert (first["asked"], first["answered"]) == (None, "1.1.0")
    assert first["environment"].startswith("standin_wheel_")
    quiet(tree)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("standin_engine/more.py", "")
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
    assert tree.result("three/alpha")["engine"]["environment"] != first["environment"]
    tree.edit(THREE, "engine_source:", 'vllm_version: "2.0.0", engine_source:')
    done = tree.results("FALLBACK=0")
    assert done.status != 0
    assert "standin-engine is 1.1.0, not 2.0.0" in done.text


def test_broken_config_stops_all_models_and_reports_its_line(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    tree.edit("models/two.yaml", "overrides:", "overides:")
    done = tree.results()
    assert done.status != 0
    assert "configs/models/two.yaml:5" in done.text
    assert "overrides" in done.text
    assert tree.events() == []
    alone = tree.make("eval", "CONFIG=configs/models/one.yaml")
    assert (alone.status, tree.ran()) == (0, ["one/alpha"]), alone.text


def publish_requirement(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "standin-gone-from-the-index"
    monkeypatch.setitem(wheels.PROJECTS, gone, wheels.Project("no such folder", "Back again"))
    wheels.build(tree.wheels, {gone: ("0.1.16",)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "repair"),
    [(wheels.DOES_NOT_RESOLVE, publish_requirement), (wheels.DOES_NOT_IMPORT, None)],
    ids=["does not resolve", "does not import"],
)
def test_failed_environment_falls_back_and_is_tried_again(
    tree: Tree,
    version: str,
    repair: Callable[[Tree, pytest.MonkeyPatch], None] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree.edit(THREE, "1.0.0", version)
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
    result = tree.result("three/alpha")
    assert result["fallback"] is True
    assert (result["engine"]["asked"], result["engine"]["answered"]) == (version, "2.0.0")
    assert result["fallback_reason"]["version"] == version

    again = tree.results()  # tries the environment again; the result stays up to date
    env = f"standin_{version.replace('.', '_')}"
    assert (again.status, tree.events()) == (0, []), again.text
    assert f"environment/{env}\n" in again.text or f"venvs/{env}.lock\n" in again.text
    if repair:
        repair(tree, monkeypatch)
        done = tree.results()
        assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
        result = tree.result("three/alpha")
        assert (result["fallback"], result["engine"]["answered"]) == (False, version)
        quiet(tree)


def test_failed_environment_without_fallback_fails_the_run(tree: Tree) -> None:
    tree.edit(THREE, "1.0.0", wheels.DOES_NOT_RESOLVE)
    tree.file("three/alpha").unlink()
    done = tree.results("FALLBACK=0")
    assert done.status != 0
    assert "standin-gone-from-the-index" in done.text
    assert tree.events() == []
    assert not tree.file("three/alpha").exists()


def test_server_that_reports_another_release_gives_no_result(tree: Tree) -> None:
    tree.edit(THREE, "1.0.0", wheels.LIES)
    tree.file("three/alpha").unlink()
    done = tree.results()
    assert done.status != 0
    assert "4.9.9" in done.text
    assert tree.ran() == []
    assert not tree.file("three/alpha").exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.mark.slow
def test_servers_take_turns_on_the_one_slot(tree: Tree) -> None:
    shutil.rmtree(tree.root / "results")
    make = tree.start("-j8", "results", MODELS, CPU_SLOTS="1", STANDIN_HARNESS_SECONDS="0.3")
    events: list[dict[str, Any]] = []
    pids: list[int] = []

    def over() -> bool:
        for event in tree.events():
            if event["event"] == "start":
                assert not [pid for pid in pids if alive(pid)], "two servers at once"
                pids.extend(event[key] for key in ("pid", "core", "worker"))
            events.append(event)
        return make.poll() is not None

    wait_for(over, 60, "make -j8")
    assert ended(make).status == 0
    events += tree.events()
    assert sorted(titles(events)) == list(ALL)
    assert sum(e["event"] == "start" for e in events) == 4


@pytest.mark.slow
def test_two_makes_at_once_share_the_work(fresh: Tree) -> None:
    pair = [fresh.start("-j2", "results", MODELS) for _ in range(2)]
    done = [ended(make) for make in pair]
    assert [d.status for d in done] == [0, 0], done
    assert fresh.ran() == list(ALL)
    built = [line.split()[1] for d in done for line in d.text.splitlines() if "READY " in line]
    assert len(built) == len(set(built)) == 5


def test_a_second_make_takes_no_device_for_a_model_that_is_served(tree: Tree) -> None:
    """Its tasks would wait for those of the first make and keep a device idle."""
    shutil.rmtree(tree.file("one/alpha").parent)
    with tree.held():
        first = tree.start("results", "MODELS=one", CPU_SLOTS="2")
        wait_for(lambda: "eval" in [e["event"] for e in tree.events()], 30, "the first's task")
        second = tree.start("results", MODELS, CPU_SLOTS="2")
        read_until(second, "one: another run works on it")
    assert (ended(first).status, ended(second).status) == (0, 0)
    assert [e["event"] for e in tree.events() if e["event"] in ("start", "eval")] == []


def test_option_edited_while_a_server_runs_fails_its_result(tree: Tree) -> None:
    """Otherwise the result would not record an option that the server really had."""
    tree.edit("models/one.yaml", "overrides: {", "overrides: {enforce_eager: true, ")
    assert tree.make("-f", "mk/graph.mk", "planned").status == 0
    tree.file("one/alpha").unlink()
    edit = "s/enforce_eager: true, //"
    inner = "make -s -f mk/graph.mk results/one/alpha/results.json"
    command = f"sed -i '{edit}' configs/models/one.yaml; {inner}"
    done = subprocess.run(
        ["bin/serve", "one", "--", "bash", "-c", command],
        cwd=tree.root, env=tree.environ(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode
    assert "options.enforce_eager: the result needs None, the server has True" in done.stderr


MIDDLE = "models/three.yaml"


@pytest.mark.slow
def test_config_broken_during_a_run_stops_no_model(tree: Tree) -> None:
    """A user saves half an edit while models wait. The run continues with its existing plan."""
    shutil.rmtree(tree.root / "results")
    with tree.held():
        make = tree.start("-j1", "results", MODELS)
        wait_for(lambda: "eval" in [e["event"] for e in tree.events()], 30, "the first task")
        text = (tree.root / "configs" / MIDDLE).read_text()
        (tree.root / "configs" / MIDDLE).write_text(text + "}\n")
    done = ended(make)
    assert done.status == 0, done.text
    assert done.text.count("this run continues with its plan") == 1
    assert f"configs/{MIDDLE}:" in done.text and "Traceback" not in done.text
    assert tree.written() == list(ALL)
    (tree.root / "configs" / MIDDLE).write_text(text)
    tree.events()
    quiet(tree)


def test_config_deleted_during_a_run_is_reported(tree: Tree) -> None:
    shutil.rmtree(tree.root / "results")
    # Longer than a run relies on the staleness that it determined at its start.
    make = tree.start("-j1", "results", MODELS, STANDIN_HARNESS_SECONDS="3")
    with tree.held():
        wait_for(lambda: "eval" in [e["event"] for e in tree.events()], 30, "the first task")
        for name in ("three", "four", "one", "two"):  # one of them is being served
            (tree.root / f"configs/models/{name}.yaml").unlink()
    done = ended(make)
    assert done.status != 0 and "Traceback" not in done.text, done.text
    assert "its config was removed during the run" in done.text
    assert len(tree.written()) in (1, 2)  # those of the model being served


def engine(tree: Tree, make: subprocess.Popen[str], starts: list[dict[str, Any]]) -> None:
    """Kill the server, then the one that replaces it."""
    os.kill(starts[-1]["pid"], signal.SIGKILL)
    events = wait_for(
        lambda: [e for e in tree.events() if e["event"] == "start"], 30, "the second server"
    )
    os.kill(events[-1]["pid"], signal.SIGKILL)


def serve(tree: Tree, make: subprocess.Popen[str], starts: list[dict[str, Any]]) -> None:
    mine = [pid for pid, words in tree.processes().items() if "lib/run.py serve " in words]
    assert mine
    os.kill(min(mine), signal.SIGKILL)


def make_itself(tree: Tree, make: subprocess.Popen[str], starts: list[dict[str, Any]]) -> None:
    make.kill()


def interrupt(tree: Tree, make: subprocess.Popen[str], starts: list[dict[str, Any]]) -> None:
    os.killpg(make.pid, signal.SIGINT)


def terminate(tree: Tree, make: subprocess.Popen[str], starts: list[dict[str, Any]]) -> None:
    make.terminate()


Kill = Callable[[Tree, "subprocess.Popen[str]", list[dict[str, Any]]], None]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [interrupt, terminate, make_itself, serve, engine])
def test_killed_run_leaves_no_processes_and_no_partial_results(tree: Tree, kill: Kill) -> None:
    for task in ("alpha", "beta"):
        shutil.rmtree(tree.file(f"one/{task}").parent)
    others = tree.written()
    events: list[dict[str, Any]] = []

    def both_run() -> bool:
        events.extend(tree.events())
        return len(titles(events)) == 2

    with tree.held():
        make = tree.start("results", "MODELS=one")
        try:
            wait_for(both_run, 15, "two evaluations")
            kill(tree, make, [e for e in events if e["event"] == "start"])
            wait_for(lambda: make.poll() is not None and not tree.processes(), 15, "all to end")
        finally:
            with contextlib.suppress(OSError):
                make.kill()
            ended(make)
    assert make.returncode != 0
    assert tree.written() == others
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["one/alpha", "one/beta"]), done.text
    quiet(tree)
    assert not list((tree.root / "results").rglob(".*"))  # partial results


def test_dry_run_reports_what_is_stale_and_runs_nothing(tree: Tree) -> None:
    assert tree.results("-q").status == 0
    assert tree.results("-n").status == 0
    tree.file("two/beta").unlink()
    assert tree.results("-q").status == 1
    dry = tree.results("-n")
    assert dry.status == 0
    assert "results/two/beta/results.json" in dry.text
    assert "results/two/alpha/results.json" not in dry.text
    assert tree.events() == []
    assert not tree.file("two/beta").exists()


def test_results_without_models_knob_are_up_to_date(tree: Tree) -> None:
    for name in ("five", "six"):  # they need GPUs
        (tree.root / f"configs/models/{name}.yaml").unlink()
    assert tree.make("-q", "results").status == 0
    done = tree.make("results")
    assert (done.status, tree.events()) == (0, []), done.text
    assert "up to date" in done.text


def test_path_of_a_result_runs_only_that_result(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    tree.file("one/beta").unlink()
    done = tree.make("results/one/alpha/results.json")
    assert (done.status, tree.ran()) == (0, ["one/alpha"]), done.text
    assert not tree.file("one/beta").exists()


def test_results_with_limit_are_kept_separately(tree: Tree) -> None:
    done = tree.make("results", "MODELS=one", "LIMIT=2")
    assert (done.status, tree.ran()) == (0, ["one/alpha", "one/beta"]), done.text
    assert tree.result("limit-2/one/alpha")["limit"] == 2
    assert tree.result("one/alpha")["limit"] is None
    done = tree.make("results", "MODELS=one", "LIMIT=2")
    assert (done.status, tree.events()) == (0, []), done.text
    quiet(tree)


def test_set_of_one_run_does_not_carry_over_to_the_next(tree: Tree) -> None:
    """`make eval SET=…` and `make results` share the specs, but each uses its own options."""
    config = "CONFIG=configs/models/one.yaml"
    assert tree.make("eval", config, "TASKS=alpha", "SET=max_model_len=77").status == 0
    assert tree.result("one/alpha")["options"]["max_model_len"] == 77
    assert tree.result("one/alpha")["set"] == "max_model_len=77"
    tree.events()
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["one/alpha"]), done.text
    assert tree.result("one/alpha")["options"]["max_model_len"] != 77
    quiet(tree)


def test_commands_on_a_model_page_reproduce_the_result(tree: Tree) -> None:
    """The config is outside configs/, with SET and LIMIT. The commands run exactly as shown."""
    config = tree.base / "else where" / "faraway.yaml"
    config.parent.mkdir()
    shutil.copy(tree.root / "configs/models/one.yaml", config)
    knobs = ("TASKS=alpha", "SET=max_model_len=77 max_num_seqs=3", "LIMIT=2")
    assert tree.make("eval", f"CONFIG={config}", *knobs).status == 0
    before = tree.result("limit-2/faraway/alpha")
    page = (tree.root / "results/limit-2/faraway/index.html").read_text()
    shown = re.search(r"<pre>(rm .*?alpha.*?)</pre>", page, re.S)
    assert shown
    remove, again = html.unescape(shown[1]).splitlines()
    assert remove == "rm results/limit-2/faraway/alpha/results.json"
    (tree.root / remove[3:]).unlink()
    words = shlex.split(again)
    assert words[:2] == ["make", "eval"]
    done = tree.make(*words[1:])
    assert done.status == 0, done.text
    after = tree.result("limit-2/faraway/alpha")
    for key in ("spec_sha256", "set", "source", "options"):
        assert after[key] == before[key]


def test_eval_test_starts_a_server_and_no_harness(tree: Tree) -> None:
    before = tree.written()
    done = tree.make("eval", "CONFIG=configs/models/one.yaml", "TEST=1")
    events = tree.events()
    assert (done.status, [e["event"] for e in events]) == (0, ["start"]), done.text
    assert tree.written() == before


@pytest.mark.slow
def test_eval_test_falls_back_if_the_environment_cannot_be_built(tree: Tree) -> None:
    tree.edit(THREE, "1.0.0", wheels.DOES_NOT_RESOLVE)
    config = "CONFIG=configs/models/three.yaml"
    done = tree.make("eval", config, "TEST=1")
    assert (done.status, [e["event"] for e in tree.events()]) == (0, ["start"]), done.text
    assert "standin-gone-from-the-index" in done.text  # 2.0.0 was tested instead
    alone = tree.make("eval", config, "TEST=1", "FALLBACK=0")
    assert alone.status != 0 and tree.events() == [], alone.text
    env = f"standin_{wheels.DOES_NOT_RESOLVE.replace('.', '_')}"
    assert f"failed: three: environment {env} could not be built" in alone.text
    assert alone.text.count(f"LOCK    venvs/{env}.lock") == 1


def by_hand(tree: Tree, env: str) -> None:
    """Change an environment as `pip install` in it would."""
    site = next((tree.root / "venvs" / env).glob("lib/*/site-packages"))
    (site / "by_hand-1.dist-info").mkdir()


def test_broken_environment_is_rebuilt_and_results_stay_up_to_date(tree: Tree) -> None:
    by_hand(tree, "standin_1_0_0")
    done = tree.make("venvs")
    assert done.status == 0, done.text
    assert "BROKEN  standin_1_0_0: its packages were changed by hand: +by_hand-1" in done.text
    assert "READY   standin_1_0_0" in done.text
    quiet(tree)
    again = tree.make("venvs")
    assert (again.status, "VENV" in again.text) == (0, False), again.text
    by_hand(tree, "standin_1_0_0")
    tree.file("three/alpha").unlink()
    done = tree.results()
    assert (done.status, tree.ran()) == (0, ["three/alpha"]), done.text
    assert "BROKEN  standin_1_0_0" in done.text
    assert not list((tree.root / "venvs/standin_1_0_0").glob("lib/*/site-packages/by_hand*"))


@pytest.mark.slow
def test_a_rebuild_waits_for_the_server(tree: Tree) -> None:
    tree.file("three/alpha").unlink()
    folder = tree.root / "venvs/standin_1_0_0"
    inode = folder.stat().st_ino
    with tree.held():
        results = tree.start("results", "MODELS=three")
        wait_for(lambda: titles(tree.events()), 20, "an evaluation")
        rebuild = tree.start("rebuild-venv", "VERSION=1.0.0", "ENGINE=standin")
        assert rebuild.stdout
        said = rebuild.stdout.readline()
        assert said == "  WAIT    standin_1_0_0: a server or a task is using it\n"
        assert (rebuild.poll(), folder.stat().st_ino) == (None, inode)
    done = ended(results)
    assert done.status == 0, done.text
    done = ended(rebuild)
    assert (done.status, "READY   standin_1_0_0" in done.text) == (0, True), done.text
    assert folder.stat().st_ino != inode
    assert tree.result("three/alpha")["engine"]["answered"] == "1.0.0"
    quiet(tree)


@pytest.mark.slow
def test_leaderboard_is_rewritten_only_if_its_content_changes(tree: Tree) -> None:
    said = {"REPORT" in tree.results().text for _ in range(2)}
    assert said == {False}
    tree.edit("models/one.yaml", "model:", "# hello\nmodel:")
    assert "REPORT" not in tree.results().text
    file = tree.root / "configs/config.yaml"
    file.write_text(file.read_text() + "leaderboard: {groups: {both: {tasks: [alpha, beta]}}}\n")
    assert "REPORT" in tree.results().text
    board = tree.root / "results/leaderboard.json"
    assert "both" in {row["group"] for row in json.loads(board.read_text())}
    assert "REPORT" not in tree.results().text
    board.unlink()
    assert "REPORT" in tree.results().text and board.exists()
    shutil.rmtree(tree.root / "results/one")
    assert "REPORT" in tree.results("TASKS=beta", "MODELS=one").text


@pytest.mark.slow
def test_leaderboard_marks_stale_results_and_each_run_updates_it(tree: Tree) -> None:
    def stale() -> list[str]:
        rows = json.loads((tree.root / "results/leaderboard.json").read_text())
        return sorted(f"{row['model']}/{row['task']}" for row in rows if row["stale"])

    assert tree.make("report").status == 0
    assert stale() == []
    tree.edit("tasks/alpha.yaml", "task_name:", "seed: 77\ntask_name:")
    assert tree.make("report").status == 0
    assert stale() == ["one/alpha", "three/alpha", "two/alpha"]
    page = (tree.root / "results/one/index.html").read_text()
    assert '<span class="mark">stale</span>' in page
    # A run of one model also updates the leaderboard. Its knobs change no other model's plan.
    (tree.root / "results/index.html").unlink()
    done = tree.make("eval", "CONFIG=configs/models/one.yaml")
    assert (done.status, tree.ran()) == (0, ["one/alpha"]), done.text
    assert stale() == ["three/alpha", "two/alpha"]
    assert (tree.root / "results/index.html").exists()
    assert (tree.root / "results/one/alpha/samples-1.js").exists()
    assert tree.make("eval", "CONFIG=configs/models/one.yaml", "LIMIT=2").status == 0
    assert (tree.root / "results/limit-2/one/index.html").exists()
    assert stale() == ["three/alpha", "two/alpha"]
    done = tree.results()
    assert (done.status, stale()) == (0, []), done.text
