"""Builds the command line and the environment of lm-evaluation-harness.

Reads a result spec and a task spec (as written by the plan) and the endpoint from bin/serve. Writes
nothing; the harness writes to the directory that its command names. The facts about its options are
from the source of lm_eval 0.4.13 (lm_eval/models/api_models.py, openai_completions.py, _cli/run.py,
_cli/utils.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import hashing, knobs, paths
from benchy.core.specs import ResultSpec, ServerSpec, TaskSpec
from benchy.environments import node_copies
from benchy.process import environment_variables
from benchy.serving.preparation import NOT_FETCHED, FetchedFiles

# The harness tries a request up to three times, with pauses of 1 to 10 s. So a task ends within a
# minute if its server is gone, and within three request_timeouts if its server hangs.
MAX_RETRIES = 3
WRAPPER = paths.SCRIPTS / "harness_wrapper.py"
PREVIEW = paths.SCRIPTS / "harness_preview.py"
# The wrapper's code: it corrects prompts and answers, so a cache of answers depends on all of it.
WRAPPER_FILES = (
    WRAPPER,
    paths.SCRIPTS / "harness_answers.py",
    paths.SCRIPTS / "harness_arguments.py",
    paths.SCRIPTS / "harness_clients.py",
    paths.SCRIPTS / "harness_observations.py",
    paths.SCRIPTS / "harness_observer.py",
    paths.SCRIPTS / "harness_tokens.py",
)


@dataclass(frozen=True)
class HarnessEndpoint:
    """A server to send requests to.

    Attributes:
        url: URL without a path.
        served_model: Name of the model in requests.
        max_model_len: Tokens of prompt and answer together.
        max_num_seqs: Requests that the server handles at once; None if not known.
        files: The model's files that it serves.
    """

    url: str
    served_model: str
    max_model_len: int
    max_num_seqs: int | None = None
    files: FetchedFiles = NOT_FETCHED


@dataclass(frozen=True)
class RunFiles:
    """The files of one run of the harness.

    Attributes:
        output: Directory for the harness's files.
        settings: Settings of the script.
        facts: What the script observes.
        cache: Directory of what an interrupted run left, or None.
    """

    output: Path
    settings: Path
    facts: Path
    cache: Path | None = None


def max_length(spec: ResultSpec, endpoint: HarnessEndpoint) -> int:
    """Return the task's max_length in tokens, or the server's if that is unset or smaller."""
    requested = spec["task"]["max_length"]
    return min(requested, endpoint.max_model_len) if requested else endpoint.max_model_len


def model_args(spec: ResultSpec, task: TaskSpec, endpoint: HarnessEndpoint) -> dict[str, Any]:
    """Return the harness's --model_args for this result."""
    requested = spec["task"]
    args: dict[str, Any] = {
        "model": endpoint.served_model,
        "base_url": endpoint.url + ("/v1/chat/completions" if spec["chat"] else "/v1/completions"),
        # More requests would wait in the server while their timeout runs.
        "num_concurrent": min(task["num_concurrent"] or 1, endpoint.max_num_seqs or 1 << 20),
        "max_length": max_length(spec, endpoint),
        "max_retries": MAX_RETRIES,
        "timeout": task["request_timeout"],
        "seed": requested["seed"],  # --seed does not reach the requests
    }
    if spec["chat"]:
        return args  # the server applies its chat template; no tokenizer is needed here
    # "auto" may switch to the server's tokenizer, so the backend is always explicit.
    backend = requested["tokenizer_backend"] or "huggingface"
    args["tokenizer_backend"] = backend
    if backend == "huggingface":
        args["tokenizer"], revision = tokenizer(spec, endpoint)
        if revision:
            args["revision"] = revision
        if spec["options"].get("trust_remote_code"):
            args["trust_remote_code"] = True
    # Send token ids, with the special tokens that the tokenizer adds by default. If prompts are
    # sent as text, a server may add a beginning-of-sequence token that the harness does not count.
    # The harness then takes the prompt's last token for the answer's first, and every
    # log-likelihood is wrong. With ids, the numbers equal those of its in-process backend.
    by_ids = backend in ("huggingface", "remote")
    args["tokenized_requests"] = by_ids
    if by_ids:
        args["add_bos_token"] = True  # "add the special tokens that the tokenizer adds"
    return args


def tokenizer(spec: ResultSpec, endpoint: HarnessEndpoint) -> tuple[str, str | None]:
    """Return the server's tokenizer and its revision.

    This is the engine's option `tokenizer`, or else the model.
    """
    options = spec["options"]
    if named := options.get("tokenizer"):
        return str(paths.home(str(named))), options.get("tokenizer_revision")
    if endpoint.files.package:
        return endpoint.files.package, None
    revision = endpoint.files.commit or spec["model"]["revision"]
    return spec["model"]["path"] or spec["model"]["name"], revision


def python(spec: ResultSpec) -> str:
    """Return the Python of the harness's environment.

    Symlinks are not resolved, since their target is outside the environment.
    """
    folder = node_copies.folder(spec["task"]["harness_environment"])
    return str((folder / "bin" / "python").absolute())


def settings(
    spec: ResultSpec,
    facts: Path,
    request_fields: Sequence[str] | None,
    server: tuple[str, int],
    guardian: int,
) -> dict[str, Any]:
    """Return the settings for harness_wrapper.py.

    Args:
        spec: The result spec.
        facts: File to append facts to.
        request_fields: Fields that a request to the server may have; None if not known.
        server: Address and port of the server.
        guardian: Pid of the guardian. Only its descendants may answer.
    """
    return {
        "facts": str(facts.absolute()),
        "gen_kwargs": spec["task"]["gen_kwargs"],
        "request_fields": request_fields,
        "server": list(server),
        "guardian": guardian,
    }


def command(
    spec: ResultSpec,
    task: TaskSpec,
    endpoint: HarnessEndpoint,
    files: RunFiles,
    script: Path = WRAPPER,
) -> list[str]:
    """Return the command line of the harness. Maps are passed as JSON, without a shell.

    Args:
        spec: The result spec.
        task: The task spec.
        endpoint: The server.
        files: The files of the run.
        script: WRAPPER or PREVIEW.
    """
    requested = spec["task"]
    out = [
        python(spec),
        str(script),
        str(files.settings),
        "-m",
        "lm_eval",
        "--model",
        "local-chat-completions" if spec["chat"] else "local-completions",
        "--model_args",
        dumps(model_args(spec, task, endpoint)),
        f"--tasks={','.join(requested['task_name'])}",
        f"--seed={requested['seed']}",
        f"--output_path={files.output}",
    ]
    if spec["chat"]:
        out.append("--apply_chat_template")
    elif task["batch_size"]:
        out.append(f"--batch_size={task['batch_size']}")
    if requested["num_fewshot"] is not None:
        out.append(f"--num_fewshot={requested['num_fewshot']}")
    if requested["gen_kwargs"]:
        out += ["--gen_kwargs", dumps(requested["gen_kwargs"])]
    if spec["limit"] is not None:
        out.append(f"--limit={spec['limit']}")
    if task["include_path"]:
        out.append(f"--include_path={task['include_path']}")
    if task["log_samples"]:
        out.append("--log_samples")
    if files.cache:
        if task["cache_requests"]:
            out += ["--cache_requests", "true"]
        out.append(f"--use_cache={files.cache / 'answers'}")
    return out


def environment(
    spec: ResultSpec,
    task: TaskSpec,
    server: ServerSpec,
    cache: Path | None,
    base: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment variables of the harness.

    They are `base` with the server's key as OPENAI_API_KEY, which local-completions reads. `server`
    is the server spec, whose hf_cache is used.
    """
    env = environment_variables.for_harness(base)
    env["OPENAI_API_KEY"] = base.get("BENCHY_KEY", "")
    env["PYTHONUNBUFFERED"] = "1"
    env["TOKENIZERS_PARALLELISM"] = "false"
    if hub := server["hf_cache"]:
        env["HF_HUB_CACHE"] = str(paths.home(hub).absolute())
    if cache:
        # The harness caches prompts by task name alone. A shared cache would return the old
        # prompts of an edited task.
        env["LM_HARNESS_CACHE_PATH"] = str((cache / "prompts").absolute())
    if task["offline"] or knobs.on("OFFLINE", base):
        env["HF_HUB_OFFLINE"] = env["HF_DATASETS_OFFLINE"] = "1"
    if spec["task"]["trust_remote_code"]:
        # Lets `datasets` before 4 run the loading script of a dataset. The harness's own
        # --trust_remote_code would also trust code in the model's repository.
        env["HF_DATASETS_TRUST_REMOTE_CODE"] = "1"
    return env


def cache_digest(spec_bytes: bytes, args: Mapping[str, Any], made_by: Sequence[str]) -> str:
    """Return the name of the directory for the answers of an interrupted run.

    Each combination of spec, locks and arguments has its own: a database shared by two models has
    answered requests of one with outputs of the other (lm-evaluation-harness issues 2715, 4063).
    `made_by` lists the hashes of the locks, the release and the files of the model that answer.
    """
    same = {k: v for k, v in args.items() if k not in ("base_url", "num_concurrent", "timeout")}
    text = dumps(same) + "\n".join(made_by)
    return hashing.of_bytes(spec_bytes + text.encode())[:32]


def samples_answers(spec: ResultSpec) -> bool:
    """Return whether the spec requests sampled answers, which must not be repeated from a cache."""
    kwargs = spec["task"]["gen_kwargs"]
    return bool(kwargs.get("do_sample") or kwargs.get("temperature"))


def dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
