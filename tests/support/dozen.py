"""A realistic leaderboard: a dozen models on nine tasks. It has a fallback, a run with a limit,
chat, and results of an older benchy that did not record what the columns show."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchy.cli import report as report_command
from benchy.evaluation import result as document
from benchy.evaluation.result import Metric, Score
from stage import made

# task → metric, its scale (0: perplexity), standard error on that scale, shots
TASKS: dict[str, tuple[str, float, float | None, int]] = {
    "arc_challenge": ("acc_norm,none", 1, 0.014, 25),
    "belebele_por": ("acc,none", 1, 0.016, 0),
    "gsm8k": ("exact_match,strict-match", 1, 0.013, 5),
    "hellaswag_multilingual_es": ("acc_norm,none", 1, 0.005, 10),
    "mmlu": ("acc,none", 1, 0.004, 5),
    "spanish": ("acc,none", 1, 0.03, 0),
    "translation": ("chrf,none", 100, 0.9, 3),
    "truthfulqa_mc2": ("acc,none", 1, 0.015, 0),
    "wikitext": ("word_perplexity,none", 0, None, 0),
}
# model → hub name, parameters, dtype of the weights, license, engine release, typical score (0 - 1)
BF16, DEV = "bfloat16", "0.19.2rc1.dev134+gfe9c3d6c5.cu129"
MODELS: dict[str, tuple[str, int | None, str, str, str, float]] = {
    "falcon3-7b": (
        "tiiuae/Falcon3-7B-Instruct", 7_455_550_464, BF16, "other (falcon-llm)", "0.10.2", 0.62,
    ),
    "gemma-2-9b-it": ("google/gemma-2-9b-it", 9_241_705_984, BF16, "gemma", "0.10.2", 0.71),
    "hunyuan-mt-7b": ("tencent/Hunyuan-MT-7B", 8_030_000_000, BF16, "other", "0.8.0", 0.55),
    "llama-3.1-8b": (
        "meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, BF16, "llama3.1", "0.10.2", 0.68,
    ),
    "llama-3.1-8b-gptq": (
        "example/Llama-3.1-8B-GPTQ", 8_030_261_248, "gptq 4-bit", "llama3.1", "0.10.2", 0.66,
    ),
    "mistral-7b-v0.3": (
        "mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552, BF16, "apache-2.0", "0.10.2", 0.6,
    ),
    "olmo-2-7b": (
        "allenai/OLMo-2-1124-7B-Instruct", 7_298_617_344, "float32", "apache-2.0", "0.32.0", 0.58,
    ),
    "phi-4-mini": ("microsoft/Phi-4-mini-instruct", 3_836_021_760, BF16, "mit", "0.10.2", 0.64),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, BF16, "apache-2.0", "0.10.2", 0.712),
    "qwen3-8b-thinking": ("Qwen/Qwen3-8B", 8_190_735_360, BF16, "apache-2.0", "0.32.0", 0.7),
    "salamandra-7b": ("BSC-LT/salamandra-7b-instruct", None, "", "", DEV, 0.5),
    "smollm2-135m": (
        "HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, BF16, "apache-2.0", "0.32.0", 0.3,
    ),
}  # fmt: skip
FALLBACK, LIMITED, CHAT, ODD = "hunyuan-mt-7b", "phi-4-mini", "qwen3-8b-thinking", "olmo-2-7b"
GROUPS = """leaderboard:
  groups:
    Reasoning: {tasks: [arc_challenge, gsm8k, mmlu]}
    Iberian: {tasks: {spanish: 2, belebele_por: 1}, about: Questions in Spanish and Portuguese.}
"""
REASON = document.FallbackReason("vllm_0_8_0", "0.8.0", "no wheel for this Python")
PLACE = "harness/samples_gsm8k_2026-11-23T10-00-00.1.jsonl"


def make() -> None:
    """Write configs, results and the report to the current directory."""
    Path("configs/tasks").mkdir(parents=True)
    for task in TASKS:
        Path("configs/tasks", f"{task}.yaml").write_text(f"task_name: x\ndescription: On {task}.\n")
    Path("configs/config.yaml").write_text(GROUPS)
    dice = random.Random(7)  # noqa: S311
    for model in MODELS:
        for task in TASKS:
            if (model, task) != ("salamandra-7b", "gsm8k"):
                _one(dice, model, task)
    _one(dice, LIMITED, "spanish", limit=10)
    _samples(CHAT)
    report_command.main([])


def _one(dice: random.Random, model: str, task: str, limit: int | None = None) -> None:
    metric, scale, error, shots = TASKS[task]
    name, parameters, dtype, licence, release, able = MODELS[model]
    share = min(0.99, max(0.02, able + dice.uniform(-0.07, 0.07)))
    value, up = (share * scale, True) if scale else (9 / share, False)
    answered = "0.32.0" if model == FALLBACK else release
    plain = made(model, task, limit=limit)
    result = replace(
        plain,
        model=replace(
            plain.model, name=name, parameters=parameters, dtype=dtype or None,
            license=licence or None,
        ),
        engine=replace(
            plain.engine, asked=release, answered=answered, dtype="bfloat16" if dtype else None
        ),
        fallback=model == FALLBACK,
        fallback_reason=REASON if model == FALLBACK else None,
        chat=model == CHAT,
        task=replace(plain.task, name=task, task_name=[task], shots={"t": shots} if dtype else {}),
        seed=7 if (model, task) == (ODD, "mmlu") else plain.seed,
        score=Score(task, metric, value, error, up),
        metrics={task: {metric: Metric(value, error, up)}},
        harness_output=[PLACE] if (model, task) == (CHAT, "gsm8k") else [],
    )  # fmt: skip
    limited = f"limit-{limit}" if limit else ""
    path = Path("results", limited, model, task, "results.json")
    path.parent.mkdir(parents=True)
    path.write_text(document.dump(result))


def chat(number: int, shots: int = 5, long: int = 0) -> list[dict[str, Any]]:
    """Return a chat as the harness sends it: system prompt, `shots` examples, question."""
    turns = [{"role": "system", "content": "You solve problems. Think step by step."}]
    for n in range(shots):
        example = f"Example {n}: what is {n} + {n}?"
        turns.append({"role": "user", "content": example, "type": "text"})
        turns.append({"role": "assistant", "content": f"It is {2 * n}.\n#### {2 * n}"})
    question = f"Question {number}: Ana has {number} pears and eats one.{' pear' * long} How many?"
    return [*turns, {"role": "user", "content": question, "type": "text"}]


def sample(number: int, prompt: Any, answers: list[str], **changes: Any) -> dict[str, Any]:
    """Return a sample as the harness logs it.

    prompt: a text, or the turns of a chat. answers: one per repeat.
    """
    asked = [json.dumps(prompt, ensure_ascii=False)] if isinstance(prompt, list) else prompt
    return {
        "doc_id": number, "doc": {}, "target": str(number - 1), "filter": "strict-match",
        "metrics": ["exact_match"], "arguments": {"gen_args_0": {"arg_0": asked, "arg_1": {}}},
        "resps": [[f"So it is {a}.\n#### {a}" for a in answers]],
        "filtered_resps": [answers] if len(answers) > 1 else answers,
        "exact_match": float(answers[0] == str(number - 1)), **changes,
    }  # fmt: skip


def _samples(model: str) -> None:
    path = Path("results", model, "gsm8k", PLACE)
    path.parent.mkdir(parents=True)
    found = [
        sample(5, chat(5), ["4"]),
        sample(6, chat(6), ["5", "7", "5", ""]),
        sample(7, chat(7, 40, 3000), ["6"]),
        sample(8, f"The beginning. {'Example. ' * 2000}Question 8: and the end?", ["\u202e7"]),
        sample(9, "Short?", ["<b>9</b>"]),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in found))


if __name__ == "__main__":
    make()
