"""What an engine's log says of its start."""

from __future__ import annotations

import re
import time
from pathlib import Path

# What the engine's log says when a stage begins: vLLM 0.6 to 0.32.
STAGES = (
    ("engine", r"Initializing an? (?:V\d )?LLM engine|Initializing a V1 LLM engine"),
    ("weights", r"Starting to load model|Loading (?:model )?weights|Loading safetensors"),
    ("compile", r"torch\.compile|Dynamo bytecode transform|Compiling a graph|Cache the graph"),
    ("warm-up", r"Warming up model|Capturing (?:the model|CUDA graph)|Graph capturing|"
                r"GPU KV cache size|# (?:GPU|CPU|cuda|cpu) blocks|CPU KV cache size"),
    ("api", r"Starting vLLM (?:API )?server|Started server process|Application startup complete"),
)  # fmt: skip


class Log:
    """The engine's log, read as it grows; knows which stage the engine is in."""

    def __init__(self, path: Path, begun: float) -> None:
        self.path, self.begun = path, begun
        self.at = 0
        self.stage = "start"
        self.times: dict[str, float] = {}  # stage → seconds after the start at which it began

    def read(self) -> bool:
        """Read what is new; has another stage begun?"""
        try:
            with self.path.open("rb") as file:
                file.seek(self.at)
                data = file.read()
        except OSError:
            return False
        self.at += len(data)
        before = self.stage
        order = ["start", *(name for name, _ in STAGES)]
        for name, pattern in STAGES:
            later = order.index(name) > order.index(self.stage)
            if later and re.search(pattern.encode(), data):
                self.stage = name
                self.times[name] = round(time.monotonic() - self.begun, 1)
        return self.stage != before

    def text(self) -> str:
        """All of it, of a very long one the end."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - (4 << 20)))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def dtype(log: str) -> str | None:
    """What the weights are computed in, by the line with which vLLM 0.6 to 0.32 begin ("…LLM
    engine (v0.10.2) with config: …, dtype=torch.bfloat16, …"); None if it is not there."""
    found = re.search(r"LLM engine .{0,8000}?\bdtype=(?:torch\.)?(\w+)", log)
    return found[1] if found else None
