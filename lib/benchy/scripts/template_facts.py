"""Checks a model's chat template in an engine's environment. Loads the tokenizer, no weights.

    ENV/bin/python lib/benchy/scripts/template_facts.py template '{"name": …, "revision": …, …}'

Runs in the engine's own environment and imports nothing of benchy. The last line of output is JSON:
{"template": "ok"}, {"template": "none"}, {"template": "broken", "why": text}, or {} if the state is
not known. `text` in the argument is a template from an option, which is checked instead.

The order of vLLM's chat endpoint (vllm/renderers/hf.py, resolve_chat_template): the option, the
processor's, the tokenizer's, and vLLM's own for some multimodal models.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello"}]


def template(request: dict[str, Any]) -> dict[str, str]:
    try:
        loaded = load("AutoTokenizer", request["tokenizer"], request)
    except Exception:  # the server reports why; some engines have tokenizers of their own
        return {}
    text = request["text"] or getattr(loaded, "chat_template", None)
    if not text:
        return {} if own_template(request) else {"template": "none"}
    if not isinstance(text, str):
        return {"template": "ok"}  # several named templates
    try:
        loaded.apply_chat_template(
            MESSAGES, chat_template=text, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:
        # A template that rejects these messages may accept those of the task.
        if type(error).__name__ == "TemplateSyntaxError":
            return {"template": "broken", "why": f"{type(error).__name__}: {error}"[:300]}
    return {"template": "ok"}


def load(part: str, name: str, request: dict[str, Any]) -> Any:
    """Load a part of a model with one of transformers' Auto classes."""
    auto = getattr(importlib.import_module("transformers"), part)
    revision, trusted = request["revision"] or "main", request["trust_remote_code"]
    return auto.from_pretrained(name, revision=revision, trust_remote_code=trusted)


def own_template(request: dict[str, Any]) -> bool:
    """Return whether the engine or another part of the model may have a template."""
    try:
        config = load("AutoConfig", request["name"], request)
        kind = str(config.model_type)
    except Exception:
        return True
    if any(hasattr(config, part) for part in ("vision_config", "audio_config", "text_config")):
        return True
    try:
        registry = importlib.import_module("vllm.transformers_utils.chat_templates")
        return registry.get_chat_template_fallback_path(kind, request["name"]) is not None
    except Exception:  # older releases have no such registry
        return False


def main(argv: list[str]) -> int:
    print(json.dumps(template(json.loads(argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
