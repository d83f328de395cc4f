"""What a failed engine's log means, in words, and what to do about it.

The patterns are messages that vLLM, torch, transformers and huggingface_hub print, from vLLM 0.6 to
0.32; the comments name where they were read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchy import architectures
from benchy.errors import problem


@dataclass(frozen=True)
class Known:
    """One known failure. what and mend may use the pattern's named groups. page: number of its
    section in docs/problems.md, which is never given anew."""

    pattern: str
    what: str
    mend: str
    page: int

    @property
    def where(self) -> str:
        return problem(self.page)


# The first that matches the log wins: causes come before what they cause.
KNOWN = (
    Known(
        r"No space left on device|OSError: \[Errno 28\]|Disk quota exceeded|"
        r"Not enough free disk space",
        "the disk is full",
        "free some space where the model cache, the logs and /dev/shm lie, and start again",
        page=1,
    ),
    # vLLM 0.6.0 to 0.9 (issues 2418, 10517); from 0.9: issue 27508; 0.32 says it alike.
    Known(
        r"max seq len \((?P<want>\d+)\) is larger than the maximum number of tokens that can be "
        r"stored in KV cache \((?P<have>\d+)\)",
        "the KV cache has room for {have} tokens, fewer than max_model_len = {want}",
        "write max_model_len: {have} or less, or raise gpu_memory_utilization",
        page=2,
    ),
    Known(
        r"max seq len \((?P<want>\d+)\),? \(?(?P<need>[\d.]+ [KMGT]iB) KV cache is needed, which is"
        r" larger than the available KV cache memory \((?P<have>[\d.]+ [KMGT]iB)\)"
        r"(?:.{0,80}?estimated maximum model length is (?P<fits>\d+))?",
        "max_model_len = {want} needs a KV cache of {need}, and only {have} is free for it",
        "write max_model_len: {fits} or less, or raise gpu_memory_utilization "
        "(on a CPU: VLLM_CPU_KVCACHE_SPACE)",
        page=3,
    ),
    Known(
        r"No available memory for the cache blocks",
        "no memory is left for the KV cache once the model is loaded",
        "raise gpu_memory_utilization, lower max_model_len, or use more GPUs",
        page=4,
    ),
    # vLLM 0.9.1 and newer (issue 20305)
    Known(
        r"Free memory on device.{0,20}? \((?P<free>[\d.]+)/(?P<total>[\d.]+ GiB)\) on startup is "
        r"less than desired GPU memory utilization \((?P<share>[\d.]+), (?P<want>[\d.]+ GiB)\)",
        "the GPU has {free} of {total} free, and gpu_memory_utilization = {share} asks for {want}",
        "lower gpu_memory_utilization, or end what else uses the GPU (nvidia-smi)",
        page=5,
    ),
    Known(
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|"
        r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|"
        r"not enough memory: you tried to allocate|std::bad_alloc|"
        r"Not enough available memory in NUMA node|"
        r"memory.{0,40}is not enough to.{0,20}(?:allocate|hold)",
        "the memory does not hold the model",
        "use more GPUs (tensor_parallel_size), a smaller or quantized model, or a lower "
        "max_model_len or gpu_memory_utilization",
        page=6,
    ),
    Known(
        r"The NVIDIA driver on your system is too old \(found version (?P<found>\d+)\)|"
        r"CUDA driver version is insufficient for CUDA runtime version|"
        r"forward compatibility was attempted on non supported HW",
        "the NVIDIA driver is too old for this release's torch",
        "update the driver, or pin a release whose CUDA the driver supports",
        page=7,
    ),
    Known(
        r"no kernel image is available for execution on the device|"
        r"with CUDA capability sm_\d+ is not compatible|has compute capability (?P<cap>[\d.]+)\. ",
        "this release was not built for this GPU's generation",
        "pin another release (older ones for older GPUs), or write dtype: float16",
        page=8,
    ),
    Known(
        r"No CUDA GPUs are available|Found no NVIDIA driver on your system|"
        r"Failed to infer device type|CUDA-capable device\(s\) is/are busy|"
        r"libcuda\.so\.1: cannot open shared object file",
        "the engine finds no GPU that it can use",
        "see `nvidia-smi`; without a GPU write provider_config: vllm_cpu",
        page=9,
    ),
    # huggingface_hub, transformers.utils.hub
    Known(
        r"Cannot access gated repo|GatedRepoError|You are trying to access a gated repo|"
        r"Access to model (?P<repo>\S+) is restricted",
        "the model is gated: its hub asks for an accepted licence and a token",
        "accept the licence on the model's page, then set HF_TOKEN or hf_token in the provider",
        page=10,
    ),
    Known(
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|"
        r"Repository Not Found for url|Repo id must be in the form|Repo id must use alphanumeric",
        "the hub has no such model, or hides it from you",
        "check model.name; a private model needs HF_TOKEN",
        page=11,
    ),
    Known(
        r"RevisionNotFoundError|is not a valid git identifier",
        "the model has no such revision",
        "check model.revision",
        page=12,
    ),
    Known(
        r"couldn't connect to '?https?://|Failed to resolve '?(?P<host>[\w.-]+)|"
        r"Temporary failure in name resolution|Max retries exceeded with url|"
        r"LocalEntryNotFoundError|outgoing traffic has been disabled|OfflineModeIsEnabled|"
        r"Cannot reach https?://|Network is unreachable",
        "the model is not in the local cache and the hub can't be reached",
        "check the network, a proxy or HF_ENDPOINT, or download the model first and write "
        "model.path",
        page=13,
    ),
    Known(
        r"(?:contains custom code which must be executed|requires you to execute the "
        r"(?:configuration|modeling|tokenizer)? ?file|set the option `trust_remote_code=True`|"
        r"Please pass the argument `trust_remote_code=True`|trust_remote_code=True.{0,40}to allow)",
        "the model brings code of its own, which is not run unless you trust it",
        "read that code, then write trust_remote_code: true",
        page=14,
    ),
    # vLLM 0.6 (issue 9713) to 0.32
    Known(
        r"Model architectures? \[?(?P<arch>[^\]\n]{1,80}?)\]? (?:are|is) not supported for now|"
        r"Model architectures \[(?P<arch2>[^\]\n]{1,80})\] failed to be inspected|"
        r"has no vLLM implementation and the Transformers implementation is not compatible|"
        r"Cannot find model module",
        "this release cannot run the model's architecture",
        "pin a release that can (vllm_version), most often a newer one; see vLLM's list of "
        "supported models",
        page=15,
    ),
    # transformers, models/auto/configuration_auto.py
    Known(
        r"model type `(?P<type>[^`]{1,60})` but Transformers does not recognize this architecture|"
        r"Unrecognized model in|Unrecognized configuration class|"
        r"(?:No module named|has no attribute) '?transformers\.models\.",
        "the environment's transformers does not know this kind of model",
        "write a newer transformers_version, or pin a newer release (vllm_version)",
        page=16,
    ),
    Known(
        r"has no attribute '?all_special_tokens_extended|"
        r"Tokenizer class (?P<class>\w+) does not exist|data did not match any variant of untagged "
        r"enum",
        "the environment's transformers and the model's tokenizer do not fit together",
        "write another transformers_version: the one of the release's or the model's day",
        page=17,
    ),
    Known(
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel "
        r"size \((?P<size>\d+)\)",
        "the model's {heads} attention heads can't be split over tensor_parallel_size = {size}",
        "write a tensor_parallel_size that divides {heads}",
        page=18,
    ),
    Known(
        r"max_model_len \((?P<want>\d+)\) is greater than the derived max_model_len.{0,60}?"
        r"=(?P<have>\d+)",
        "max_model_len = {want} is more than the model was made for ({have})",
        "write max_model_len: {have} or less",
        page=19,
    ),
    Known(
        r"`limit_mm_per_prompt` is only supported for multimodal models",
        "this release takes limits for images only with a model that reads images",
        "leave limit_mm_per_prompt out",
        page=20,
    ),
    Known(
        r"Bfloat16 is only supported on GPUs with compute capability of at least",
        "this GPU cannot compute in bfloat16",
        "write dtype: float16",
        page=21,
    ),
    Known(
        r"(?:Address already in use|address already in use|\[Errno 98\])",
        "the port is in use",
        "leave `port` out (benchy takes a free one) or end what listens there",
        page=22,
    ),
    Known(
        r"(?:OSError|EnvironmentError|ValueError|FileNotFoundError).{0,60}?"
        r"(?:does not appear to have a file named (?P<file>\S+)|No such file or directory|"
        r"Cannot find any model weights|Can't load (?:the )?(?:configuration|tokenizer|model))|"
        r"Cannot find any model weights with|HFValidationError|SafetensorError|"
        r"MetadataIncompleteBuffer|EntryNotFoundError|No config file found|"
        r"Invalid repository ID or local directory",
        "a file of the model is missing or broken",
        "check model.name or model.path; a download that broke off is mended by deleting the "
        "model from the cache",
        page=23,
    ),
    Known(
        r"error: (?:unrecognized arguments|argument |ambiguous option)[^\n]*",
        "the engine refuses its arguments",
        "compare the options with the release's `--help`",
        page=24,
    ),
    Known(
        r"No module named '(?P<module>[\w.]+)'|ImportError: (?P<import>[^\n]{1,120})|"
        r"undefined symbol: |ModuleNotFoundError",
        "the environment is incomplete or does not fit together",
        "build it anew: delete its directory under venvs/ and run make venvs; if it fails again, "
        "pin another release or transformers_version",
        page=25,
    ),
    Known(
        r"Input/output error|Bus error|insufficient shared memory|\bSIGBUS\b",
        "shared memory ran out",
        "give /dev/shm more room (containers: --shm-size or --ipc=host)",
        page=26,
    ),
    Known(
        r"died unexpectedly|Engine core proc.{0,40}died|EngineDeadError|SIGKILL|exit code: -9",
        "a process of the engine was killed",
        "if nobody did so, the machine ran out of memory: see `dmesg`",
        page=27,
    ),
)

_PREFIX = re.compile(
    r"^(?:\([^()]*pid=\d+\) ?)*"
    r"(?:(?:ERROR|CRITICAL|WARNING|INFO) [\d-]+ [\d:.]+ (?:\[[^\]]*\]|\S+) ?)?"
)
_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w]*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt|Expired|Refused)\b[:(]?"
    r"|^Exception:|^\S+: error: |^(?:Fatal|Killed|Segmentation fault|Bus error|Aborted)"
)
_REQUEST = re.compile(r'INFO: +\S+ - "')  # uvicorn, one a request
_AFTER = re.compile(
    r"Traceback|  File |Process |INFO:|The above exception|During handling|.*failed to start\.$"
)
_NOISE = re.compile(
    r"See (?:root cause above|stack trace)|Engine core initialization failed|"
    r"WorkerProc initialization failed|^SystemExit|^KeyboardInterrupt|CancelledError"
)


def explain(log: str) -> tuple[str, str] | None:
    """What happened and what to do, for the text of an engine's log, the second with the place
    where more is said; None if it isn't known."""
    for known in KNOWN:
        if match := re.search(known.pattern, log, re.DOTALL if "fits" in known.pattern else 0):
            words = {key: value or "" for key, value in match.groupdict().items()}
            mend = known.mend
            if "{fits}" in mend and not words.get("fits"):
                mend = mend.replace(": {fits} or less", " smaller")
            mend = mend.format(**words)
            if named := words.get("arch") or words.get("arch2"):
                mend = "\n".join(filter(None, [mend, architectures.advice(named)]))
            return known.what.format(**words), f"{mend}\n({known.where})"
    return None


def telling_lines(log: str, n: int = 12) -> list[str]:
    """Up to n lines of the log that say why: the exceptions, else its last ones.

    Prefixes with process and time go, repeats go, and so do the exceptions that only say that some
    other process had one.
    """
    raw = [line.rstrip() for line in log.splitlines()]
    raw = [line for line in raw if _PREFIX.sub("", line) and not _REQUEST.match(line)]
    lines = [_PREFIX.sub("", line) for line in raw]
    # Process and level of each line, without the time: a message goes on only where they stay.
    whose = [re.sub(r"[\d:.-]+ .*", "", line[: len(line) - len(rest)])
             for line, rest in zip(raw, lines, strict=True)]  # fmt: skip
    telling: list[str] = []
    for at, line in enumerate(lines):
        if not _EXCEPTION.search(line) or _NOISE.search(line):
            continue
        # An exception's message may go on; a traceback, a log line or another exception ends it.
        block = [line]
        for then, more in zip(whose[at + 1 : at + 4], lines[at + 1 : at + 4], strict=True):
            if then != whose[at] or _EXCEPTION.search(more) or _AFTER.match(more):
                break
            block.append(more)
        telling += [text[:300] for text in block if text[:300] not in telling]
    if not telling:
        telling = [line[:300] for line in lines]
    return telling[-n:]
