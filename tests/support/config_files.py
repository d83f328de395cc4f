"""A minimal complete configuration, as files."""

from __future__ import annotations

from pathlib import Path

ENGINE = "package: vllm\nmodule: vllm\nmain: true\noptions: {seed: 0}\n"
HARNESS = "kind: harness\npackage: lm_eval\nmodule: lm_eval\ndefault_version: '0.4.13'\n"
PROVIDER = "max_model_len: 4096\nport: 8001\n"
TASK = "task_name: spanish_bench\n"
MODEL = """\
model:
  name: "org/model"
vllm:
  provider_config: "card"
  overrides: {}
tasks: ["spanish"]
"""


def lay(root: Path) -> Path:
    """Write a minimal complete configuration below `root`; return `root`."""
    for name, text in {
        "engines/vllm.yaml": ENGINE,
        "engines/lm_eval.yaml": HARNESS,
        "providers/card.yaml": PROVIDER,
        "tasks/spanish.yaml": TASK,
        "single_card/m.yaml": MODEL,
    }.items():
        path = root / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def overrides(text: str) -> str:
    return MODEL.replace("overrides: {}", f"overrides:\n    {text}")
