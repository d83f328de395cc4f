"""Models as jobs on a real Slurm: two nodes with four fake GPUs each, and the stand-in engine.

These tests cover what benchy does with Slurm, not Slurm itself: widths, exit statuses, canceled
jobs, failing nodes, killed runs, and that the jobs of others are left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

from benchy.display import activity
from slurmtree import WIDE, WIDTHS, House, displace, evaluating, job_of, over, running, stopped
from trees import ended, read_until, wait_for

ALL = " ".join(WIDTHS)


def test_six_models_of_mixed_widths_share_eight_gpus(house: House) -> None:
    def waiting() -> str:
        said = json.loads(house.make("status", f"MODELS={ALL}", "FORMAT=json").text)
        texts = [c["text"] for c in said["results"] if c["state"] == "waiting"]
        return next((t for t in texts if "PENDING" in t), "")

    with house.held():
        run = house.start("-j20", "results", f"MODELS={ALL}")
        rows = running(house, 3)
        expected = r"\d+\|benchy:\w+:[^:]+:\d+\.\d+:w\d.\|RUNNING"
        assert all(re.fullmatch(expected, row) for row in rows)
        # The models need 14 GPUs: some jobs wait, and `make status` reports Slurm's reason.
        wait_for(lambda: [r for r in house.cluster.jobs() if r.endswith("|PENDING")], 20, "waiting")
        text = wait_for(waiting, 20, "what is waited for")
    assert re.match(r"job \d+: PENDING \((Resources|Priority|None)", text), text
    done = ended(run)
    assert done.status == 0, done.text
    starts = {e["model"].removeprefix("acme/"): e for e in house.events() if e["event"] == "start"}
    for name, width in WIDTHS.items():
        cards = starts[name]["CUDA_VISIBLE_DEVICES"].split(",")
        assert len(cards) == width and set(cards) <= {"0", "1", "2", "3"}, starts[name]
    assert "  COST    GPU-hours: " in done.text
    for name, width in WIDTHS.items():
        assert len(house.result(f"{name}/alpha")["gpus"]) == width
    over(house)
    again = house.make("-j20", "results", f"MODELS={ALL}")
    assert again.status == 0 and "up to date" in again.text and not house.ran()


def test_a_failing_model_fails_alone(house: House) -> None:
    done = house.make(
        "-j20", "results", "MODELS=w1a w1b", STANDIN_FAIL="oom", STANDIN_FAIL_MODEL="acme/w1a"
    )
    assert done.status == 2
    assert "  FAILED  results/w1a/alpha/results.json\n" in done.text
    assert "the memory does not hold the model" in done.text
    assert house.ran() == ["w1b/alpha"]
    over(house)


def test_a_canceled_job_is_reported_and_not_repeated(house: House) -> None:
    with house.held():
        run = house.start("-j20", "results", "MODELS=w1a w1b")
        evaluating(house, "w1a")
        job = job_of(house, "w1a")
        house.cluster.run("scancel", job)
        stopped(house, job)
    done = ended(run)
    assert done.status == 2, done.text
    assert re.search(r"JOB     w1a: job \d+: CANCELLED", done.text), done.text
    assert re.search(r"its job \d+: CANCELLED.* on n\d", done.text), done.text
    assert "AGAIN" not in done.text and house.ran()[-1] == "w1b/alpha"
    assert not house.file("w1a/alpha").exists() and house.file("w1b/alpha").exists()
    over(house)
    done = house.make("-j20", "results", "MODELS=w1a w1b")
    assert done.status == 0 and house.ran() == ["w1a/alpha"]


def test_a_job_is_repeated_after_its_node_goes_down(house: House) -> None:
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        job, node = job_of(house, "w4a"), house.cluster.run("squeue", "-h", "-o", "%N").strip()
        house.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        stopped(house, job)
    try:
        done = ended(run)
    finally:
        with contextlib.suppress(RuntimeError):  # the node is back already (ReturnToService)
            house.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert done.status == 0, done.text
    assert re.search(rf"JOB     w4a: job \d+: NODE_FAIL.* on {node}", done.text), done.text
    assert "AGAIN   w4a: new job for 1 tasks; finished requests are kept" in done.text
    assert house.file("w4a/alpha").exists()
    over(house)


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_killed_or_interrupted_make_leaves_no_job(house: House, how: str) -> None:
    with house.held():
        run = house.start("-j20", "results", f"MODELS={ALL}")
        evaluating(house, "w1a")
        wait_for(lambda: len(house.cluster.jobs()) == len(WIDTHS), 30, "all jobs, some pending")
        if how == "SIGINT":
            os.killpg(run.pid, signal.SIGINT)
        else:
            run.kill()
        ended(run)
        over(house)
        wait_for(lambda: not house.processes(), 30, "no process")
    assert not house.written()


def test_jobs_of_a_dead_run_are_canceled_and_others_are_kept(house: House) -> None:
    """As after a crash of the login node, when no process is left to end the jobs."""
    with house.held():
        run = house.start("-j20", "results", "MODELS=w1a")
        evaluating(house, "w1a")
        (row,) = running(house)
        job, comment, _ = row.split("|")
        house.cluster.run("scancel", job)
        ended(run)
    over(house)

    def leave(text: str) -> str:
        words = ["sbatch", "--parsable", f"--comment={text}", "--output=/dev/null"]
        return house.cluster.run(*words, "--wrap", "sleep 300").strip()

    checkout, host, process = comment.split(":")[1:4]
    note = house.root / "run/board/run/login2.7.json"
    note.write_text(json.dumps({"pid": 7, "ticks": 99, "host": "login2", "began": 1}))
    os.utime(note, (time.time() - 300, time.time() - 300))
    mine = leave(f"benchy:{checkout}:{host}:{process}:w1a")
    silent = leave(f"benchy:{checkout}:login2:7.99:w1a")  # another login node, whose note is old
    others = [
        leave(f"benchy:{'0' * 10}:{host}:{process}:w1a"),  # another checkout
        leave(f"benchy:{checkout}:elsewhere:{process}:w1a"),  # another login node, without a note
        leave(
            f"benchy:{checkout}:{host}:{os.getpid()}.{activity.ticks(os.getpid())}:w1a"
        ),  # a running process
        leave("somebody's"),
    ]
    try:
        done = house.make("-j20", "results", "MODELS=w1a")
        assert done.status == 0, done.text
        for job in (mine, silent):
            assert f"CANCEL  job {job} of w1a, left by a run that was killed" in done.text
        wait_for(
            lambda: {row.split("|")[0] for row in house.cluster.jobs()} == set(others),
            20,
            f"only others' jobs: {house.cluster.jobs()}",
        )
    finally:
        house.cluster.run("scancel", mine, silent, *others)
        over(house)


def test_a_dead_run_can_be_repeated_at_once(house: House) -> None:
    """All its processes on the login node are killed at once, srun included."""
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a w4b")
        evaluating(house, "w4a")
        jobs = {row.split("|")[0] for row in running(house, 2)}
        found = house.processes().items()
        ours = [pid for pid, words in found if " run results" in words or "srun" in words]
        for pid in [run.pid, *ours]:
            os.kill(pid, signal.SIGKILL)
        ended(run)
        again = house.start("-j20", "results", "MODELS=w4a w4b")
        wait_for(
            lambda: not jobs & {row.split("|")[0] for row in house.cluster.jobs()},
            30,
            f"an end of the dead run's jobs {jobs}",
        )
    done = ended(again)
    assert done.status == 0, done.text
    for job in jobs:
        assert f"CANCEL  job {job} of w4" in done.text
    assert "results: 2 made, 0 up to date" in done.text
    over(house)


def test_a_preempted_job_is_repeated(house: House) -> None:
    with house.held():
        run = house.start("-j20", "results", "MODELS=w4a")
        evaluating(house, "w4a")
        displace(house, "w4a")
    done = ended(run)
    assert done.status == 0, done.text
    assert re.search(r"JOB     w4a: job \d+: PREEMPTED.* on n\d", done.text), done.text
    assert "AGAIN   w4a: new job for 1 tasks; finished requests are kept" in done.text
    over(house)


def test_a_time_limit_is_reported_and_the_job_repeated(house: House) -> None:
    """Slurm's shortest limit is one minute; it checks limits twice per minute."""
    file = house.root / "configs/models/w1a.yaml"
    file.write_text(file.read_text() + "resources: {time: '1'}\n")
    with house.held():
        run = house.start("-j20", "results", "MODELS=w1a")
        evaluating(house, "w1a")
        text = read_until(run, "AGAIN")
        os.killpg(run.pid, signal.SIGTERM)
        ended(run)
    assert re.search(r"JOB     w1a: job \d+: TIMEOUT \(TimeLimit\) on n\d", text), text
    over(house)


def test_a_refused_requeue_does_not_disturb_the_job(house: House) -> None:
    """Slurm requeues only batch jobs, and benchy's jobs are those of srun."""
    with house.held():
        run = house.start("-j20", "results", "MODELS=w1a")
        evaluating(house, "w1a")
        with pytest.raises(RuntimeError, match="Only batch jobs are accepted"):
            house.cluster.run("scontrol", "requeue", job_of(house, "w1a"))
    done = ended(run)
    assert done.status == 0, done.text
    assert "  JOB  " not in done.text and "  AGAIN  " not in done.text, done.text
    assert len([e for e in house.events() if e["event"] == "start"]) == 1
    assert house.file("w1a/alpha").exists()
    over(house)


def test_a_model_wider_than_a_node_runs_on_two_nodes(house: House) -> None:
    (house.root / "configs/models/wide.yaml").write_text(WIDE)
    with house.held():
        run = house.start("-j4", "results", "MODELS=wide")
        evaluating(house, "wide")
        nodes = house.cluster.run("squeue", "-h", "-o", "%N|%D").split()
    assert nodes == ["n[1-2]|2"]
    done = ended(run)
    assert done.status == 0, done.text
    events = [e for e in house.events() if e["event"] in ("start", "follow")]
    first, second = sorted(events, key=lambda event: event["event"] == "follow")
    assert (first["event"], second["event"]) == ("start", "follow")
    for rank, event in enumerate((first, second)):
        words = event["argv"]
        assert event["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
        assert {"--nnodes=2", f"--node-rank={rank}", "--tensor-parallel-size=4"} <= set(words)
        assert "--pipeline-parallel-size=2" in words
    port = [w for w in first["argv"] if w.startswith("--master-")]
    assert port == [w for w in second["argv"] if w.startswith("--master-")]
    made = house.result("wide/alpha")
    assert made["nodes"] == 2 and len(made["gpus"]) == 4 and "--nnodes=2" in made["arguments"]
    over(house)
    wait_for(lambda: not house.processes(), 20, "no process")
    assert not list((house.root / "run/nodes").iterdir())


@pytest.mark.parametrize("who", ["first", "other"])
def test_a_model_on_two_nodes_is_repeated_if_either_dies(house: House, who: str) -> None:
    (house.root / "configs/models/wide.yaml").write_text(WIDE)
    with house.held():
        run = house.start("-j4", "results", "MODELS=wide")
        evaluating(house, "wide")
        job = job_of(house, "wide")
        events = {e["event"]: e for e in house.events() if e["event"] in ("start", "follow")}
        os.kill(events["start" if who == "first" else "follow"]["pid"], signal.SIGKILL)
        stopped(house, job)
    done = ended(run)
    assert done.status == 0, done.text
    assert "AGAIN   wide: new job for 2 tasks" in done.text
    over(house)
    wait_for(lambda: not house.processes(), 20, "no process")


UNEVEN = [
    ("tensor_parallel_size: 5", "5 GPUs are not divisible by the nodes: wide runs over 2 nodes"),
    (
        "tensor_parallel_size: 4, data_parallel_size: 2",
        "data_parallel_size: works on one node only: wide runs over 2 nodes",
    ),
    (
        'tensor_parallel_size: 8, vllm_version: "1.1.0"',
        "vllm_version: standin-engine 1.1.0 has no --nnodes: wide runs over 2 nodes",
    ),
]


@pytest.mark.parametrize(("overrides", "words"), UNEVEN)
def test_options_that_cannot_span_nodes_are_rejected(
    house: House, overrides: str, words: str
) -> None:
    text = WIDE.replace("tensor_parallel_size: 4, pipeline_parallel_size: 2", overrides)
    (house.root / "configs/models/wide.yaml").write_text(text)
    house.make("venvs", LAUNCHER="local")
    done = house.make("-j4", "results", "MODELS=wide")
    assert done.status == 2 and words in done.text, done.text
    assert "error: configs/models/wide.yaml" in done.text


def test_environments_are_used_from_a_nodes_own_disk(house: House) -> None:
    disk = house.base / "disk"
    disk.mkdir()

    def run(*words: str, **more: str) -> tuple[str, set[str]]:
        """Return the output, and the Pythons of engine and harness while they run."""
        with house.held():
            make = house.start(*words, **more)
            evaluating(house, "w2a")
            found = wait_for(
                lambda: (p := pythons(house)) and len(p) == 2 and p, 30, "engine and harness"
            )
        done = ended(make)
        assert done.status == 0, done.text
        return done.text, set(found.values())

    words = ("-j4", "results", "MODELS=w2a")
    text, used = run(*words, NODE_SCRATCH="$DISK", DISK=str(disk))
    assert text.count("PACK    venvs/.packed/") == 2 and text.count("UNPACK  ") == 2
    assert all(python.startswith(f"{disk}/benchy-") for python in used), used
    made = house.result("w2a/alpha")
    assert made["engine"]["environment"] == "standin_gpu_2_0_0"
    house.file("w2a/alpha").unlink()
    text, used = run(*words, NODE_SCRATCH="$DISK", DISK=str(disk))
    assert "PACK " not in text and all(python.startswith(str(disk)) for python in used)

    # Another build of an environment replaces its archive and its copy.
    copies = set(disk.glob("*/*/standin_gpu_2_0_0/[!.]*"))
    words_of_build = ["bin/venv", "create", "--anew", "standin_gpu_2_0_0"]
    subprocess.run(words_of_build, cwd=house.root, env=house.environ(), check=True)
    house.file("w2a/alpha").unlink()
    text, used = run(*words, NODE_SCRATCH=str(disk))
    assert text.count("PACK    ") == 1 and text.count("UNPACK  ") == 1
    assert len(copies) == 1 and not copies & set(disk.glob("*/*/standin_gpu_2_0_0/[!.]*"))
    assert len(list(house.root.glob("venvs/.packed/standin_gpu_2_0_0/*"))) == 1

    # If the folder does not exist, the shared environments serve.
    house.file("w2a/alpha").unlink()
    text, used = run(*words, NODE_SCRATCH="$NOWHERE/x")
    assert "which is not an absolute path; the original is used" in text
    assert all(python.startswith(f"{house.root}/venvs/") for python in used), used


def pythons(house: House) -> dict[str, str]:
    """Return -m MODULE → Python of the running engines and harnesses."""
    found = {}
    for words in house.processes().values():
        if match := re.match(r"(\S+/bin/python) .*?(-m (?:standin_engine|lm_eval))\b", words):
            found[match[2]] = match[1]
    return found


def test_each_waiting_job_uses_little_memory(house: House) -> None:
    """Each of ten waiting jobs has a process that uses less than 10 MiB."""
    for number in range(10):
        text = (house.root / "configs/models/w4a.yaml").read_text()
        path = house.root / f"configs/models/x{number}.yaml"
        path.write_text(text.replace("w4a", f"x{number}"))
    with house.held():
        run = house.start("-j20", "results", "MODELS=x*")
        wait_for(lambda: len(house.cluster.jobs()) == 10, 60, "ten jobs")
        time.sleep(1)
        sizes = []
        for pid, words in house.processes().items():
            if words.startswith("srun") or "/srun " in words.split(" -- ")[0]:
                with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123
                    sizes.append(int(re.search(r"^Pss: +(\d+)", file.read(), re.M)[1]) / 1024)  # type: ignore[index]
        assert len(sizes) >= 10 and max(sizes) < 10, sizes
        os.killpg(run.pid, signal.SIGTERM)
        ended(run)
    over(house)
