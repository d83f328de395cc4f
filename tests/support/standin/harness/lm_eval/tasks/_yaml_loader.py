"""The "file" of a task: tasks named …_choice are multiple choice, all others generate too."""

from __future__ import annotations


def load_yaml(path: str, resolve_func: bool = True) -> dict[str, str]:
    kind = "multiple_choice" if path.endswith("_choice") else "generate_until"
    return {"task": path, "output_type": kind}
