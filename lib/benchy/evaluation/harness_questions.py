"""Facts about a task and a tokenizer, from the harness's environment.

Runs harness_facts.py there, once for each set of tasks and for each tokenizer. Its answers are
cached in build/preflight/KEY.json, where KEY is a hash of everything that they depend on. Errors
and unknown names are not cached: the hub may have been unreachable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchy.core import hashing, paths
from benchy.core.specs import ResultSpec
from benchy.evaluation import environment_questions, harness, provenance
from benchy.evaluation.environment_questions import Facts, Question
from benchy.evaluation.result_specs import Specs
from benchy.serving.preparation import FetchedFiles

SCRIPT = paths.SCRIPTS / "harness_facts.py"
# Texts on which tokenizers differ: named special tokens, spaces, accents, emoji, digits.
PROBE = (
    "Hello world",
    " leading,  two  spaces\tand a tab ",
    "line\nbreak\n\n  indented",
    "¿Dónde está el niño? São Paulo, coração.",
    "emoji 🙂 👩\u200d👩\u200d👧, 中文, العربية",
    "12345 3.14 1e-5",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] Hi [/INST]</s>",
)


def tokenizer_backend(result: ResultSpec) -> str:
    """Return the tokenizer backend that a result spec requests, or the default."""
    return result["task"]["tokenizer_backend"] or "huggingface"


def needs_tokenizer(result: ResultSpec) -> bool:
    """Return whether the harness itself loads a tokenizer."""
    return not result["chat"] and tokenizer_backend(result) in ("huggingface", "tiktoken")


def task_facts(specs: Specs, env: Mapping[str, str]) -> Facts:
    """Return the facts of a task from harness_facts.py, or {} if it gives none."""
    return environment_questions.ask(
        harness.python(specs.result), SCRIPT, task_question(specs), env
    )


def tokenizer_facts(result: ResultSpec, files: FetchedFiles, env: Mapping[str, str]) -> Facts:
    """Return the facts of the tokenizer from harness_facts.py, or {} if it gives none.

    Args:
        result: The result spec.
        files: The model's files that are served.
        env: Environment variables of the script.
    """
    return environment_questions.ask(
        harness.python(result), SCRIPT, tokenizer_question(result, files), env
    )


def task_question(specs: Specs) -> Question:
    task = specs.result["task"]
    subject = {"include_path": specs.task["include_path"], "names": task["task_name"]}
    files = {"files": task["files"], "files_elsewhere": task.get("files_elsewhere")}
    return _question(specs.result, "tasks", subject, files)


def tokenizer_question(result: ResultSpec, files: FetchedFiles) -> Question:
    endpoint = harness.HarnessEndpoint("", result["model"]["name"], 0, files=files)
    backend = tokenizer_backend(result)
    name, revision = harness.tokenizer(result, endpoint)
    subject = {
        "backend": backend,
        "name": endpoint.served_model if backend == "tiktoken" else name,
        "revision": revision,
        "trust_remote_code": bool(result["options"].get("trust_remote_code")),
        "texts": list(PROBE),
    }
    return _question(result, "tokenizer", subject, environment_questions.small_files(Path(name)))


def _question(result: ResultSpec, kind: str, subject: Mapping[str, Any], files: Any) -> Question:
    """Return a question. `files` are digests of the files that its answer depends on."""
    env = result["task"]["harness_environment"]
    made_from = [hashing.sha256(SCRIPT), env, *provenance.made_by(env), kind, subject, files]
    return Question(
        kind, subject, environment_questions.FOLDER / f"{hashing.digest(made_from)[:32]}.json"
    )
