"""Which releases know a model's architecture, by the environments that are built here.

Reads vLLM's own registry in each, model_executor/models/registry.py (since 0.5; __init__.py lists
them up to 0.6), as text: nothing is imported.
"""

from __future__ import annotations

import re

from benchy.core import paths
from benchy.environments import health

PLACES = ("registry.py", "__init__.py")


def known_by(architecture: str) -> list[str]:
    """The environments whose vLLM lists an architecture ("LlamaForCausalLM"), sorted."""
    wanted = re.compile(rf"""["']{re.escape(architecture)}["']""")
    found = []
    for env in health.built():
        models = "lib/python3*/site-packages/vllm/model_executor/models"
        for folder in paths.env_dir(env).glob(models):
            files = [folder / place for place in PLACES if (folder / place).is_file()]
            if any(wanted.search(file.read_text(errors="replace")) for file in files):
                found.append(env)
    return sorted(found)


def advice(words: str) -> str:
    """A line that names those environments, "" if there are none. words: what an engine said in its
    list of architectures ("'LlamaForCausalLM'")."""
    named = re.findall(r"\w{3,}", words)
    known = known_by(named[0]) if named else []
    return f"of what is built here, {', '.join(known)} know it" if known else ""
