"""Which of the caller's environment variables reach the programs that benchy starts.

This module decides it for uv, engines and the harness; docs/environments.md describes it. It uses
the standard library only, because the bootstrap imports it too.

benchy's own Python runs with -I (lib/launch, bin/bootstrap), so no PYTHON* variable reaches it.
Programs that a person runs through benchy (`bin/serve MODEL -- COMMAND`, NOTIFY, a launcher's
programs) get the whole environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# These select the caller's interpreter and packages. PYTHON by itself is a knob of make.
_PYTHON = re.compile(r"PYTHON.+|__PYVENV_LAUNCHER__|VIRTUAL_ENV")
_ACTIVE = re.compile(r"CONDA_(PREFIX|DEFAULT_ENV|SHLVL)")  # uv would prefer such an environment

# --- uv. All variables of uv 0.13.9 (uv-static/src/env_vars.rs and the program itself), by how
# benchy treats them. Unlisted variables, such as those of a newer uv, do not reach uv.

# Sources of packages and Pythons, network access, caches and concurrency.
UV_HONOURED = frozenset(
    """
    UV_DEFAULT_INDEX UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX_STRATEGY
    UV_KEYRING_PROVIDER UV_INSECURE_HOST UV_NATIVE_TLS UV_SYSTEM_CERTS UV_CREDENTIALS_DIR
    UV_API_KEY UV_AUTH_TOKEN UV_NO_HF_TOKEN
    UV_S3_ENDPOINT_URL UV_GCS_ENDPOINT_URL UV_AZURE_ENDPOINT_URL
    UV_HTTP_TIMEOUT UV_HTTP_CONNECT_TIMEOUT UV_REQUEST_TIMEOUT UV_HTTP_RETRIES UV_OFFLINE
    UV_REQUIRE_METADATA_RANGE_REQUESTS UV_NO_GITHUB_FAST_PATH UV_GITHUB_FAST_PATH_URL UV_GIT_LFS
    UV_CACHE_DIR UV_NO_CACHE UV_LINK_MODE UV_LOCK_TIMEOUT UV_STACK_SIZE
    UV_CONCURRENT_DOWNLOADS UV_CONCURRENT_BUILDS UV_CONCURRENT_INSTALLS UV_CONCURRENT_CACHE_READS
    UV_COMPILE_BYTECODE_TIMEOUT UV_NO_PROGRESS UV_HIDE_BUILD_OUTPUT
    UV_PYTHON_PREFERENCE UV_MANAGED_PYTHON UV_NO_MANAGED_PYTHON UV_PYTHON_DOWNLOADS
    UV_PYTHON_DOWNLOADS_JSON_URL UV_PYTHON_INSTALL_DIR UV_PYTHON_INSTALL_MIRROR
    UV_PYTHON_CACHE_DIR UV_PYTHON_BIN_DIR UV_PYTHON_INSTALL_BIN UV_PYTHON_SEARCH_PATH
    UV_PYTHON_CPYTHON_BUILD UV_ASTRAL_MIRROR_URL UV_LIBC
    UV_CUDA_DRIVER_VERSION UV_AMD_GPU_ARCHITECTURE
    UV_MALWARE_CHECK UV_MALWARE_CHECK_URL
    """.split()  # noqa: SIM905
)
_UV_INDEX_LOGIN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")

# A machine-wide cutoff, for safety: part of a lock's identity where it applies (resolver.py).
UV_IDENTITY = frozenset({"UV_EXCLUDE_NEWER"})

# Which of uv's configuration files are read: by uv_settings.py, not by uv itself.
UV_FILES = frozenset({"UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_NO_SYSTEM_CONFIG", "UV_ISOLATED"})

# These would choose other packages or install them differently without a trace in the lock. Use a
# configuration instead: constraints, overrides, extra_packages, torch_backend.
UV_CHANGES = frozenset(
    """
    UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE UV_BUILD_CONSTRAINT UV_RESOLUTION UV_PRERELEASE
    UV_PRERELEASE_PACKAGE UV_FORK_STRATEGY UV_TORCH_BACKEND UV_NO_SOURCES UV_NO_SOURCES_PACKAGE
    UV_NO_BUILD UV_NO_BUILD_PACKAGE UV_NO_BINARY UV_NO_BINARY_PACKAGE UV_NO_BUILD_ISOLATION
    UV_REQUIRE_HASHES UV_NO_VERIFY_HASHES UV_REQUIRE_BUILD_HASHES UV_INSECURE_NO_ZIP_VALIDATION
    UV_SKIP_WHEEL_FILENAME_CHECK UV_LEGACY_TAR_BACKEND UV_PREVIEW UV_PREVIEW_FEATURES
    """.split()  # noqa: SIM905
)

# These concern a person's own projects, tools and environments, uv's output, or uv's own tests.
UV_FOREIGN = frozenset(
    """
    UV UV_PROJECT UV_NO_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIR UV_WORKING_DIRECTORY
    UV_PYTHON UV_SYSTEM_PYTHON UV_BREAK_SYSTEM_PACKAGES UV_COMPILE_BYTECODE UV_NO_EDITABLE
    UV_DEV UV_NO_DEV UV_NO_GROUP UV_NO_DEFAULT_GROUPS UV_NO_SYNC UV_LOCKED UV_FROZEN
    UV_NO_INSTALL_PROJECT UV_NO_INSTALL_WORKSPACE UV_NO_INSTALL_LOCAL
    UV_ONLY_INSTALL_PROJECT UV_ONLY_INSTALL_WORKSPACE UV_ONLY_INSTALL_LOCAL
    UV_ENV_FILE UV_NO_ENV_FILE UV_TOOL_DIR UV_TOOL_BIN_DIR UV_VENV_CLEAR UV_VENV_RELOCATABLE
    UV_VENV_SEED UV_INIT_BARE UV_INIT_BUILD_BACKEND UV_NO_INSTALLER_METADATA
    UV_CUSTOM_COMPILE_COMMAND UV_SHOW_RESOLUTION UV_NO_WRAP UV_LOG_CONTEXT UV_UPDATE_SCHEMA
    UV_PYTHON_INSTALL_REGISTRY UV_PYTHON_NO_REGISTRY UV_PYPY_INSTALL_MIRROR
    UV_GRAALPY_INSTALL_MIRROR UV_PYODIDE_INSTALL_MIRROR
    UV_PYTHON_PYPY_BUILD UV_PYTHON_GRAALPY_BUILD UV_PYTHON_PYODIDE_BUILD
    UV_PUBLISH_URL UV_PUBLISH_TOKEN UV_PUBLISH_INDEX UV_PUBLISH_USERNAME UV_PUBLISH_PASSWORD
    UV_PUBLISH_CHECK_URL UV_PUBLISH_NO_ATTESTATIONS UV_UPLOAD_HTTP_TIMEOUT
    UV_GITHUB_TOKEN UV_INSTALLER_GITHUB_BASE_URL UV_INSTALLER_GHE_BASE_URL UV_INSTALL_DIR
    UV_UNMANAGED_INSTALL UV_DOWNLOAD_URL UV_NO_MODIFY_PATH
    UV_RUN_RECURSION_DEPTH UV_RUN_MAX_RECURSION_DEPTH UV_RUN_RLIMIT_NOFILE
    UV_TEST_NO_HTTP_RETRY_DELAY UV_TEST_NO_CLI_PROGRESS UV_TEST_CURRENT_TIMESTAMP
    UV_TEST_AVAILABLE_VERSION_CUTOFF
    """.split()  # noqa: SIM905
)

# --- Engines.

# vLLM's variables that affect how a server runs on this machine, but not its answers. The others
# belong in a configuration (engine_env), where they are part of a result's spec.
_ENGINE_RUNS = re.compile(
    r"VLLM_("
    r"(LOGGING|LOG|DEBUG_LOG|TRACE|USAGE)_\w+|CONFIGURE_LOGGING|NO_USAGE_STATS|DO_NOT_TRACK"
    r"|(CACHE|CONFIG)_ROOT|ASSETS_CACHE\w*|XLA_CACHE_PATH|RPC_\w+|HOST_IP|LOOPBACK_IP|PORT|DP_\w+"
    r"|NCCL_(SO|INCLUDE)_PATH|SKIP_P2P_CHECK|SLEEP_WHEN_IDLE|KEEP_ALIVE_ON_ENGINE_DEATH"
    r"|\w+_TIMEOUT(_\w+)?|RINGBUFFER_WARNING_INTERVAL|WORKER_MULTIPROC_METHOD"
    r"|CPU_(OMP_THREADS_BIND|NUM_OF_RESERVED_CPU|KVCACHE_SPACE)"
    r")"
)
# Other variables of the caller that can change an engine's answers. They describe the machine, so
# they are passed on, and recorded with each result.
_ENGINE_NOTED = re.compile(
    r"(VLLM|CUDA|TORCH|TORCHINDUCTOR|TORCHDYNAMO|PYTORCH|NCCL|OMP|MKL|HF|TRANSFORMERS|CUBLAS|CUDNN"
    r"|TRITON|FLASHINFER|FLASH|XFORMERS|HIP|ROCR|HSA)_\w+|NVIDIA_TF32_OVERRIDE|LD_(PRELOAD|LIBRARY_PATH)"
)
# Variables of Make and of benchy itself.
_OURS = re.compile(r"BENCHY_\w*|MAKEFLAGS|MFLAGS|MAKELEVEL|MAKEOVERRIDES|VLLM_API_KEY")


def python_free(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables that affect another Python interpreter.

    Such variables change how it starts, what it imports or how it computes (PYTHONOPTIMIZE removes
    asserts).
    """
    return {name: value for name, value in environ.items() if not _PYTHON.fullmatch(name)}


def reaches_uv(name: str) -> bool:
    """Return whether uv gets a variable of the caller."""
    if not name.startswith("UV_") and name != "UV":
        return not _PYTHON.fullmatch(name) and not _ACTIVE.fullmatch(name)
    return name in UV_HONOURED | UV_IDENTITY or bool(_UV_INDEX_LOGIN.fullmatch(name))


def for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment for uv, before benchy adds its own variables."""
    return {name: value for name, value in environ.items() if reaches_uv(name)}


def excluded_from_locks(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are set and would choose other packages, sorted."""
    return sorted(name for name, value in environ.items() if name in UV_CHANGES and value)


def for_engine(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment for an engine, before its configuration adds to it."""
    return {
        name: value for name, value in python_free(environ).items() if not _OURS.fullmatch(name)
    }


def unplanned(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the caller's vLLM variables that can change an answer, sorted.

    A result records them, but changing one does not make it stale. VLLM_API_KEY is left out.
    """
    for name in sorted(environ):
        theirs = name.startswith("VLLM_") and not _ENGINE_RUNS.fullmatch(name)
        if theirs and environ[name] and name != "VLLM_API_KEY":
            yield name


def noted(name: str) -> bool:
    """Return whether a result records a variable that no configuration names."""
    return bool(_ENGINE_NOTED.fullmatch(name))


def for_harness(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment for the harness, before the task's own variables."""
    kept_out = re.compile(
        r"(OPENAI|VLLM)_\w*|MAKE\w*|HF_DATASETS_TRUST_REMOTE_CODE|LM_HARNESS_CACHE_PATH"
    )
    return {
        name: value
        for name, value in python_free(environ).items()
        if not _OURS.fullmatch(name) and not kept_out.fullmatch(name)
    }
