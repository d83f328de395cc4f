"""Tests that a line of YAML becomes the arguments that each real vLLM release accepts.

The releases are those of docs/options.json. How their parsers read these arguments was verified in
built environments of 0.8.0, 0.10.2 and 0.32.0.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from benchy.core import paths
from benchy.core.errors import ConfigError
from benchy.engines import command_line, option_table, release_flags

TABLES = option_table.read(Path(__file__).resolve().parents[3] / option_table.FILE)
RELEASES = option_table.releases(TABLES, "vllm")
# The releases from which the steps below were written. A release between two of them takes the
# arguments of one or the other.
LOOKED = [
    "0.6.0",
    "0.6.1",
    "0.6.4.post1",
    "0.6.6.post1",
    "0.7.3",
    "0.8.0",
    "0.8.2",
    "0.8.5",
    "0.8.5.post1",
    "0.9.2",
    "0.10.2",
    "0.11.2",
    "0.12.0",
    "0.13.0",
    "0.14.1",
    "0.15.1",
    "0.16.0",
    "0.17.1",
    "0.18.1",
    "0.19.1",
    "0.20.2",
    "0.21.0",
    "0.22.1",
    "0.23.0",
    "0.24.0",
    "0.25.1",
    "0.26.0",
    "0.27.1",
    "0.28.0",
    "0.29.0",
    "0.30.0",
    "0.31.0",
    "0.32.0",
    "0.33.0",
]
NEVER: list[str] = []
REFUSED = None
COMPILED = {"level": 3, "use_inductor": True, "backend": None}
OVERRIDES = {"rope_scaling": {"factor": 4.0}, "tied": True}
LORA = [{"name": "x", "path": "/p"}]


@cache
def flags(version: str) -> dict[str, dict[str, Any]]:
    return option_table.flags(TABLES, "vllm", version)


# (options, steps): each step is the first release that takes these arguments, oldest first.
# REFUSED: the option is a mistake.
Steps = list[tuple[str, list[str] | None]]
WORDS: list[tuple[dict[str, Any], Steps]] = [
    ({"limit_mm_per_prompt": {"image": 16, "video": 2}}, [
        ("0.6.0", ["--limit-mm-per-prompt=image=16,video=2"]),
        ("0.8.5", ['--limit-mm-per-prompt={"image":16,"video":2}'])]),
    ({"limit_mm_per_prompt": {"image": {"count": 1}}}, [
        ("0.6.0", REFUSED), ("0.8.5", ['--limit-mm-per-prompt={"image":{"count":1}}'])]),
    ({"enforce_eager": False}, [("0.6.0", NEVER)]),
    ({"enforce_eager": True}, [("0.6.0", ["--enforce-eager"])]),
    ({"enable_prefix_caching": True}, [("0.6.0", ["--enable-prefix-caching"])]),
    ({"enable_prefix_caching": False}, [
        ("0.6.0", NEVER), ("0.6.6.post1", ["--no-enable-prefix-caching"]),
        ("0.33.0", ["--disable-prefix-caching"])]),
    ({"no_enable_prefix_caching": True}, [
        ("0.6.0", REFUSED), ("0.6.6.post1", ["--no-enable-prefix-caching"]),
        ("0.33.0", ["--disable-prefix-caching"])]),
    ({"disable_prefix_caching": False}, [
        ("0.6.0", REFUSED), ("0.33.0", ["--enable-prefix-caching"])]),
    ({"async_scheduling": False}, [
        ("0.6.0", REFUSED), ("0.10.2", ["--no-async-scheduling"])]),
    ({"disable_cascade_attn": False}, [
        ("0.6.0", REFUSED), ("0.8.2", NEVER), ("0.9.2", ["--no-disable-cascade-attn"]),
        ("0.33.0", ["--enable-cascade-attn"])]),
    ({"enable_chunked_prefill": True}, [
        ("0.6.0", ["--enable-chunked-prefill=true"]), ("0.8.5", ["--enable-chunked-prefill"])]),
    ({"enable_chunked_prefill": False}, [
        ("0.6.0", ["--enable-chunked-prefill=false"]),
        ("0.8.5", ["--no-enable-chunked-prefill"]),
        ("0.33.0", ["--disable-chunked-prefill"])]),
    ({"use_v2_block_manager": False}, [("0.6.0", NEVER), ("0.6.6.post1", REFUSED)]),
    ({"kv_cache_memory": 0}, [("0.6.0", NEVER)]),
    ({"kv_cache_memory": 1 << 30}, [
        ("0.6.0", REFUSED), ("0.10.2", ["--kv-cache-memory-bytes=1073741824"])]),
    ({"multimodal": False}, [
        ("0.6.0", NEVER), ("0.11.2", ['--limit-mm-per-prompt={"audio":0,"image":0,"video":0}']),
        ("0.17.1", ["--language-model-only"])]),
    ({"multimodal": True}, [("0.6.0", NEVER)]),
    ({"ignore_patterns": ["*.pt", "a/**"]}, [
        ("0.6.0", ["--ignore-patterns=*.pt", "--ignore-patterns=a/**"]),
        ("0.9.2", ["--ignore-patterns", "*.pt", "a/**"])]),
    ({"middleware": ["a.B", "c.D"]}, [("0.6.0", ["--middleware=a.B", "--middleware=c.D"])]),
    ({"lora_modules": LORA}, [("0.6.0", ["--lora-modules", '{"name":"x","path":"/p"}'])]),
    ({"cudagraph_capture_sizes": [1, 2]}, [
        ("0.6.0", REFUSED), ("0.11.2", ["--cudagraph-capture-sizes", "1", "2"])]),
    ({"allowed_origins": ["http://a"]}, [("0.6.0", ['--allowed-origins=["http://a"]'])]),
    ({"compilation_config": COMPILED}, [
        ("0.6.0", REFUSED),
        ("0.6.6.post1",
         ["--compilation-config={'backend': None, 'level': 3, 'use_inductor': True}"]),
        ("0.9.2",
         ['--compilation-config={"backend":null,"level":3,"use_inductor":true}'])]),
    ({"compilation_config": {"level": 3}}, [
        ("0.6.0", REFUSED), ("0.6.6.post1", ['--compilation-config={"level":3}'])]),
    ({"compilation_config": 3}, [
        ("0.6.0", REFUSED), ("0.6.6.post1", ["--compilation-config=3"]), ("0.9.2", REFUSED)]),
    ({"kv_transfer_config": {"kv_role": "kv_both", "x": True}}, [
        ("0.6.0", REFUSED),
        ("0.6.6.post1", ['--kv-transfer-config={"kv_role":"kv_both","x":true}'])]),
    ({"speculative_config": {"method": "ngram"}}, [
        ("0.6.0", REFUSED), ("0.8.2", ['--speculative-config={"method":"ngram"}'])]),
    ({"speculative_config": "ngram"}, [
        ("0.6.0", REFUSED), ("0.8.2", ["--speculative-config=ngram"]), ("0.8.5", REFUSED)]),
    ({"speculative_model": "a/b", "num_speculative_tokens": 2}, [
        ("0.6.0", ["--num-speculative-tokens=2", "--speculative-model=a/b"]),
        ("0.8.5", REFUSED)]),
    ({"hf_overrides": OVERRIDES}, [
        ("0.6.0", REFUSED),
        ("0.6.4.post1", ['--hf-overrides={"rope_scaling":{"factor":4.0},"tied":true}'])]),
    ({"override_neuron_config": {"a": 1, "b": "x"}}, [
        ("0.6.0", ["--override-neuron-config=a:1,b:x"]),
        ("0.6.4.post1", ['--override-neuron-config={"a":1,"b":"x"}']), ("0.10.2", REFUSED)]),
    ({"override_generation_config": {"top_k": None}}, [
        ("0.6.0", REFUSED), ("0.7.3", ['--override-generation-config={"top_k":null}'])]),
    ({"generation_config": "vllm"}, [
        ("0.6.0", REFUSED), ("0.6.6.post1", ["--generation-config=vllm"])]),
    ({"dtype": "bfloat16"}, [("0.6.0", ["--dtype=bfloat16"])]),
    ({"dtype": "bf16"}, [("0.6.0", REFUSED)]),
    ({"max_model_len": 8192}, [("0.6.0", ["--max-model-len=8192"])]),
    ({"max_model_len": "8k"}, [("0.6.0", REFUSED), ("0.8.5", ["--max-model-len=8k"])]),
    ({"max_model_len": "auto"}, [("0.6.0", REFUSED), ("0.14.1", ["--max-model-len=auto"])]),
    ({"gpu_memory_utilization": 0.85}, [("0.6.0", ["--gpu-memory-utilization=0.85"])]),
    ({"guided_decoding_disable_fallback": False}, [
        ("0.6.0", REFUSED), ("0.9.2", ["--no-guided-decoding-disable-fallback"]),
        ("0.11.2", ["--guided-decoding-disable-fallback="]), ("0.12.0", REFUSED)]),
    ({"disable_log_requests": True}, [
        ("0.6.0", ["--disable-log-requests"]), ("0.17.1", REFUSED),
        ("0.33.0", ["--disable-log-requests"])]),
    ({"task": "generate"}, [
        ("0.6.0", REFUSED), ("0.6.4.post1", ["--task=generate"]), ("0.13.0", REFUSED)]),
    ({"runner": "generate"}, [("0.6.0", REFUSED), ("0.10.2", ["--runner=generate"])]),
]  # fmt: skip


def words(options: dict[str, Any], version: str) -> list[str] | None:
    try:
        return command_line.arguments(
            options, release_flags.EngineRelease(f"vLLM {version}", flags(version))
        )
    except ConfigError:
        return REFUSED


def expected(steps: Steps, version: str) -> list[list[str] | None]:
    """Return the arguments that a release may take: one list if it is in LOOKED, else two."""
    older = [each for each in LOOKED if Version(each) <= Version(version)][-1:]
    newer = [each for each in LOOKED if Version(each) >= Version(version)][:1]
    return [
        [words for first, words in steps if Version(first) <= Version(each)][-1]
        for each in {*older, *newer}
    ]


@pytest.mark.parametrize(("options", "steps"), WORDS, ids=[str(each[0]) for each in WORDS])
def test_options_become_the_arguments_of_each_release(
    options: dict[str, Any], steps: Steps
) -> None:
    assert len(RELEASES) >= len(LOOKED)
    for version in RELEASES:
        assert words(options, version) in expected(steps, version), version


def test_defaults_that_change_scores_are_passed_to_releases_that_have_them() -> None:
    shipped = yaml.safe_load((paths.ROOT / "configs/engines/vllm.yaml").read_text())["options"]
    for version in RELEASES:
        release = release_flags.EngineRelease(f"vLLM {version}", flags(version))
        said = command_line.arguments({}, release, defaults=shipped)
        wanted = ["--dtype=auto", "--seed=0"]
        if Version(version) >= Version("0.6.6"):  # earlier: prefix caching is off by default
            wanted += ["--generation-config=vllm"]
            new = Version(version) >= Version("0.33")
            wanted += ["--disable-prefix-caching" if new else "--no-enable-prefix-caching"]
        assert sorted(said) == sorted(wanted), version
        own = {"dtype": "half", "seed": 7, "enable_prefix_caching": True}
        said = command_line.arguments(own, release, defaults=shipped)
        assert {"--dtype=half", "--seed=7", "--enable-prefix-caching"} <= set(said), version
