"""Explanations of engine logs. The messages come from vLLM, torch and the hub's libraries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchy.config import schema
from benchy.serving import known_failures

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
    ("ModuleNotFoundError: No module named 'vllm._C'", "environment is incomplete", "anew"),
    ("api_server.py: error: unrecognized arguments: --foo", "refuses its arguments", "--help"),
    ("We couldn't connect to 'https://huggingface.co' to load the files",
     "the hub can't be reached", "model.name may be a directory"),
    ("Model architectures ['X'] are not supported for now.\nOSError: [Errno 28] No space left",
     "the disk is full", ""),
]  # fmt: skip


@pytest.mark.parametrize(("log", "what", "hint"), LOGS)
def test_known_failures_are_explained(log: str, what: str, hint: str) -> None:
    told = known_failures.explain(f"INFO 11-23 09:00:00 [a.py:1] starting\n{log}\nExiting.\n")
    assert told and what in told[0] and hint in told[1], told
    assert "{" not in told[0] + told[1]


HARMLESS = [
    "INFO 11-23 09:36:38 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: "
    "trust_remote_code=False, max_seq_len=1024",
    "WARNING [system_utils.py:255] Found ulimit of 20000 and failed to automatically increase",
    "(Worker pid=3) INFO Loading weights took 0.01 seconds",
]


CORE = "(EngineCore pid=9251) "
STAMP = "11-23 09:36:48 [core.py:1510] "


def crash(*exceptions: str, head: str = "EngineCore encountered a fatal error.") -> str:
    """Return the log of vLLM 0.32 when its core dies of the last of these exceptions.

    Each exception is raised while the one before is handled.
    """
    lines = [head]
    for at, exception in enumerate(exceptions):
        if at:
            lines += ["", "During handling of the above exception, another exception occurred:", ""]
        lines += ["Traceback (most recent call last):", '  File "/x/core.py", line 1503, in run']
        lines += ["    raise EngineDeadError() from None  # died unexpectedly", exception]
    told = "\n".join(f"{CORE}ERROR {STAMP}{line}" for line in "\n".join(lines).split("\n"))
    return f"""\
INFO 11-23 09:00:00 [a.py:1] starting
{told}
Process EngineCore:
(APIServer pid=9) ERROR 11-23 09:36:48 [async_llm.py:824] AsyncLLM output_handler failed.
(APIServer pid=9) ERROR 11-23 09:36:48 [async_llm.py:824] Traceback (most recent call last):
(APIServer pid=9) ERROR 11-23 09:36:48 [async_llm.py:824]   File "/x/async_llm.py", line 780, in f
(APIServer pid=9) ERROR 11-23 09:36:48 [async_llm.py:824]     raise EngineDeadError()
(APIServer pid=9) ERROR 11-23 09:36:48 [async_llm.py:824] vllm.v1.engine.exceptions.EngineDeadError\
: EngineCore encountered an issue. See stack trace (above) for the root cause.
(APIServer pid=9) INFO:     Shutting down
"""


@pytest.mark.parametrize(
    "exception",
    [
        "IndexError: list index out of range",
        "AssertionError",
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        # None of these concerns the model's files, its packages or the memory.
        "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/usr/local/cuda/bin/nvcc'",
        "OSError: [Errno 5] Input/output error",
        "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised: x",
    ],
)
def test_a_crash_with_a_traceback_is_not_a_kill(exception: str) -> None:
    log = crash(exception)
    assert known_failures.explain(log) is None
    assert known_failures.telling_lines(log) == [exception]


def test_the_exception_behind_a_crash_is_explained() -> None:
    told = known_failures.explain(
        crash("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate")
    )
    assert told and "the memory does not hold the model" in told[0]


@pytest.mark.parametrize(
    "line",
    [
        "(APIServer pid=9) ERROR 11-23 09:36:48 [core_client.py:600] Engine core proc EngineCore "
        "died unexpectedly, shutting down client.",
        "(EngineCore pid=7) ERROR 11-23 09:36:48 [multiproc_executor.py:316] Worker proc "
        "VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
    ],
)
def test_process_that_dies_without_an_exception_is_reported_as_killed(line: str) -> None:
    after = crash("RuntimeError: Executor failed.")  # observed in 0.32 after a worker was killed
    told = known_failures.explain(f"{line}\n{after}")
    assert told and "was killed" in told[0]
    assert "died unexpectedly" in known_failures.telling_lines(f"{line}\n{after}")[0]


# Warnings and handled errors in the log before an exception that is not a known failure.
NOT_THE_CAUSE = [
    "WARNING 11-23 09:36:38 [_custom_ops.py:21] Failed to import from vllm._C with "
    "ModuleNotFoundError(\"No module named 'vllm._C'\")",
    "WARNING 11-23 09:36:38 [interface.py:222] Failed to import from vllm._C: ImportError('libcuda"
    ".so.1: cannot open shared object file: No such file or directory')",
    "(APIServer pid=9) WARNING 11-23 09:36:38 [system_utils.py:255] Found ulimit of 20000 and "
    "failed to automatically increase with error current limit exceeds maximum limit. This can "
    "cause fd limit errors like `OSError: [Errno 24] Too many open files`.",
    "'(MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded "
    "with url: /x/resolve/main/adapter_config.json\"), '(Request ID: 1)')' thrown while requesting "
    "HEAD https://huggingface.co/x/resolve/main/adapter_config.json",
    "INFO 11-23 09:36:38 [registry.py:1] Unrecognized model in x. Falling back to the default.",
    "WARNING 11-23 09:36:38 [gpu_worker.py:1] CUDA out of memory occurred when warming up sampler",
    "Exception ignored in: <function Socket.__del__>\nIgnored: Bus error",
]


@pytest.mark.parametrize("line", NOT_THE_CAUSE)
def test_a_warning_is_not_the_cause_of_an_exception(line: str) -> None:
    log = f"{line}\n{crash('IndexError: list index out of range')}"
    assert known_failures.explain(log) is None
    assert known_failures.telling_lines(log)[-1] == "IndexError: list index out of range"


def test_handled_exception_is_explained_unless_its_pattern_is_loose() -> None:
    assert (
        known_failures.explain(crash("ModuleNotFoundError: No module named 'x'", "IndexError"))
        is None
    )
    told = known_failures.explain(
        crash("OSError: [Errno 28] No space left on device", "IndexError")
    )
    assert told and "disk" in told[0]


def test_torch_warning_explains_why_no_device_is_found() -> None:
    log = (
        "/x/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: The NVIDIA driver on "
        "your system is too old (found version 11040). (Triggered internally at a.cpp:109.)\n"
        'Traceback (most recent call last):\n  File "/x", line 1\n'
        "RuntimeError: Failed to infer device type\n"
    )
    told = known_failures.explain(log)
    assert told and "driver is too old" in told[0]


def test_missing_library_and_missing_model_file_are_distinguished() -> None:
    lib = "OSError: libcudart.so.12: cannot open shared object file: No such file or directory"
    told = known_failures.explain(crash(lib))
    assert told and "environment is incomplete" in told[0]
    file = "FileNotFoundError: [Errno 2] No such file or directory: '/m/model-1.safetensors'"
    told = known_failures.explain(crash(file))
    assert told and "a file of the model is missing" in told[0]


def test_logged_error_that_is_not_an_exception_is_a_cause() -> None:
    line = (
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): "
        "address already in use"
    )
    told = known_failures.explain(f"{line}\n{crash('IndexError: x')}")
    assert told and "the port is in use" in told[0]


def test_hints_name_only_existing_model_keys() -> None:
    keys = re.findall(r"model\.[a-z_]+", " ".join(known.hint for known in known_failures.KNOWN))
    assert keys and set(keys) <= {f"model.{key}" for key in schema.ModelFacts.model_fields}


@pytest.mark.parametrize("log", HARMLESS)
def test_ordinary_lines_have_no_explanation(log: str) -> None:
    assert known_failures.explain(log) is None


REAL = """\
(EngineCore pid=9251) INFO 11-23 09:36:48 [multiproc_executor.py:486] [shutdown] all exited
(EngineCore pid=9251) ERROR 11-23 09:36:48 [core.py:1510] EngineCore failed to start.
(EngineCore pid=9251) ERROR 11-23 09:36:48 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=9251) ERROR 11-23 09:36:48 [core.py:1510]   File "/x/core.py", line 1482, in run
(EngineCore pid=9251) ERROR 11-23 09:36:48 [core.py:1510]     raise ValueError(
(EngineCore pid=9251) ERROR 11-23 09:36:48 [core.py:1510] ValueError: no room for it
Process EngineCore:
Traceback (most recent call last):
  File "/x/process.py", line 314, in _bootstrap
    self.run()
ValueError: no room for it
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
[W] leaked semaphore objects to clean up at shutdown
"""


def test_telling_lines_are_the_exceptions() -> None:
    assert known_failures.telling_lines(REAL) == ["ValueError: no room for it"]


def test_telling_lines_without_an_exception_are_the_last_lines() -> None:
    log = "\n".join(f"INFO 11-23 09:00:0{n} [a.py:1] line {n}" for n in range(9))
    assert known_failures.telling_lines(log, 2) == ["line 7", "line 8"]
    assert known_failures.telling_lines("") == []


def test_a_message_of_several_lines_is_kept() -> None:
    log = "pydantic.ValidationError: 1 validation error\n  Value error, no such thing\nINFO: done\n"
    assert known_failures.telling_lines(log)[:2] == log.splitlines()[:2]


def test_lines_of_other_processes_are_not_part_of_a_message() -> None:
    log = (
        "safetensors.SafetensorError: invalid header length\n"
        "(EngineCore pid=7) INFO 11-23 11:53:01 [executor.py:479] [shutdown] all exited\n"
        "(EngineCore pid=7) ERROR 11-23 11:53:01 [core.py:1510] EngineCore failed to start.\n"
    )
    assert known_failures.telling_lines(log) == [
        "safetensors.SafetensorError: invalid header length"
    ]


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
    told = known_failures.explain(f"INFO 11-23 09:00:00 [a.py:1] starting\n{line}\n")
    assert told and told[1].endswith(f"\n(docs/problems.md, P{number:02})"), told


def test_hint_names_built_environments_that_support_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for env, names in (("vllm_0_8_0", ["LlamaForCausalLM"]), ("vllm_0_32_0", ["NewForCausalLM"])):
        models = tmp_path / f"venvs/{env}/lib/python3.11/site-packages/vllm/model_executor/models"
        models.mkdir(parents=True)
        (models / "registry.py").write_text(json.dumps(dict.fromkeys(names, "x")))
        (tmp_path / f"venvs/{env}/.stamp").write_text("{}")
    told = known_failures.explain(
        "ValueError: Model architectures ['NewForCausalLM'] are not supported for now"
    )
    assert told and "built environments that support it: vllm_0_32_0" in told[1]
    told = known_failures.explain(
        "ValueError: Model architectures ['Other'] are not supported for now."
    )
    assert told and "built environments" not in told[1]
