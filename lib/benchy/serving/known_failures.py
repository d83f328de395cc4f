"""The table of known failures of engines: what they write to their logs, and what to do about them.

`diagnosis.explain` searches logs for these patterns. docs/problems.md has a section for each row.

The patterns are messages of vLLM (0.6 to 0.32), torch, transformers and huggingface_hub. Comments
name the issue or the source file that a message comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchy.core.errors import FailureKind, problem


@dataclass(frozen=True)
class KnownFailure:
    """A known failure.

    Attributes:
        pattern: Regular expression to search for in the log.
        what: What happened. May use the named groups of the pattern.
        hint: What to do. May use the named groups of the pattern.
        page: Number of its section in docs/problems.md. Numbers are never reused.
        warned: If an exception mentions the device, search the whole log, warnings included.
        loose: The pattern is weak evidence. Skip exceptions whose handling raised another one.
        silent: Applies only to logs without an exception.
        kind: Kind of the failure, for code that depends on it.
        vague_hint: The hint if a named group of `hint` has no match.
        multiline: A "." of the pattern also matches the end of a line.
    """

    pattern: str
    what: str
    hint: str
    page: int
    warned: bool = False
    loose: bool = False
    silent: bool = False
    kind: FailureKind = FailureKind.OTHER
    vague_hint: str = ""
    multiline: bool = False

    @property
    def where(self) -> str:
        return problem(self.page)


# The first match wins, so causes come before their effects.
KNOWN = (
    KnownFailure(
        r"No space left on device|OSError: \[Errno 28\]|Disk quota exceeded|"
        r"Not enough free disk space",
        "the disk is full",
        "free some space for the model cache, the logs and /dev/shm, and start again",
        page=1,
    ),
    # vLLM 0.6.0 to 0.9: issues 2418, 10517. From 0.9: issue 27508, unchanged in 0.32.
    KnownFailure(
        r"max seq len \((?P<want>\d+)\) is larger than the maximum number of tokens that can be "
        r"stored in KV cache \((?P<have>\d+)\)",
        "the KV cache has room for {have} tokens, fewer than max_model_len = {want}",
        "write max_model_len: {have} or less, or raise gpu_memory_utilization",
        page=2,
    ),
    KnownFailure(
        r"max seq len \((?P<want>\d+)\),? \(?(?P<need>[\d.]+ [KMGT]iB) KV cache is needed, which is"
        r" larger than the available KV cache memory \((?P<have>[\d.]+ [KMGT]iB)\)"
        r"(?:.{0,80}?estimated maximum model length is (?P<fits>\d+))?",
        "max_model_len = {want} needs a KV cache of {need}, and only {have} is free for it",
        "write max_model_len: {fits} or less, or raise gpu_memory_utilization "
        "(on a CPU: VLLM_CPU_KVCACHE_SPACE)",
        page=3,
        vague_hint="write max_model_len smaller, or raise gpu_memory_utilization "
        "(on a CPU: VLLM_CPU_KVCACHE_SPACE)",
        multiline=True,
    ),
    KnownFailure(
        r"No available memory for the cache blocks",
        "no memory is left for the KV cache once the model is loaded",
        "raise gpu_memory_utilization, lower max_model_len, or use more GPUs",
        page=4,
    ),
    # vLLM 0.9.1 and newer (issue 20305)
    KnownFailure(
        r"Free memory on device.{0,20}? \((?P<free>[\d.]+)/(?P<total>[\d.]+ GiB)\) on startup is "
        r"less than desired GPU memory utilization \((?P<share>[\d.]+), (?P<want>[\d.]+ GiB)\)",
        "the GPU has {free} of {total} free, and gpu_memory_utilization = {share} asks for {want}",
        "lower gpu_memory_utilization, or end the other programs on the GPU (nvidia-smi)",
        page=5,
    ),
    KnownFailure(
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
    KnownFailure(
        r"The NVIDIA driver on your system is too old \(found version (?P<found>\d+)\)|"
        r"CUDA driver version is insufficient for CUDA runtime version|"
        r"forward compatibility was attempted on non supported HW",
        "the NVIDIA driver is too old for this release's torch",
        "update the driver, or pin a release whose CUDA the driver supports",
        page=7,
        warned=True,
    ),
    KnownFailure(
        r"no kernel image is available for execution on the device|"
        r"with CUDA capability sm_\d+ is not compatible|has compute capability (?P<cap>[\d.]+)\. ",
        "this release was not built for this GPU's generation",
        "pin another release (older ones for older GPUs), or write dtype: float16",
        page=8,
        warned=True,
    ),
    KnownFailure(
        r"No CUDA GPUs are available|Found no NVIDIA driver on your system|"
        r"Failed to infer device type|CUDA-capable device\(s\) is/are busy|"
        r"libcuda\.so\.1: cannot open shared object file",
        "the engine finds no GPU that it can use",
        "see `nvidia-smi`; without a GPU write provider_config: vllm_cpu",
        page=9,
    ),
    # huggingface_hub, transformers.utils.hub
    KnownFailure(
        r"Cannot access gated repo|GatedRepoError|You are trying to access a gated repo|"
        r"Access to model (?P<repo>\S+) is restricted",
        "the model is gated: it needs an accepted license and a token",
        "accept the license on the model's page, then set HF_TOKEN or hf_token in the provider",
        page=10,
    ),
    KnownFailure(
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|"
        r"Repository Not Found for url|Repo id must be in the form|Repo id must use alphanumeric",
        "the hub has no such model, or hides it from you",
        "check model.name; a private model needs HF_TOKEN",
        page=11,
    ),
    KnownFailure(
        r"RevisionNotFoundError|is not a valid git identifier",
        "the model has no such revision",
        "check model.revision",
        page=12,
    ),
    KnownFailure(
        r"couldn't connect to '?https?://|Failed to resolve '?(?P<host>[\w.-]+)|"
        r"Temporary failure in name resolution|Max retries exceeded with url|"
        r"LocalEntryNotFoundError|outgoing traffic has been disabled|OfflineModeIsEnabled|"
        r"Cannot reach https?://|Network is unreachable",
        "the model is not in the local cache and the hub can't be reached",
        "check the network, a proxy or HF_ENDPOINT, or run make fetch where there is a network; "
        "model.name may be a directory",
        page=13,
    ),
    KnownFailure(
        r"(?:contains custom code which must be executed|requires you to execute the "
        r"(?:configuration|modeling|tokenizer)? ?file|set the option `trust_remote_code=True`|"
        r"Please pass the argument `trust_remote_code=True`|trust_remote_code=True.{0,40}to allow)",
        "the model brings code of its own, which is not run unless you trust it",
        "read that code, then write trust_remote_code: true",
        page=14,
    ),
    # vLLM 0.6 (issue 9713) to 0.32
    KnownFailure(
        r"Model architectures? \[?(?P<arch>[^\]\n]{1,80}?)\]? (?:are|is) not supported for now|"
        r"Model architectures \[(?P<arch2>[^\]\n]{1,80})\] failed to be inspected|"
        r"has no vLLM implementation and the Transformers implementation is not compatible|"
        r"Cannot find model module",
        "this release cannot run the model's architecture",
        "pin a release that can (vllm_version), usually a newer one; see vLLM's list of "
        "supported models",
        page=15,
    ),
    # transformers, models/auto/configuration_auto.py
    KnownFailure(
        r"model type `(?P<type>[^`]{1,60})` but Transformers does not recognize this architecture|"
        r"Unrecognized model in|Unrecognized configuration class|"
        r"(?:No module named|has no attribute) '?transformers\.models\.",
        "the environment's transformers does not know this kind of model",
        "write a newer transformers_version, or pin a newer release (vllm_version)",
        page=16,
    ),
    KnownFailure(
        r"has no attribute '?all_special_tokens_extended|"
        r"Tokenizer class (?P<class>\w+) does not exist|data did not match any variant of untagged "
        r"enum",
        "the environment's transformers and the model's tokenizer do not fit together",
        "write another transformers_version, one as old as the release or the model",
        page=17,
    ),
    KnownFailure(
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel "
        r"size \((?P<size>\d+)\)",
        "the model's {heads} attention heads can't be split over tensor_parallel_size = {size}",
        "write a tensor_parallel_size that divides {heads}",
        page=18,
    ),
    KnownFailure(
        r"max_model_len \((?P<want>\d+)\) is greater than the derived max_model_len.{0,60}?"
        r"=(?P<have>\d+)",
        "max_model_len = {want} is more than the model was made for ({have})",
        "write max_model_len: {have} or less",
        page=19,
    ),
    KnownFailure(
        r"`limit_mm_per_prompt` is only supported for multimodal models",
        "this release supports limit_mm_per_prompt only for multimodal models",
        "remove limit_mm_per_prompt",
        page=20,
    ),
    KnownFailure(
        r"Bfloat16 is only supported on GPUs with compute capability of at least",
        "this GPU cannot compute in bfloat16",
        "write dtype: float16",
        page=21,
    ),
    KnownFailure(
        r"(?:Address already in use|address already in use|\[Errno 98\])",
        "the port is in use",
        "remove `port` (benchy picks a free one), or end the program that uses it",
        page=22,
        loose=True,
        kind=FailureKind.PORT_IN_USE,
    ),
    KnownFailure(
        r"(?:OSError|EnvironmentError|ValueError|FileNotFoundError).{0,60}?"
        r"(?:does not appear to have a file named (?P<file>\S+)|"
        r"Cannot find any model weights|Can't load (?:the )?(?:configuration|tokenizer|model))|"
        # Limited to model files: the missing file may also be nvcc, ninja or a library.
        r"No such file or directory: \S*\.(?:safetensors|bin|pth?|gguf|json|model|tiktoken)\b|"
        r"Cannot find any model weights with|HFValidationError|SafetensorError|"
        r"MetadataIncompleteBuffer|EntryNotFoundError|No config file found|"
        r"Invalid repository ID or local directory",
        "a file of the model is missing or broken",
        "check model.name; if a download was interrupted, delete the model from the cache",
        page=23,
        loose=True,
    ),
    KnownFailure(
        r"error: (?:unrecognized arguments|argument |ambiguous option)[^\n]*",
        "the engine refuses its arguments",
        "compare the options with the release's `--help`",
        page=24,
    ),
    # transformers, dynamic_module_utils.py, check_imports
    KnownFailure(
        r"This modeling file requires the following packages that were not found in your "
        r"environment: (?P<packages>[\w.-]+(?:, [\w.-]+)*)",
        "the model's own code needs packages that the environment lacks: {packages}",
        "write extra_packages: [{packages}]",
        page=36,
    ),
    KnownFailure(
        r"No module named '(?P<module>[\w.]+)'|ImportError: (?P<import>[^\n]{1,120})|"
        r"undefined symbol: |ModuleNotFoundError|"
        r"OSError: \S+\.so[.\d]*: cannot open shared object file",
        "the environment is incomplete or does not fit together",
        "rebuild it: delete its directory under venvs/ and run make venvs; if it fails again, "
        "pin another release or transformers_version; packages that the model's own code imports "
        "belong in extra_packages",
        page=25,
        loose=True,
    ),
    KnownFailure(
        r"Bus error|insufficient shared memory|\bSIGBUS\b",
        "shared memory ran out",
        "make /dev/shm larger (containers: --shm-size or --ipc=host)",
        page=26,
    ),
    KnownFailure(
        r"died unexpectedly|Engine core proc.{0,40}died|EngineDeadError|SIGKILL|exit code: -9",
        "a process of the engine was killed",
        "if nobody killed it, the machine ran out of memory: see `dmesg`",
        page=27,
        silent=True,
    ),
)
