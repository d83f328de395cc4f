"""Known problems, provoked on the real engine: benchy's message names the section of
docs/problems.md, and no process is left running. For problems that need a GPU, the hub or a full
disk, tests/unit/serving/test_known_failures.py checks recorded messages of the engines.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clone import make, survivors

NAME = "unwell"


def config(**changes: Any) -> Callable[[Path], None]:
    """Return a function that changes values in the model's config.json."""

    def apply(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def own_code(model: Path) -> None:
    """Give the model a config class of its own."""
    config(model_type="unwell", auto_map={"AutoConfig": "configuration_unwell.Unwell"})(model)
    (model / "configuration_unwell.py").write_text(
        "from transformers import LlamaConfig\n\n\nclass Unwell(LlamaConfig):\n"
        '    model_type = "unwell"\n'
    )


def no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def half_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def nothing(model: Path) -> None:
    pass


# (section, change to the model, override, words of benchy's message)
PROBLEMS: list[tuple[int, Callable[[Path], None], str, str]] = [
    (3, config(max_position_embeddings=2_100_000),
     "max_model_len: 2000000, "
     'engine_env: {VLLM_CPU_KVCACHE_SPACE: "1", TORCHDYNAMO_DISABLE: "1"}',
     "needs a KV cache of"),
    (14, own_code, "dtype: float32", "the model brings code of its own"),
    (15, config(architectures=["UnwellForCausalLM"]), "dtype: float32",
     "this release cannot run the model's architecture"),
    (16, config(model_type="unwell"), "dtype: float32", "does not know this kind of model"),
    (19, nothing, "max_model_len: 900000", "is more than the model was made for"),
    (23, no_weights, "dtype: float32", "a file of the model is missing or broken"),
    (23, half_weights, "dtype: float32", "a file of the model is missing or broken"),
]  # fmt: skip


@pytest.fixture(scope="module", name="tiny")
def tiny_(tree: Path) -> Path:
    """The quickstart's model, which the test of its server creates."""
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml", "TEST=1")
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "build/models/tiny"


@pytest.mark.parametrize(
    ("number", "harm", "override", "words"), PROBLEMS, ids=[f"P{p[0]:02}" for p in PROBLEMS]
)
def test_a_known_problem_is_named(
    tree: Path,
    tiny: Path,
    tmp_path: Path,
    number: int,
    harm: Callable[[Path], None],
    override: str,
    words: str,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    harm(model)
    file = tmp_path / f"{NAME}.yaml"
    file.write_text(
        f"model: {{name: {json.dumps(str(model))}}}\n"
        "vllm:\n  provider_config: vllm_cpu\n"
        f'  overrides: {{vllm_version: "0.32.0", {override}}}\ntasks: [smoke]\n'
    )
    done = make(tree, "eval", f"CONFIG={file}", "TEST=1")
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert words in text and f"(docs/problems.md, P{number:02})" in text, text
    assert "Traceback" not in text and len(text.splitlines()) < 30, text
    assert f"log: logs/serve/{NAME}.log" in text
    assert not survivors(tree)
