"""Checks of a task's tokenizer: that the harness can load it, and that it is the server's."""

from __future__ import annotations

from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Mistake
from benchy.core.specs import TaskSpec
from benchy.environments import lock_file
from benchy.evaluation import environment_questions, harness
from benchy.evaluation.environment_questions import Facts
from benchy.evaluation.result_specs import Specs
from benchy.evaluation.task_checks import mistake
from benchy.serving.preparation import FetchedFiles

# Errors of the hub's client. transformers raises them as OSError.
UNREACHED = ("OSError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError",
             "SSLError", "LocalEntryNotFoundError", "HfHubHTTPError", "GatedRepoError")  # fmt: skip


def mistakes(specs: Specs, files: FetchedFiles, facts: Facts) -> list[Mistake]:
    """Return the mistake that keeps the harness from loading the tokenizer, if any.

    Args:
        specs: The specs of the result.
        files: The model's files that are served.
        facts: The tokenizer's facts from harness_facts.py.
    """
    if "error" not in facts:
        return []
    task, source = specs.task, specs.server["source"]
    name, _ = harness.tokenizer(specs.result, harness.HarnessEndpoint("", "", 0, files=files))
    what = f"the tokenizer of {name} can't be loaded in {_environment(task)}"
    what += f": {facts['error'].splitlines()[0][:200]}"
    if specs.result["task"]["tokenizer_backend"] == "tiktoken":
        return [mistake(task, "tokenizer_backend", what, "write huggingface")]
    if not environment_questions.has_tokenizer(Path(name)):
        hint = "the model has no tokenizer: set tokenizer in the model's overrides"
        return [Mistake(source, 0, "model.name", what, hint)]
    if not Path(name).is_dir() and facts["error"].startswith(UNREACHED):
        hint = "it could not be downloaded: check the name, HF_TOKEN, the network, and OFFLINE"
        return [Mistake(source, 0, "model.name", what, hint)]
    hint = f"change or remove the pin of transformers in {task['source']} (extra_packages)"
    return [mistake(task, "extra_packages", what, hint)]


def _environment(task: TaskSpec) -> str:
    """Return the name of the harness's environment, with its release of transformers."""
    name = task["environment"]
    lock = paths.env_dir(name) / "lock"  # the one that it was built from
    packages = lock_file.packages(lock if lock.exists() else paths.lock(name))
    release = next((p.version for p in packages if p.name == "transformers"), "")
    return f"{name} (transformers {release})" if release else name


def difference(task: TaskSpec, text: str, ours: list[int], theirs: list[int]) -> Mistake:
    """Return the mistake for two tokenizers that differ.

    Args:
        task: The task spec.
        text: The probe text.
        ours: The harness's token ids of the text.
        theirs: The server's token ids of the text.
    """
    common = min(len(ours), len(theirs))
    at = next((n for n in range(common) if ours[n] != theirs[n]), common)
    shown = " and ".join(str(ids[max(0, at - 1) : at + 4]) for ids in (ours, theirs))
    return mistake(
        task,
        "tokenizer_backend",
        f"the tokenizers of {task['environment']} and of the server differ: {text!r} is "
        f"{len(ours)} and {len(theirs)} tokens, from token {at} on {shown}",
        "remove tokenizer from the model's options; or set tokenizer_mode: hf there, if the server "
        "has a tokenizer of its own (Mistral's); or pin releases of transformers that agree "
        "(extra_packages of the task, transformers_version)",
    )


def appended(task: TaskSpec, token: int) -> Mistake:
    """Return the mistake for a server that appends a token to prompts sent as text."""
    what = f"the server's tokenizer ends each prompt with token {token}, before the answer"
    return mistake(task, "tokenizer_backend", what, "write huggingface, which sends token ids")
