"""What an engine's environment makes of a model's chat template. Loads the tokenizer, no weights.

    ENV/bin/python lib/benchy/scripts/template_facts.py template '{"name": …, "revision": …, …}'

Runs in the engine's own environment and imports nothing of benchy. Prints one line of JSON, last:
{"template": "ok"}, {"template": "none"}, {"template": "broken", "why": text}, or {} where it can't
be told. `text` asks about a template that an option gives.

The order of vLLM's chat endpoint (vllm/renderers/hf.py, resolve_chat_template): the option, the
processor's, the tokenizer's, and one of its own for some multimodal models.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello"}]


def template(asked: dict[str, Any]) -> dict[str, str]:
    try:
        loaded = load("AutoTokenizer", asked["tokenizer"], asked)
    except Exception:  # the server tells why; some engines have tokenizers of their own
        return {}
    text = asked["text"] or getattr(loaded, "chat_template", None)
    if not text:
        return {} if own_template(asked) else {"template": "none"}
    if not isinstance(text, str):
        return {"template": "ok"}  # several, by name
    try:
        loaded.apply_chat_template(
            MESSAGES, chat_template=text, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:
        # One that refuses these messages may take those of the task.
        if type(error).__name__ == "TemplateSyntaxError":
            return {"template": "broken", "why": f"{type(error).__name__}: {error}"[:300]}
    return {"template": "ok"}


def load(part: str, name: str, asked: dict[str, Any]) -> Any:
    """A part of a model by one of transformers' Auto classes."""
    auto = getattr(importlib.import_module("transformers"), part)
    revision, trusted = asked["revision"] or "main", asked["trust_remote_code"]
    return auto.from_pretrained(name, revision=revision, trust_remote_code=trusted)


def own_template(asked: dict[str, Any]) -> bool:
    """Whether another part of the model or of the engine may have one."""
    try:
        config = load("AutoConfig", asked["name"], asked)
        kind = str(config.model_type)
    except Exception:
        return True
    if any(hasattr(config, part) for part in ("vision_config", "audio_config", "text_config")):
        return True
    try:
        registry = importlib.import_module("vllm.transformers_utils.chat_templates")
        return registry.get_chat_template_fallback_path(kind, asked["name"]) is not None
    except Exception:  # older releases have none
        return False


def main(argv: list[str]) -> int:
    print(json.dumps(template(json.loads(argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
