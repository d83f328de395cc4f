"""Resolve the spec of an environment for one Python with `uv pip compile`. Writes only the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from benchy.core import temporary_files
from benchy.environments import pins, uv, uv_options
from benchy.environments.environment_spec import BuildSpec
from benchy.environments.release_date import IndexQuery
from benchy.process.logged_program import Done

# The packages that uv takes from the PyTorch index with --torch-backend. That index reports no
# upload times, so they are exempt from the cutoff; the engine pins an exact torch anyway.
FROM_TORCH_INDEX = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton")


@dataclass(frozen=True)
class Compilation:
    """What uv answered.

    Attributes:
        done: The answer that counts.
        options: Options to repeat when installing from it.
        stderr: uv's output of all attempts.
    """

    done: Done
    options: list[str]
    stderr: list[str]


def compile_spec(
    spec: BuildSpec,
    query: IndexQuery,
    cutoff: str | None,
    exceptions: pins.Exceptions = MappingProxyType({}),
) -> Compilation:
    """Resolve a spec for the Python of `query`, as of a cutoff with exceptions.

    For CPUs, the machine's index comes before uv's torch backend, because it may have CPU builds.
    """
    fixed = ["--torch-backend", spec.torch_backend] if spec.torch_backend else []
    backends = [[], fixed] if spec.torch_backend == "cpu" else [fixed]
    attempts: list[Done] = []
    for backend in backends:
        exempt = _exempt_torch() if backend and cutoff else []
        options = [*backend, *exempt, *pins.options(exceptions)]
        done = _run(spec, query, cutoff, options)
        attempts.append(done)
        # The torch of the default index is the CUDA build (3 GB), so try the next backend.
        torch = re.search(r"^torch==(\S+)", done.stdout, re.M)
        if done.status == 0 and (backend or len(backends) == 1 or not torch or "+cpu" in torch[1]):
            break
    else:
        done, options = attempts[0], []
    return Compilation(done, options, [line for attempt in attempts for line in attempt.stderr])


def _run(spec: BuildSpec, query: IndexQuery, cutoff: str | None, options: Sequence[str]) -> Done:
    with temporary_files.folder("resolve") as folder:
        files: list[str] = []
        for flag, content in (("overrides", spec.overrides), ("constraints", spec.constraints)):
            if content:
                file = folder / f"{flag}.txt"
                file.write_text("\n".join(content) + "\n", encoding="utf-8")
                files += [f"--{flag}", str(file)]
        plain = ["--no-header", "--no-annotate", "--generate-hashes", "--python", query.python]
        until = uv_options.until(cutoff)
        arguments = ["compile", "-", *plain, *files, *query.options, *options, *until]
        requirements = "\n".join(spec.requirements)
        words, torch = uv.pip(arguments), spec.local_torch
        return uv.run(words, query.log, "resolving", requirements, torch, index=spec.index)


def _exempt_torch() -> list[str]:
    return [w for name in FROM_TORCH_INDEX for w in ("--exclude-newer-package", f"{name}=false")]
