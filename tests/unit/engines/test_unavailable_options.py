"""Tests of options and models that the shipped engine files refuse before anything starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchy.config import engine_schema, loader, pooling_models
from benchy.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
ENGINES = ("vllm", "vllm_cpu")


def lay(root: Path, engine: str, overrides: str, name: str = "org/model") -> Path:
    shutil.copytree(ROOT / "configs/engines", root / "configs/engines", dirs_exist_ok=True)
    for file, text in {
        "providers/card.yaml": f"engine: {engine}\n",
        "tasks/spanish.yaml": "task_name: spanish_bench\n",
        "models/m.yaml": f"model:\n  name: {json.dumps(name)}\nvllm:\n  provider_config: card\n"
        f"  overrides:\n    {overrides}\ntasks: [spanish]\n",
    }.items():
        path = root / "configs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def told(root: Path) -> list[str]:
    try:
        loader.load(root)
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


REFUSED = [
    ('lora_modules: ["tuned=/data/lora"]', "every answer would be the base model's"),
    ('lora-modules: ["tuned=/data/lora"]', "merge the adapter into the model"),
    ("prompt_adapters: [a=b]", "an adapter is served under its own name"),
    ("config: /data/vllm.yaml", "options in another file are not checked"),
    ("tokens_only: true", "would not answer requests for text"),
    ("skip_tokenizer_init: true", "would not answer requests for text"),
    ("grpc: true", "would not answer requests for text"),
    ("runner: pooling", "pooling is not supported: such a server generates no text"),
    ("task: embed", "embed is not supported"),
    ("convert: classify", "classify is not supported"),
    ("logprobs_mode: raw_logits", "would take logits for log-probabilities"),
    ("data_parallel_rank: 0", "one of several that something else starts"),
]
ALLOWED = [
    "enable_lora: true", "lora_modules: null", "lora_modules: []", "tokens_only: false",
    "runner: generate", "runner: auto", "task: generate", "convert: none",
    "logprobs_mode: raw_logprobs", "data_parallel_size: 2",
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("override", "why"), REFUSED)
def test_options_that_would_falsify_answers_are_refused(
    tmp_path: Path, engine: str, override: str, why: str
) -> None:
    (message,) = told(lay(tmp_path, engine, override))
    option = override.partition(":")[0]
    assert message.startswith(f"configs/models/m.yaml:6: vllm.overrides.{option}: "), message
    assert why in message and "not supported: " in message, message


@pytest.mark.parametrize("override", ALLOWED)
def test_options_that_do_not_falsify_answers_are_accepted(tmp_path: Path, override: str) -> None:
    assert told(lay(tmp_path, "vllm", override)) == []


def test_an_unsupported_option_in_a_provider_is_reported_there(tmp_path: Path) -> None:
    lay(tmp_path, "vllm", "seed: 1")
    (tmp_path / "configs/providers/card.yaml").write_text("engine: vllm\nlora_modules: [a=b]\n")
    (message,) = told(tmp_path)
    assert message.startswith("configs/providers/card.yaml:2: lora_modules: is not supported")


def test_unsupported_options_and_values_exist_in_some_release() -> None:
    """Some release has each option, and the refused values are among its choices."""
    table = json.loads((ROOT / "docs/options.json").read_text())["vllm"]["options"]
    engines = loader.load_engines(ROOT)
    assert engines["vllm"].unsupported and engines["vllm_cpu"].unsupported
    for each in engines["vllm"].unsupported:
        entries = [e for option in each.options for e in table["--" + option.replace("_", "-")]]
        choices = {choice for entry in entries for choice in entry.get("choices", ())}
        assert set(each.values) <= choices, each.values


@pytest.mark.parametrize(
    ("value", "values", "refused"),
    [(0, [], True), (False, [], False), (None, [], False), ("", [], True), ([], [], False),
     (0, [False], False), (False, [False], True), ("a", ["a"], True), ("b", ["a"], False)],
)  # fmt: skip
def test_unsupported_options_refuse_the_declared_values(
    value: Any, values: list[Any], refused: bool
) -> None:
    one = engine_schema.Unsupported(options=["x"], values=values, why="a", use="b")
    assert one.refuses(value) is refused


POOLING = [
    ("BertModel", True), ("XLMRobertaForSequenceClassification", True), ("Qwen2Model", True),
    ("Qwen2ForRewardModel", True), ("BertForMaskedLM", True), ("JinaEmbeddingsV5Model", False),
    ("BertSpladeSparseEmbeddingModel", True),
    # These generate text, whatever suffix their names have.
    ("LlamaForCausalLM", False), ("ChatGLMModel", False), ("NVLM_D_Model", False),
    ("QWenLMHeadModel", False), ("InternVLChatModel", False), ("AquilaModel", False),
    ("T5ForConditionalGeneration", False), ("Grok1ModelForCausalLM", False),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "refused"), POOLING)
def test_local_pooling_models_are_refused(tmp_path: Path, architecture: str, refused: bool) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    found = told(lay(tmp_path, "vllm", "seed: 1", str(model)))
    assert bool(found) is refused, found
    if refused:
        assert f"m.yaml:2: model.name: {model} is a pooling model ({architecture})" in found[0]
    # An explicit runner takes precedence.
    assert told(lay(tmp_path, "vllm", "runner: generate", str(model))) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architectures": []}', '{"architectures": 3}'])
def test_architecture_is_empty_without_a_valid_model_config(tmp_path: Path, text: str) -> None:
    assert pooling_models.architecture(tmp_path) == ""
    (tmp_path / "config.json").write_text(text)
    assert pooling_models.architecture(tmp_path) == ""


@pytest.mark.parametrize(
    ("line", "pools"),
    [("(APIServer pid=1) INFO 11-28 [model.py:1308] Resolved `--runner auto` to `--runner pooling`."
      " Pass the value explicitly to silence this message.", True),
     ("INFO 11-28 [api_server.py:1] Supported tasks: ['token_embed', 'embed']", True),
     ("INFO 11-28 [api_server.py:1] Supported tasks: ['generate']", False),
     ("INFO 11-28 [api_server.py:1] Supported_tasks: ['generate', 'transcription']", False),
     ("", False)],
)  # fmt: skip
def test_pooling_is_detected_in_the_engine_log(line: str, pools: bool) -> None:
    assert pooling_models.served(line) is pools


# (option, its value, whether the file is reported as missing)
PLACED = [
    ("chat_template", "templates/pirate.jinja", False), ("chat_template", "pirate.jinja", True),
    ("chat_template", "templates/pirat.jinja", True), ("chat_template", "~/x.jinja", True),
    ("chat_template", "{{ messages }}", False), ("chat_template", "a\nb", False),
    ("tokenizer", "org/name", False), ("tokenizer", "./name", True), ("tokenizer", "~/name", True),
    ("tokenizer", "/nowhere/name", True), ("tokenizer", "./templates", False),
    ("hf_config_path", "../nowhere", True), ("download_dir", "/nowhere", False),
]  # fmt: skip


@pytest.mark.parametrize(("option", "value", "missing"), PLACED)
def test_a_missing_file_in_an_option_is_reported(
    tmp_path: Path, option: str, value: str, missing: bool
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/pirate.jinja").write_text("{{ messages }}")
    found = told(lay(tmp_path, "vllm", f"{option}: {json.dumps(value)}"))
    assert bool(found) is missing, found
    if missing:
        assert f"m.yaml:6: vllm.overrides.{option}: there is no file {value}" in found[0]


def test_an_option_file_whose_name_make_cannot_handle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a(1)").write_text("x")
    (message,) = told(lay(tmp_path, "vllm", "chat_template: templates/a(1)"))
    assert "m.yaml:6: vllm.overrides.chat_template: 'templates/a(1)' has an invalid name" in message
