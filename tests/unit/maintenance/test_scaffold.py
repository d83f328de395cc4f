"""Writing a config from a model's files."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchy.cli import new as new_command
from benchy.config import loader
from benchy.core import paths
from benchy.core.errors import Failure, UsageError
from benchy.devices import gpu
from benchy.hub import model_info
from benchy.hub.model_info import ModelInfo
from benchy.maintenance import scaffold
from hubstandin import COMMIT, Hub

ROOT = Path(__file__).parents[3]
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16", "num_attention_heads": 12,
}  # fmt: skip
CARD = gpu.Gpu(0, "GPU-a", "x", 24564, 0, "1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "gpus", lambda: [CARD, CARD])
    for name in ("MODEL", "NAME", "PROVIDER", "TASKS", "BENCHY_CWD", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


def model(folder: Path, told: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer or {}))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(30 * 10**9)  # sparse: uses no disk space
    return folder


CONTEXTS = [
    ({"max_position_embeddings": 4096}, 4096),
    ({"n_positions": 1024}, 1024),
    ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
    ({"max_position_embeddings": 131072,
      "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
    ({"text_config": {"max_position_embeddings": 32768}, "max_position_embeddings": 1}, 32768),
    ({"max_position_embeddings": "many"}, None),
    ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("told", "expected"), CONTEXTS)
def test_context_length_is_read_from_the_config(told: dict[str, Any], expected: int | None) -> None:
    assert ModelInfo(told).context == expected


SPLITS = [(10, 12, 2, 1), (30, 12, 2, 2), (30, 7, 2, 1), (90, 12, 8, 8), (999, 12, 8, 1)]


@pytest.mark.parametrize(("gigabytes", "heads", "most", "expected"), SPLITS)
def test_split_fits_the_weights_and_divides_the_heads(
    gigabytes: int, heads: int, most: int, expected: int
) -> None:
    heads = heads * 8 if most == 8 else heads
    facts = ModelInfo({"num_attention_heads": heads}, weights=gigabytes * 10**9)
    assert scaffold.split(facts, 24 * 10**9, most) == expected


def test_config_from_a_local_directory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model(here / "Some Model", LLAMA, {"chat_template": "{{ x }}"})
    assert new_command.main([str(folder), "--name", "mine"]) == 0
    text = Path("configs/single_card/mine.yaml").read_text()
    assert capsys.readouterr().out == text
    assert f'name: "{folder}"' in text
    assert "max_model_len: 4096" in text and "# all that it has; the provider's is 8,192" in text
    assert "tensor_parallel_size: 2" in text and "its weights: 30.0 GB, over GPUs of 24 GiB" in text
    assert "its weights are bfloat16" in text and "it has a chat template" in text
    assert "architecture: LlamaForCausalLM" in text
    (made,) = loader.load(here, Path("configs/single_card/mine.yaml")).models
    assert made.serving.tensor_parallel_size == 2 and made.gpus == 2


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {
        "config.json": json.dumps(LLAMA | {"auto_map": {"a": "b"}}).encode(),
        "model.safetensors": b"x" * 1000,
        "original/consolidated.00.pth": b"y" * 5000,
    }
    made = Hub({"org/Open-1B": files, "org/gated": files})
    made.gated["org/gated"] = "hf_good"
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.shutdown()
    made.server_close()


def test_config_from_a_hub_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_command.main(["org/Open-1B"]) == 0
    text = Path("configs/single_card/Open-1B.yaml").read_text()
    assert f'# revision: "{COMMIT}"' in text and "Gated" not in text
    assert "its weights: 0.0 GB, for a GPU of 24 GiB" in text
    assert "write trust_remote_code: true" in text and "it has no chat template" in text
    assert model_info.of("org/Open-1B").weights == 1000
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert new_command.main(["org/gated"]) == 0
    text = Path("configs/single_card/gated.yaml").read_text()
    assert "# Gated: accept" in text and "hf_good" not in text


def test_without_a_hub_a_minimal_config_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(gpu, "gpus", list)
    assert new_command.main(["org/name"]) == 0
    text = Path("configs/single_card/name.yaml").read_text()
    assert "# Written without a look at its files: the hub can't be reached" in text
    assert 'provider_config: "vllm_cpu"' in text and "overrides: {}" in text
    assert loader.load(here, Path("configs/single_card/name.yaml"))


TASKS = sorted(path.stem for path in (ROOT / "configs/tasks").glob("*.yaml"))
MISTAKES = [
    ([], "MODEL: is missing"),
    (["just-a-name"], "neither a directory nor a model on the hub"),
    (["org/quickstart"], "the model quickstart already exists: configs/quickstart.yaml"),
    (["org/x", "--provider", "vllm_single"], "no provider is named 'vllm_single'"),
    (["org/x", "--name", "a b"], "is not a valid model name"),
    (["org/../x"], "neither a directory"),
    (
        ["org/x", "--tasks", "smoke spansh"],
        "TASKS: there is no task 'spansh'\n  did you mean 'spani",
    ),
    (["org/x", "--tasks", "qqq"], f"there are {', '.join(TASKS)}; make tasks"),
]


@pytest.mark.parametrize(("argv", "words"), MISTAKES)
def test_wrong_arguments_are_reported_and_write_nothing(argv: list[str], words: str) -> None:
    before = sorted(Path("configs/single_card").iterdir())
    with pytest.raises(UsageError) as refused:
        new_command.main(argv)
    assert words in str(refused.value)
    assert sorted(Path("configs/single_card").iterdir()) == before


def test_existing_config_is_not_overwritten(here: Path) -> None:
    folder = model(here / "m", LLAMA)
    assert new_command.main([str(folder)]) == 0
    with pytest.raises(UsageError, match="the model m already exists"):
        new_command.main([str(folder)])


def test_directory_without_a_model_is_refused(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(Failure, match="is not a model"):
        new_command.main([str(here / "empty")])


def test_without_a_terminal_the_default_task_is_used(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model(here / "m", LLAMA)
    assert new_command.main([str(folder)]) == 0
    (made,) = loader.load(here, Path("configs/single_card/m.yaml")).models
    assert made.tasks == ("smoke",)
    told = capsys.readouterr().err
    assert "smoke; other tasks:" in told and "make tasks lists" in told
    for other in ("portuguese", "spanish", "translation"):
        description = loader.load(here).tasks[other].description
        assert f"  {other}" in told and description in told


def test_named_tasks_are_used_without_duplicates(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKS", "translation smoke translation")
    assert new_command.main([str(model(here / "m", LLAMA))]) == 0
    (made,) = loader.load(here, Path("configs/single_card/m.yaml")).models
    assert made.tasks == ("translation", "smoke")


ANSWERS = [
    ("\n", ["smoke"], 1),
    ("spanish smoke\n", ["spanish", "smoke"], 1),
    ("spansh\nspanish\n", ["spanish"], 2),
]


@pytest.mark.parametrize(("typed", "expected", "times"), ANSWERS)
def test_terminal_prompts_for_tasks_until_they_exist(
    here: Path, typed: str, expected: list[str], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, ours = pty.openpty()
    with os.fdopen(ours, closefd=False) as reads, os.fdopen(ours, "w", 1) as writes:
        monkeypatch.setattr("sys.stdin", reads)
        monkeypatch.setattr("sys.stderr", writes)
        os.write(terminal, typed.encode())
        known = loader.ConfigLoader(here).known.tasks
        assert scaffold.tasks_of("", known) == expected
    said = ""
    with contextlib.suppress(OSError):  # Linux raises it at the end of a terminal
        while data := os.read(terminal, 100_000):
            said += data.decode()
    os.close(terminal)
    assert said.count("Which tasks? [smoke]") == times
    assert known["spanish"].description in said
