"""The command line. Its options differ between releases, as vLLM's do."""

from __future__ import annotations

import argparse
import json

from .release import VERSION

RELEASE = tuple(int(part) for part in VERSION.split(".")[:2])


def make_arg_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Add this release's options to parser (a new one if None) and return it.

    Like the function of this name in vllm.entrypoints.openai.cli_args, so one probe fits both.
    """
    parser = parser or argparse.ArgumentParser(prog="standin_engine", allow_abbrev=False)
    add = parser.add_argument
    add("--model", default="facebook/opt-125m")
    add("--tokenizer", default=None)
    add("--revision", default=None)
    add("--served-model-name", nargs="+", default=None)
    add("--host", default=None)
    add("--port", type=int, default=8000)
    add("--uds", default=None)
    add("--max-model-len", type=int, default=None)
    add("--max-num-seqs", type=int, default=None)
    add("--max-logprobs", type=int, default=20)
    add("--tensor-parallel-size", "-tp", type=int, default=1)
    add("--gpu-memory-utilization", type=float, default=0.9)
    add("--seed", type=int, default=0)
    add(
        "--dtype",
        choices=["auto", "half", "float16", "bfloat16", "float", "float32"],
        default="auto",
    )
    add("--generation-config", default="auto")
    add("--load-format", default="auto")
    add("--tokenizer-mode", default="auto")
    add("--limit-mm-per-prompt", type=json.loads, default={})
    add("--chat-template", default=None)
    for flag in ("--trust-remote-code", "--enforce-eager", "--enable-prefix-caching"):
        add(flag, action=argparse.BooleanOptionalAction, default=False)
    if RELEASE < (1, 1):
        add("--task", choices=["auto", "generate", "embed"], default="auto")
        add("--swap-space", type=float, default=4)
    else:
        add("--runner", choices=["auto", "generate", "pooling"], default="auto")
        add("--kv-cache-memory-bytes", type=int, default=None)
    if RELEASE >= (2, 0):
        add("--hf-overrides", type=json.loads, default={})
        add("--pipeline-parallel-size", "-pp", type=int, default=1)
        add("--data-parallel-size", "-dp", type=int, default=1)
        add("--distributed-executor-backend", choices=["mp", "ray", "uni"], default=None)
        add("--nnodes", "-n", type=int, default=1)
        add("--node-rank", "-r", type=int, default=0)
        add("--master-addr", default="127.0.0.1")
        add("--master-port", type=int, default=29501)
        add("--headless", action="store_true", default=False)
    return parser
