"""Recognizes models that generate no text: encoders, embedders, classifiers, reward models.

vLLM serves them with its pooling runner, which has no /v1/completions. The architectures are those
in vLLM's model_executor/models/registry.py and config/model.py (_SUFFIX_TO_DEFAULTS), 0.6 to 0.32,
that no release generates text with. Other models whose names end the same way are recognized after
the server starts.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchy.core import files

_NAMES = frozenset(
    {
        "BertModel", "CLIPModel", "DistilBertModel", "Gemma2Model", "Gemma3TextModel", "GteModel",
        "GteNewModel", "LlamaBidirectionalModel", "LlamaModel", "MPNetModel", "MistralModel",
        "ModernBertModel", "NomicBertModel", "Qwen2Model", "RobertaModel", "SiglipModel",
        "XLMRobertaModel",
    }
)  # fmt: skip
_SUFFIXES = (
    "ForSequenceClassification", "ForTokenClassification", "ForImageClassification",
    "ForTextEncoding", "ForMaskedLM", "ForRewardModeling", "ForRewardModel",
    "ForProcessRewardModel", "EmbeddingModel",
)  # fmt: skip
# Options with which the user says how to load the model.
SAID = frozenset({"runner", "task", "convert", "hf_overrides", "hf_config_path", "model_impl"})


def architecture(folder: Path) -> str:
    """Return the architecture of a model's directory if it certainly generates no text, else ""."""
    named = files.read_json(folder / "config.json").get("architectures")
    if not isinstance(named, list) or not named:
        return ""
    certain = all(isinstance(n, str) and (n in _NAMES or n.endswith(_SUFFIXES)) for n in named)
    return str(named[0]) if certain else ""


def served(log: str) -> bool:
    """Return whether an engine's log (vLLM 0.9 to 0.32) says that it serves a pooling model."""
    if "Resolved `--runner auto` to `--runner pooling`" in log:
        return True
    tasks = re.findall(r"[Ss]upported[_ ]tasks: \[([^\]]*)\]", log)
    return bool(tasks) and "generate" not in tasks[-1]
