"""Tests of which exceptions and errors of an engine's log count as the cause of its failure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchy.serving import diagnosis
from benchy.serving.known_failures import KnownFailure

HARMLESS = [
    "INFO 11-23 09:36:38 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: "
    "trust_remote_code=False, max_seq_len=1024",
    "WARNING [system_utils.py:255] Found ulimit of 20000 and failed to automatically increase",
    "(Worker pid=3) INFO Loading weights took 0.01 seconds",
]


CORE = "(EngineCore pid=9251) "
STAMP = "11-23 09:36:48 [core.py:1510] "


def test_a_known_failure_has_its_own_hint_if_the_log_lacks_a_number() -> None:
    known = KnownFailure(
        r"too long(?:.*fits (?P<most>\d+))?", "it is too long", "write {most} or less",
        page=3, vague_hint="write less",
    )  # fmt: skip
    lines = replace(known, multiline=True)
    for each, log, hint in (
        (known, "too long, fits 8", "write 8 or less"),
        (known, "too long\nfits 8", "write less"),
        (lines, "too long\nfits 8", "write 8 or less"),
        (lines, "too long", "write less"),
    ):
        match = diagnosis._search(each, log)
        assert match and diagnosis._explanation(each, match).hint.splitlines()[0] == hint


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
    assert diagnosis.explain(log) is None
    assert diagnosis.significant_lines(log) == [exception]


def test_the_exception_behind_a_crash_is_explained() -> None:
    told = diagnosis.explain(crash("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"))
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
    told = diagnosis.explain(f"{line}\n{after}")
    assert told and "was killed" in told[0]
    assert "died unexpectedly" in diagnosis.significant_lines(f"{line}\n{after}")[0]


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
    assert diagnosis.explain(log) is None
    assert diagnosis.significant_lines(log)[-1] == "IndexError: list index out of range"


def test_handled_exception_is_explained_unless_its_pattern_is_loose() -> None:
    assert (
        diagnosis.explain(crash("ModuleNotFoundError: No module named 'x'", "IndexError")) is None
    )
    told = diagnosis.explain(crash("OSError: [Errno 28] No space left on device", "IndexError"))
    assert told and "disk" in told[0]


def test_torch_warning_explains_why_no_device_is_found() -> None:
    log = (
        "/x/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: The NVIDIA driver on "
        "your system is too old (found version 11040). (Triggered internally at a.cpp:109.)\n"
        'Traceback (most recent call last):\n  File "/x", line 1\n'
        "RuntimeError: Failed to infer device type\n"
    )
    told = diagnosis.explain(log)
    assert told and "driver is too old" in told[0]


def test_missing_library_and_missing_model_file_are_distinguished() -> None:
    lib = "OSError: libcudart.so.12: cannot open shared object file: No such file or directory"
    told = diagnosis.explain(crash(lib))
    assert told and "environment is incomplete" in told[0]
    file = "FileNotFoundError: [Errno 2] No such file or directory: '/m/model-1.safetensors'"
    told = diagnosis.explain(crash(file))
    assert told and "a file of the model is missing" in told[0]


def test_logged_error_that_is_not_an_exception_is_a_cause() -> None:
    line = (
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): "
        "address already in use"
    )
    told = diagnosis.explain(f"{line}\n{crash('IndexError: x')}")
    assert told and "the port is in use" in told[0]


@pytest.mark.parametrize("log", HARMLESS)
def test_ordinary_lines_have_no_explanation(log: str) -> None:
    assert diagnosis.explain(log) is None


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
    assert diagnosis.significant_lines(REAL) == ["ValueError: no room for it"]


def test_telling_lines_without_an_exception_are_the_last_lines() -> None:
    log = "\n".join(f"INFO 11-23 09:00:0{n} [a.py:1] line {n}" for n in range(9))
    assert diagnosis.significant_lines(log, 2) == ["line 7", "line 8"]
    assert diagnosis.significant_lines("") == []


def test_a_message_of_several_lines_is_kept() -> None:
    log = "pydantic.ValidationError: 1 validation error\n  Value error, no such thing\nINFO: done\n"
    assert diagnosis.significant_lines(log)[:2] == log.splitlines()[:2]


def test_lines_of_other_processes_are_not_part_of_a_message() -> None:
    log = (
        "safetensors.SafetensorError: invalid header length\n"
        "(EngineCore pid=7) INFO 11-23 11:53:01 [executor.py:479] [shutdown] all exited\n"
        "(EngineCore pid=7) ERROR 11-23 11:53:01 [core.py:1510] EngineCore failed to start.\n"
    )
    assert diagnosis.significant_lines(log) == [
        "safetensors.SafetensorError: invalid header length"
    ]


def test_hint_names_built_environments_that_support_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for env, names in (("vllm_0_8_0", ["LlamaForCausalLM"]), ("vllm_0_32_0", ["NewForCausalLM"])):
        models = tmp_path / f"venvs/{env}/lib/python3.11/site-packages/vllm/model_executor/models"
        models.mkdir(parents=True)
        (models / "registry.py").write_text(json.dumps(dict.fromkeys(names, "x")))
        (tmp_path / f"venvs/{env}/.stamp").write_text("{}")
    told = diagnosis.explain(
        "ValueError: Model architectures ['NewForCausalLM'] are not supported for now"
    )
    assert told and "built environments that support it: vllm_0_32_0" in told[1]
    told = diagnosis.explain("ValueError: Model architectures ['Other'] are not supported for now.")
    assert told and "built environments" not in told[1]
