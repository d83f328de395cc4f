"""What goes wrong on purpose: STANDIN_FAIL and STANDIN_FAIL_MODEL, said in vLLM's words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

TEXTS = {
    "start": "AssertionError: the stand-in was asked to fail",
    "oom": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 23.64 GiB of which 1.12 GiB is free."
    ),
    "gated": (
        "OSError: You are trying to access a gated repo.\n"
        "Make sure to have access to it at https://huggingface.co/{model}.\n"
        "401 Client Error. Cannot access gated repo for url https://huggingface.co/{model}."
    ),
    "arch": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Model architectures ['NovelForCausalLM'] are not supported for now."
    ),
    "disk": "OSError: [Errno 28] No space left on device",
}


@dataclass(frozen=True)
class Fault:
    """text: told at the start, which then fails.  dies_after: requests answered, or None.
    error_every: each such request is answered with 500.  mute_after: from then on nothing is
    answered.  slow: seconds before each answer.  loud: megabytes said into the log.  bare: chats go
    to the model without a template.  pooling: there is no /v1/completions."""

    text: str = ""
    hang: bool = False
    stubborn: bool = False
    dies_after: int | None = None
    error_every: int | None = None
    mute_after: int | None = None
    slow: float = 0.0
    loud: int = 0
    bare: bool = False
    pooling: bool = False


def asked_for(model: str, served: str) -> Fault:
    """The fault that the environment asks of this model. ValueError if it is none of ours."""
    name = os.environ.get("STANDIN_FAIL", "")
    if not name or not fnmatch(served, os.environ.get("STANDIN_FAIL_MODEL", "*")):
        return Fault()
    if name in TEXTS:
        return Fault(text=TEXTS[name].format(model=model))
    if found := re.fullmatch(r"die_(once_)?after_(\d+)_requests", name):
        mark = Path(os.environ.get("STANDIN_LOG_FILE", "standin") + ".died")
        if found[1] and mark.exists():
            return Fault()
        mark.touch()
        return Fault(dies_after=int(found[2]))
    for field, kind in (("error_every", int), ("mute_after", int), ("slow", float), ("loud", int)):
        if found := re.fullmatch(rf"{field}_([0-9.]+)", name):
            return replace(Fault(), **{field: kind(found[1])})
    if name in ("hang", "stubborn", "bare", "pooling"):
        return replace(Fault(), **{name: True})
    raise ValueError(f"STANDIN_FAIL={name}: no such fault")
