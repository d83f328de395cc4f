"""Reads the stages of a start, and the dtype, from the log of an engine."""

from __future__ import annotations

import re
import time
from pathlib import Path

# The messages that begin a stage in vLLM 0.6 to 0.32.
STAGES = (
    ("engine", r"Initializing an? (?:V\d )?LLM engine|Initializing a V1 LLM engine"),
    ("weights", r"Starting to load model|Loading (?:model )?weights|Loading safetensors"),
    ("compile", r"torch\.compile|Dynamo bytecode transform|Compiling a graph|Cache the graph"),
    ("warm-up", r"Warming up model|Capturing (?:the model|CUDA graph)|Graph capturing|"
                r"GPU KV cache size|# (?:GPU|CPU|cuda|cpu) blocks|CPU KV cache size"),
    ("api", r"Starting vLLM (?:API )?server|Started server process|Application startup complete"),
)  # fmt: skip


class Log:
    """The log of an engine, read as it grows. Tracks the stage of the engine's start."""

    def __init__(self, path: Path, begun: float) -> None:
        self.path, self.begun = path, begun
        self.at = 0
        self.stage = "start"
        self.times: dict[str, float] = {}  # stage → seconds from start to its beginning

    def read(self) -> bool:
        """Read the new part of the log and return whether another stage has begun."""
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
        """Return the text of the log, or its last 4 MiB if it is longer."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - (4 << 20)))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def dtype(log: str) -> str | None:
    """Return the dtype that the engine computes in, or None if the log does not name it.

    The first line of vLLM 0.6 to 0.32 names it: "…LLM engine (v0.10.2) with config: …,
    dtype=torch.bfloat16, …".
    """
    match = re.search(r"LLM engine .{0,8000}?\bdtype=(?:torch\.)?(\w+)", log)
    return match[1] if match else None
