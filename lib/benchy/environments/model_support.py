"""Find the built environments whose vLLM supports a model's architecture.

Reads vLLM's registry in each environment, model_executor/models/registry.py (since 0.5; up to 0.6
__init__.py lists the models), as text, without importing it. Writes nothing.
"""

from __future__ import annotations

import re

from benchy.core import paths
from benchy.environments import health

PLACES = ("registry.py", "__init__.py")


def known_by(architecture: str) -> list[str]:
    """Return the environments whose vLLM lists an architecture ("LlamaForCausalLM"), sorted."""
    pattern = re.compile(rf"""["']{re.escape(architecture)}["']""")
    envs = []
    for env in health.built():
        models = "lib/python3*/site-packages/vllm/model_executor/models"
        for folder in paths.env_dir(env).glob(models):
            files = [folder / place for place in PLACES if (folder / place).is_file()]
            if any(pattern.search(file.read_text(errors="replace")) for file in files):
                envs.append(env)
    return sorted(envs)


def advice(words: str) -> str:
    """Return a line that names the environments that support an architecture; "" if none does.

    words: the architectures in an engine's error message ("'LlamaForCausalLM'"), of which only the
    first is looked up.
    """
    named = re.findall(r"\w{3,}", words)
    known = known_by(named[0]) if named else []
    return f"built environments that support it: {', '.join(known)}" if known else ""
