"""lm-evaluation-harness: how it is called and what it leaves behind.

Reads: a result spec and a task spec (as the plan wrote them), the endpoint that bin/serve gave.
Writes: nothing; the harness itself writes into the directory that its command names.
Facts about its options were read in the source of lm_eval 0.4.13 (lm_eval/models/api_models.py,
openai_completions.py, _cli/run.py, _cli/utils.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import knobs, paths
from benchy.environments import node_copies
from benchy.process import environment_variables

Spec = Mapping[str, Any]

# The harness tries a request that fails three times in all, with pauses of 1 to 10 s: a server that
# is gone ends a task within a minute, a hung one within three request_timeouts.
MAX_RETRIES = 3
WRAPPER = paths.SCRIPTS / "harness_wrapper.py"
PREVIEW = paths.SCRIPTS / "harness_preview.py"


@dataclass(frozen=True)
class Endpoint:
    """A server to ask. url: without a path. served_model: the name it answers to.
    max_model_len: tokens of prompt and answer together. max_num_seqs: requests that it works on
    together, None if unknown. commit: of the hub's files that it serves, None if unknown."""

    url: str
    served_model: str
    max_model_len: int
    max_num_seqs: int | None = None
    commit: str | None = None


def max_length(spec: Spec, endpoint: Endpoint) -> int:
    """Tokens that the harness may fill: the task's own number, never more than the server's."""
    asked = spec["task"].get("max_length")
    return min(int(asked), endpoint.max_model_len) if asked else endpoint.max_model_len


def model_args(spec: Spec, task: Spec, endpoint: Endpoint) -> dict[str, Any]:
    """The harness's --model_args for this result."""
    asked = spec["task"]
    args: dict[str, Any] = {
        "model": endpoint.served_model,
        "base_url": endpoint.url + ("/v1/chat/completions" if spec["chat"] else "/v1/completions"),
        # More would wait in the server, at the cost of their time limit.
        "num_concurrent": min(task["num_concurrent"] or 1, endpoint.max_num_seqs or 1 << 20),
        "max_length": max_length(spec, endpoint),
        "max_retries": MAX_RETRIES,
        "timeout": task["request_timeout"],
        "seed": asked["seed"],  # --seed does not reach the requests
    }
    if spec["chat"]:
        return args  # the server applies its chat template; no tokenizer is needed here
    # "auto" may switch to the server's tokenizer by what it finds there, so one is always named.
    backend = asked["tokenizer_backend"] or "huggingface"
    args["tokenizer_backend"] = backend
    if backend == "huggingface":
        args["tokenizer"], revision = tokenizer(spec, endpoint)
        if revision:
            args["revision"] = revision
        if spec["options"].get("trust_remote_code"):
            args["trust_remote_code"] = True
    # Token ids, made as the model's tokenizer makes them by itself. Sent as text, the server adds
    # the beginning-of-sequence token that the harness did not count, and the last token of the
    # prompt is taken for the answer's first: with such a tokenizer every log-likelihood is then
    # off. In this form the numbers are those of the harness's own in-process backend.
    by_ids = backend in ("huggingface", "remote")
    args["tokenized_requests"] = by_ids
    if by_ids:
        args["add_bos_token"] = True  # "add the special tokens that the tokenizer adds"
    return args


def tokenizer(spec: Spec, endpoint: Endpoint) -> tuple[str, str | None]:
    """What the server tokenizes with, and its revision: its option `tokenizer`, else the model."""
    options = spec["options"]
    if named := options.get("tokenizer"):
        return str(paths.home(str(named))), options.get("tokenizer_revision")
    revision = endpoint.commit or spec["model"]["revision"]
    return spec["model"]["path"] or spec["model"]["name"], revision


def python(spec: Spec) -> str:
    """The Python of the harness's environment. Not resolved: a symlink followed would leave it."""
    folder = node_copies.folder(spec["task"]["harness_environment"])
    return str((folder / "bin" / "python").absolute())


def settings(
    spec: Spec,
    facts: Path,
    request_fields: Sequence[str] | None,
    server: tuple[str, int],
    guardian: int,
) -> dict[str, Any]:
    """What harness_wrapper.py reads. facts: the file that it appends to; request_fields: the names
    that a request to the server may have, None if not known; server: its address and port;
    guardian: the pid of the one whose descendants may answer there."""
    return {
        "facts": str(facts.absolute()),
        "gen_kwargs": spec["task"]["gen_kwargs"],
        "request_fields": request_fields,
        "server": list(server),
        "guardian": guardian,
    }


def command(
    spec: Spec,
    task: Spec,
    endpoint: Endpoint,
    output: Path,
    cache: Path | None,
    settings: Path,
    script: Path = WRAPPER,
) -> list[str]:
    """The harness's command line. output: the directory that it writes; cache: that of
    what an interrupted run left, or None; settings: of the script, the wrapper or PREVIEW. Maps are
    passed as JSON; no shell sees them."""
    asked = spec["task"]
    out = [
        python(spec),
        str(script),
        str(settings),
        "-m",
        "lm_eval",
        "--model",
        "local-chat-completions" if spec["chat"] else "local-completions",
        "--model_args",
        dumps(model_args(spec, task, endpoint)),
        f"--tasks={','.join(asked['task_name'])}",
        f"--seed={asked['seed']}",
        f"--output_path={output}",
    ]
    if spec["chat"]:
        out.append("--apply_chat_template")
    elif task["batch_size"]:
        out.append(f"--batch_size={task['batch_size']}")
    if asked["num_fewshot"] is not None:
        out.append(f"--num_fewshot={asked['num_fewshot']}")
    if asked["gen_kwargs"]:
        out += ["--gen_kwargs", dumps(asked["gen_kwargs"])]
    if spec["limit"] is not None:
        out.append(f"--limit={spec['limit']}")
    if task["include_path"]:
        out.append(f"--include_path={task['include_path']}")
    if task["log_samples"]:
        out.append("--log_samples")
    if task["cache_requests"] and cache:
        out += ["--cache_requests", "true"]
    if cache:
        out.append(f"--use_cache={cache / 'answers'}")
    return out


def environment(
    spec: Spec, task: Spec, server: Spec, cache: Path | None, base: Mapping[str, str]
) -> dict[str, str]:
    """The harness's environment: base with the endpoint's key as OPENAI_API_KEY, which
    local-completions reads. server: the server spec (for its hf_cache)."""
    env = environment_variables.for_harness(base)
    env["OPENAI_API_KEY"] = base.get("BENCHY_KEY", "")
    env["PYTHONUNBUFFERED"] = "1"
    env["TOKENIZERS_PARALLELISM"] = "false"
    if server.get("hf_cache"):
        env["HF_HUB_CACHE"] = str(paths.home(server["hf_cache"]).absolute())
    if cache:
        # Prepared prompts are cached by the task's name alone: shared, an edited task would be
        # asked in its old form.
        env["LM_HARNESS_CACHE_PATH"] = str((cache / "prompts").absolute())
    if task["offline"] or knobs.on("OFFLINE", base):
        env["HF_HUB_OFFLINE"] = env["HF_DATASETS_OFFLINE"] = "1"
    if spec["task"]["trust_remote_code"]:
        # Lets `datasets` older than 4 run a data set's loading script. The harness's own
        # --trust_remote_code would trust the code in the model's repository as well.
        env["HF_DATASETS_TRUST_REMOTE_CODE"] = "1"
    return env


def cache_digest(spec_bytes: bytes, args: Mapping[str, Any], made_by: Sequence[str]) -> str:
    """What the answers of an interrupted run are kept under. One directory for each (spec, locks,
    arguments): a database shared by two models has answered one's requests with the other's
    outputs (lm-evaluation-harness issues 2715, 4063). made_by: hashes of the locks and the release
    that answers."""
    same = {k: v for k, v in args.items() if k not in ("base_url", "num_concurrent", "timeout")}
    digest = hashlib.sha256(spec_bytes)
    digest.update(dumps(same).encode())
    digest.update("\n".join(made_by).encode())
    return digest.hexdigest()[:32]


def samples_answers(spec: Spec) -> bool:
    """Whether the spec asks for sampled answers, whose repeats must not come from a cache."""
    kwargs = spec["task"]["gen_kwargs"]
    return bool(kwargs.get("do_sample") or kwargs.get("temperature"))


def dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
