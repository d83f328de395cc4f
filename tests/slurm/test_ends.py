"""Jobs that end abnormally on a real Slurm: which are repeated, which are canceled, and that no job
is left in the queue, whichever process is killed and whenever."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
import yaml

from slurmtree import WIDE, House, displace, evaluating, job_of, over, running, stopped
from trees import Done, ended, read_until, wait_for

AGAIN = "AGAIN   w4a: new job for 1 tasks; finished requests are kept"


def asked(house: House, **resources: object) -> None:
    """Add `resources` to the config of model w4a."""
    file = house.root / "configs/models/w4a.yaml"
    file.write_text(file.read_text() + yaml.safe_dump({"resources": resources}))


def sruns(house: House, model: str) -> list[int]:
    """Return the pids of a model's srun: the first, and one that cancels the job if that dies."""
    found = house.processes().items()
    return sorted(p for p, words in found if words.startswith("srun ") and f":{model} " in words)


def test_a_preempted_job_with_a_slow_epilog_is_repeated(house: House) -> None:
    """Slurm reports COMPLETING until the epilog has ended, and only then PREEMPTED."""
    slow = house.cluster.base / "slow"
    slow.touch()
    try:
        with house.held():
            run = house.start("-j20", "results", "MODELS=w4a")
            evaluating(house, "w4a")
            displace(house, "w4a")
        done = ended(run)
    finally:
        slow.unlink()
    assert done.status == 0 and AGAIN in done.text, done.text
    assert re.search(r"JOB     w4a: job \d+: PREEMPTED on n\d", done.text), done.text
    over(house)


def test_a_preempted_job_that_ends_within_its_grace_is_repeated(house: House) -> None:
    """Slurm reports FAILED, because the job ended when it got the signal to end."""
    asked(house, partition="grace")
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        displace(house, "w4a")
    done = ended(run)
    assert done.status == 0 and AGAIN in done.text, done.text
    over(house)


def test_a_repeated_job_continues_from_its_cached_answers(house: House) -> None:
    run = house.start(
        "-j20", "results", "MODELS=w4a", STANDIN_HARNESS_SECONDS="6",
        STANDIN_HARNESS_REQUESTS="12", STANDIN_HARNESS_CACHE="1",
    )  # fmt: skip
    evaluating(house, "w4a")
    wait_for(lambda: len(answers(house)) >= 3, 60, "some answers")
    with house.held():
        displace(house, "w4a")
    done = ended(run)
    assert done.status == 0 and AGAIN in done.text, done.text
    first, second = (e["kept"] for e in house.events() if e["event"] == "eval")
    assert first == 0 and 3 <= second < 12
    over(house)


def answers(house: House) -> list[str]:
    """Return the cached answers of the stand-in harness. The files exist only while it runs."""
    found = (house.root / "build/cache").rglob("answers_rank0.jsonl")
    return [line for path in found for line in path.read_text().splitlines()]


@pytest.mark.parametrize("who", ["first", "both"])
def test_a_job_whose_srun_is_killed_is_canceled_and_repeated(house: House, who: str) -> None:
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        job = job_of(house, "w4a")
        first, second = sruns(house, "w4a")
        for pid in [second, first] if who == "both" else [first]:
            os.kill(pid, signal.SIGKILL)
        stopped(house, job)
    done = ended(run)
    said = f"CANCEL  job {job} of w4a, whose command has ended"
    assert (said in done.text) == (who == "both"), done.text
    assert done.status == 0 and AGAIN in done.text, done.text
    over(house)


WRAPPED = 'import sys, subprocess; sys.exit(subprocess.run(["srun", *sys.argv[1:]]).returncode)'


@pytest.mark.parametrize("how", ["killed", "wrapped"])
def test_ctrl_c_cancels_a_job_that_lost_its_srun(house: House, how: str) -> None:
    """Also if a site's wrapper around srun does not forward the signal."""
    file = house.root / "configs/launchers/slurm.yaml"
    if how == "wrapped":
        says = yaml.safe_load(file.read_text())
        words = ["python3", "-c", WRAPPED, *says["command"][1:]]
        file.write_text(yaml.safe_dump({**says, "command": words}))
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a w4b")
        evaluating(house, "w4a")
        running(house, 2)
        if how == "killed":
            for pid in reversed(sruns(house, "w4a")):
                os.kill(pid, signal.SIGKILL)
        os.killpg(run.pid, signal.SIGINT)
        done = ended(run)
    assert "of w4a, left by this run" in done.text, done.text
    over(house)
    wait_for(lambda: not house.processes(), 60, "no process")


def test_a_result_is_made_although_the_node_loses_power(house: House) -> None:
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        node = house.cluster.run("squeue", "-h", "-o", "%N").strip()
        house.cluster.kill_node(node)
    try:
        done = ended(run)
    finally:
        house.cluster.node(node)
    assert done.status == 0 and house.file("w4a/alpha").exists(), done.text
    over(house, 90)
    idle = ["idle"]
    wait_for(lambda: house.cluster.run("sinfo", "-h", "-o", "%T").split() == idle, 90, "idle nodes")


def test_a_refused_submission_is_repeated(house: House) -> None:
    """Slurm refuses jobs when slurmctld is not ready yet, for example."""
    house.cluster.run("scontrol", "update", "partitionname=gpu", "state=inactive")
    try:
        run = house.start("-j20", "results", "MODELS=w4a")
        text = read_until(run, "Unable to allocate resources")
    finally:
        house.cluster.run("scontrol", "update", "partitionname=gpu", "state=up")
    done = ended(run)
    assert done.status == 0 and AGAIN in done.text, text + done.text
    over(house)


def test_a_make_within_an_allocation_submits_separate_jobs(house: House) -> None:
    """Otherwise they would be steps of the allocation, without a comment and with its GPUs. With
    SLURM_EXPORT_ENV=NONE, they would also get no variables."""
    words = ["salloc", "--quiet", "--nodes=1", "--gres=gpu:1", "make", "-j20", "results"]
    done = subprocess.run(
        [*words, "MODELS=w1a w4a"], cwd=house.root, env=house.environ(SLURM_EXPORT_ENV="NONE"),
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert house.ran() == ["w1a/alpha", "w4a/alpha"]
    rows = house.cluster.run("squeue", "--states=all", "-h", "-o", "%T|%k").splitlines()
    assert {r.split(":")[-1] for r in rows if r.startswith("COMPLETED|benchy:")} >= {"w1a", "w4a"}
    over(house)


def test_a_failing_task_on_several_nodes_is_not_repeated(house: House) -> None:
    """Slurm ends the second node with the first, so its status says nothing about the task."""
    (house.root / "configs/models/wide.yaml").write_text(WIDE.replace("[alpha, beta]", "[alpha]"))
    done = house.make("-j4", "results", "MODELS=wide", STANDIN_HARNESS_FAIL="exit")
    assert done.status == 2 and "AGAIN" not in done.text, done.text
    assert "the harness ended with status 1" in done.text.split("FAILED", 1)[1], done.text
    assert house.ran() == ["wide/alpha"]
    over(house)
    assert not list((house.root / "run/nodes").iterdir())


def test_status_reports_job_state_and_node(house: House) -> None:
    def told() -> str:
        said = json.loads(house.make("status", "MODELS=w4a", "FORMAT=json").text)
        return str(next((c["job"] for c in said["results"] if c["state"] == "running"), ""))

    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        job = job_of(house, "w4a")
        shown = wait_for(told, 60, "a job")
        assert re.fullmatch(rf"job {job}: RUNNING on n\d", shown), shown
        assert f"; {shown}" in house.make("status", "MODELS=w4a").text
    assert ended(run).status == 0
    over(house)


def test_a_job_leaves_no_files_in_tmpdir(house: House) -> None:
    place = house.base / "tmp"
    place.mkdir()
    done = house.make("-j20", "results", "MODELS=w1a", TMPDIR=str(place))
    assert done.status == 0 and not list(place.glob("benchy-*/**/*")), done.text
    over(house)


def builds(house: House) -> set[str]:
    """Return PARTITION|NAME of the builds that ran as jobs of this tree."""
    rows = house.cluster.run("squeue", "--states=all", "-h", "-o", "%Z|%P|%k").splitlines()
    return {
        f"{partition}|{comment.split(':')[-1]}"
        for where, partition, comment in (row.split("|", 2) for row in rows)
        if where == str(house.root) and ":build-" in comment
    }


BOTH = {"builds|build-standin_gpu_2_0_0", "builds|build-lm_eval_0_0_2"}


def test_builds_run_as_jobs_in_their_partition(bare_house: House) -> None:
    house = bare_house
    (house.root / "configs/config.yaml").write_text("slurm: {build: {partition: builds}}\n")
    done = house.make("-j4", "results", "MODELS=w1a", "BUILD_ON=slurm")
    assert done.status == 0 and builds(house) == BOTH, done.text
    over(house)


def test_make_venvs_builds_environments_as_jobs(bare_house: House) -> None:
    house = bare_house
    for file in (house.root / "configs/models").glob("[!w]*.yaml"):
        file.unlink()
    (house.root / "configs/config.yaml").write_text("slurm: {build: {partition: builds}}\n")
    done = house.make("-j4", "venvs", "BUILD_ON=slurm")
    assert done.status == 0 and builds(house) == BOTH, done.text
    done = house.make("-j4", "venvs", "BUILD_ON=slurm")
    assert done.status == 0 and "every environment is ready" in done.text
    over(house)


def test_a_server_test_runs_its_builds_as_jobs(bare_house: House) -> None:
    house = bare_house
    config = "CONFIG=configs/models/w1a.yaml"
    done = house.make("eval", config, "TEST=1", "BUILD_ON=slurm")
    assert done.status == 0 and "logprobs" in done.text, done.text
    assert builds(house) == {"gpu|build-standin_gpu_2_0_0"}
    over(house)


MISTAKES = [
    ("results MODELS=w1a", {"LAUNCHER": "slrum"},
     "error: LAUNCHER: there is no launcher 'slrum'\n  known: local, slurm"),
    ("results MODELS=w1a", {"BUILD_ON": "moon"},
     "error: BUILD_ON=moon is unknown\n  write login or slurm"),
    ("venvs", {"BUILD_ON": "slurm", "LAUNCHER": "local"},
     "error: BUILD_ON=slurm needs a launcher\n  write LAUNCHER=slurm with it, or BUILD_ON=login"),
]  # fmt: skip


@pytest.mark.parametrize(("goal", "knobs", "words"), MISTAKES)
def test_wrong_launcher_knobs_are_reported(
    bare_house: House, goal: str, knobs: dict[str, str], words: str
) -> None:
    done = bare_house.make("-j4", *goal.split(), **knobs)
    assert done.status == 2 and words in done.text, done.text


def test_an_invalid_partition_is_reported_with_slurms_reason(house: House) -> None:
    file = house.root / "configs/models/w1a.yaml"
    file.write_text(file.read_text() + "resources: {partition: nowhere, time: '10'}\n")
    done = house.make("-j4", "results", "MODELS=w1a")
    assert done.status == 2 and "invalid partition specified: nowhere" in done.text, done.text
    assert "w1a failed 4 times, last: no job was created" in done.text
    assert "Traceback" not in done.text


SEED = int(os.environ.get("BENCHY_SEED", "20261126"))
ROUNDS = int(os.environ.get("BENCHY_SLURM_KILLS", "6"))
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MANY = "MODELS=w1a w2a w2b w4a w4b"


def test_kills_at_random_moments_leave_no_job(house: House) -> None:
    """The rounds share one tree; a last run then makes all results. SIGINT goes to make's process
    group, as at a terminal; the other signals go to make alone."""
    dice = random.Random(SEED)  # noqa: S311
    quick = {"STANDIN_HARNESS_SECONDS": "2"}
    for number in range(ROUNDS):
        how, pause = dice.choice(SIGNALS), dice.uniform(0.5, 12)
        run = house.start("-j20", "results", MANY, **quick)
        time.sleep(pause)
        (os.killpg if how == signal.SIGINT else os.kill)(run.pid, how)
        text = ended(run).text
        about = f"round {number} of seed {SEED}: {how.name} after {pause:.1f} s\n{text}"
        wait_for(lambda: not house.processes(), 90, f"no process, {about}")
        wait_for(lambda: not house.cluster.jobs(), 60, f"no job, {about}")
    done: Done = house.make("-j20", "results", MANY, **quick)
    assert done.status == 0, done.text
    assert len(house.written()) == 5
    over(house)
