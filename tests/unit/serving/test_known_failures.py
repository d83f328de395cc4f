"""Tests of known failures. The messages come from vLLM, torch and the hub's libraries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchy.config import model_schema
from benchy.serving import diagnosis, known_failures

PAGE = Path(__file__).parents[3] / "docs/problems.md"

LOGS = [
    ("ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that "
     "can be stored in KV cache (7344). Try increasing `gpu_memory_utilization` or decreasing",
     "room for 7344 tokens, fewer than max_model_len = 32768", "max_model_len: 7344 or less"),
    ("ValueError: To serve at least one request with the models's max seq len (131072), (4.54 GiB "
     "KV cache is needed, which is larger than the available KV cache memory (1.71 GiB). Based on "
     "the available memory, the estimated maximum model length is 49376. Try increasing",
     "131072 needs a KV cache of 4.54 GiB, and only 1.71 GiB", "max_model_len: 49376 or less"),
    ("ValueError: To serve at least one request with the models's max seq len (8192), (1.00 GiB KV "
     "cache is needed, which is larger than the available KV cache memory (0.50 GiB). Try",
     "needs a KV cache of 1.00 GiB", "max_model_len smaller"),
    ("ValueError: Free memory on device (31.44/47.38 GiB) on startup is less than desired GPU "
     "memory utilization (0.95, 45.01 GiB). Decrease GPU memory utilization or reduce",
     "31.44 of 47.38 GiB free, and gpu_memory_utilization = 0.95 asks for 45.01 GiB", "lower"),
    ("ValueError: Free memory on device cuda:0 (19.77/22.05 GiB) on startup is less than desired "
     "GPU memory utilization (0.9, 19.84 GiB).", "19.77 of 22.05 GiB", "lower"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
     "the memory does not hold the model", "tensor_parallel_size"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
     "driver is too old", "update the driver"),
    ("Cannot access gated repo for url https://huggingface.co/x/resolve/main/config.json.",
     "gated", "HF_TOKEN"),
    ("OSError: x/y is not a local folder and is not a valid model identifier listed on",
     "no such model", "model.name"),
    ("ValueError: Model architectures ['LlamaForCausalLM'] are not supported for now. Supported",
     "cannot run the model's architecture", "vllm_version"),
    ("ValueError: The checkpoint you are trying to load has model type `qwen9` but Transformers "
     "does not recognize this architecture.", "transformers does not know", "transformers_version"),
    ("AttributeError: TokenizersBackend has no attribute all_special_tokens_extended",
     "do not fit together", "transformers_version"),
    ("ValueError: Loading x requires you to execute the configuration file in that repo on your "
     "local machine. Make sure you have read the code there to avoid malicious use, then set the "
     "option `trust_remote_code=True` to remove this error.", "code of its own", "trust_remote"),
    ("ValueError: User-specified max_model_len (99999) is greater than the derived max_model_len "
     "(max_position_embeddings=2048 or model_max_length=None in model's config.json).",
     "99999 is more than the model was made for (2048)", "2048 or less"),
    ("ValueError: Total number of attention heads (14) must be divisible by tensor parallel size "
     "(4).", "14 attention heads can't be split", "divides 14"),
    ("OSError: [Errno 98] Address already in use", "the port is in use", "free one"),
    ("OSError: [Errno 28] No space left on device", "the disk is full", "free some space"),
    ("ModuleNotFoundError: No module named 'vllm._C'", "environment is incomplete", "rebuild"),
    ("api_server.py: error: unrecognized arguments: --foo", "refuses its arguments", "--help"),
    ("We couldn't connect to 'https://huggingface.co' to load the files",
     "the hub can't be reached", "model.name may be a directory"),
    ("Model architectures ['X'] are not supported for now.\nOSError: [Errno 28] No space left",
     "the disk is full", ""),
]  # fmt: skip


@pytest.mark.parametrize(("log", "what", "hint"), LOGS)
def test_known_failures_are_explained(log: str, what: str, hint: str) -> None:
    told = diagnosis.explain(f"INFO 11-23 09:00:00 [a.py:1] starting\n{log}\nExiting.\n")
    assert told and what in told[0] and hint in told[1], told
    assert "{" not in told[0] + told[1]


def test_hints_name_only_existing_model_keys() -> None:
    keys = re.findall(r"model\.[a-z_]+", " ".join(known.hint for known in known_failures.KNOWN))
    assert keys and set(keys) <= {f"model.{key}" for key in model_schema.ModelFacts.model_fields}


def sections() -> dict[int, str]:
    found = re.findall(r"^## P(\d\d) .*?(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    texts = re.findall(r"^## P\d\d .*?(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    return {int(number): text for number, text in zip(found, texts, strict=True)}


def test_each_known_failure_has_a_section_in_the_docs() -> None:
    numbers = [known.page for known in known_failures.KNOWN]
    assert sorted(numbers) == sorted(sections()) and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("number", sections())
def test_explanation_of_a_quoted_log_line_links_to_its_section(number: int) -> None:
    (line,) = re.findall(r"^```text\n(.*?)\n```$", sections()[number], re.M | re.S)
    told = diagnosis.explain(f"INFO 11-23 09:00:00 [a.py:1] starting\n{line}\n")
    assert told and told[1].endswith(f"\n(docs/problems.md, P{number:02})"), told
