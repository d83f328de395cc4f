"""The prompts of a preview are those that a server gets from the real harness, to the last token.

Covers multiple choice, answers, texts and chat; examples in the prompt and as turns; a tokenizer
with BOS and one without; sequential and concurrent requests. Half of the cases are those of
docs/own-task.md, whose files run unchanged.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pages
from benchy.evaluation import preview_text
from benchy.scripts import tiny_model
from clone import make

PAGE = "own-task.md"

COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {train: configs/tasks/look/train.jsonl,
                              test: configs/tasks/look/test.jsonl}}
fewshot_split: train
test_split: test
description: "Responde en una palabra. "
doc_to_text: "P: {{q}}\\nR:"
num_fewshot: 2
"""
CHOICE = "output_type: multiple_choice\ndoc_to_choice: '{{c}}'\ndoc_to_target: '{{a}}'\n"
ANSWER = "output_type: generate_until\ndoc_to_target: '{{c[a]}}'\n"
FILES = {
    "_look": COMMON,
    "choice": "include: _look.yaml\ntask: look_choice\n" + CHOICE,
    "answer": "include: _look.yaml\ntask: look_answer\n" + ANSWER
    + 'generation_kwargs: {until: ["\\n", "."], max_gen_toks: 9, do_sample: false}\n',
    # A document that is longer than the context, and a choice without context.
    "long": "include: _look.yaml\ntask: look_long\nnum_fewshot: 0\ndescription: ''\n" + CHOICE
    + "doc_to_text: '{{q * 60}}'\n",
    "bare": "include: _look.yaml\ntask: look_bare\nnum_fewshot: 0\ndescription: ''\n" + CHOICE
    + "doc_to_text: ''\n",
    "text": "include: _look.yaml\ntask: look_text\nnum_fewshot: 0\ndescription: ''\n"
    "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{q * 60}}'\n"
    "metric_list: [{metric: word_perplexity}]\n",
}  # fmt: skip
PLAIN = ["look_choice", "look_answer", "look_long", "look_bare", "look_text"]
# Case → (whether the tokenizer adds BOS, concurrent requests).
MODELS = {"bos": (True, 8), "one": (False, 1)}
# Case → (configuration, task).
CASES = {
    "bos": ("configs/look-bos.yaml", "look_bos"),
    "one": ("configs/look-one.yaml", "look_one"),
    "page": ("configs/first.yaml", "capitals"),
    "chat": ("configs/first_chat.yaml", "capitals_letter"),
}
LIMIT = 2


def lay(tree: Path) -> None:
    folder = tree / "configs/tasks/look"
    folder.mkdir()
    for split, count in (("train", 9), ("test", 5)):
        rows = [{"q": f"¿Qué viene después de {n} en {split}? 🙂", "c": ["uno", "dos más", "tres."],
                 "a": n % 2} for n in range(count)]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in FILES.items():
        (folder / f"{name}.yaml").write_text(text)
    tiny_model.main(
        [str(tree / "build/models/tiny")]
    )  # the quickstart's model; otherwise several processes would create it at once
    for name, (bos, at_once) in MODELS.items():
        model = tree / "build/models" / f"look-{name}"
        tiny_model.main([str(model)])
        if bos:
            begin(model)
        (tree / f"configs/tasks/look_{name}.yaml").write_text(
            f"task_name: {json.dumps(PLAIN)}\ninclude_path: configs/tasks/look\noffline: true\n"
            f"defaults: {{num_concurrent: {at_once}}}\n"
        )
        (tree / f"configs/look-{name}.yaml").write_text(
            f"model: {{name: {json.dumps(str(model))}}}\nvllm:\n  provider_config: vllm_cpu\n"
            f"  overrides: {{max_model_len: 512}}\ntasks: [look_{name}]\n"
        )
    pages.write("tutorial.md", tree)
    pages.write(PAGE, tree)


def begin(model: Path) -> None:
    """Make the tokenizer begin each text with <s>."""
    path = model / "tokenizer.json"
    told = json.loads(path.read_text())
    (number,) = (each["id"] for each in told["added_tokens"] if each["content"] == "<s>")
    single: list[dict[str, Any]] = [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    ]  # fmt: skip
    told["post_processor"] = {
        "type": "TemplateProcessing", "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [number], "tokens": ["<s>"]}},
    }  # fmt: skip
    path.write_text(json.dumps(told))


def sent(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


def recorded(tree: Path, name: str) -> list[tuple[str, dict[str, Any]]]:
    out = tree / f"recorded-{name}.json"
    done = subprocess.run(
        [".venv/bin/python", "tests/e2e/record.py", *CASES[name], str(out)],
        cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [(path, body) for path, body in json.loads(out.read_text())]


def previewed(tree: Path, name: str) -> dict[str, Any]:
    config, task = CASES[name]
    words = [f"CONFIG={config}", f"TASK={task}", f"LIMIT={LIMIT}", "FORMAT=json"]
    done = make(tree, "preview", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(900)
def test_a_preview_shows_the_requests_that_the_server_gets(tree: Path) -> None:
    lay(tree)
    planned = make(tree, "plan", "CONFIG=configs/first.yaml", "TASKS=capitals")
    assert planned.returncode == 0 and "results/first/capitals/" in planned.stdout
    with ThreadPoolExecutor(2) as pool:
        runs = dict(
            zip(
                CASES,
                pool.map(lambda n: (recorded(tree, n), previewed(tree, n)), CASES),
                strict=True,
            )
        )
    for name, (got, found) in runs.items():
        bodies: Counter[str] = Counter()
        for prompt in found["prompts"]:
            assert prompt["doc"] < LIMIT
            for one in prompt["sent"]:
                chat = "messages" in one
                asked = {"messages": one["messages"]} if chat else {"prompt": [one["ids"]]}
                bodies[sent({**one["body"], **asked})] += 1
        # The server gets every previewed request, and as many per document as previewed.
        assert not bodies - Counter(sent(body) for _, body in got), name
        documents = max(about["documents"] for about in found["tasks"].values())
        assert documents * bodies.total() == LIMIT * len(got)
        assert {path for path, _ in got} == {found["endpoint"]}
    check_prompts(runs["bos"][1], bos=True)
    check_prompts(runs["one"][1], bos=False)
    check_page(runs["page"][1], runs["chat"][1])


@pytest.mark.timeout(300)
def test_make_tasks_lists_harness_tasks_and_custom_tasks(tree: Path) -> None:
    assert make(tree, "venv", "ENGINE=lm_eval", "VERSION=0.4.13").returncode == 0
    done = make(tree, "tasks", "SEARCH=xnli*es* multiple", "FORMAT=json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {row["name"]: row for row in told["harness"][0]["rows"]}
    assert rows["xnli_es"]["dataset"] == "facebook/xnli:es"
    assert [each["name"] for each in told["own"]] == ["spanish"]  # it includes a match
    own = {one["name"]: one for one in json.loads(make(tree, "tasks", "FORMAT=json").stdout)["own"]}
    assert own["smoke"]["count"] == 6 and own["spanish"]["shots"] == [0, 5]
    whole = make(tree, "tasks").stdout  # from the cache
    count = re.search(r"lm_eval 0.4.13: ([\d,]+) tasks", whole)
    assert count and int(count[1].replace(",", "")) > 10_000
    assert not any(each["unknown"] for each in own.values())


def check_prompts(found: dict[str, Any], bos: bool) -> None:
    """Check the preview's special tokens, examples, choices and cut prompts."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for prompt in found["prompts"]:
        tasks.setdefault(prompt["task"], []).append(prompt)
    assert set(tasks) == set(PLAIN)
    assert found["prefix"] == (["<s>"] if bos else []) and found["max_model_len"] == 512
    (one,) = tasks["look_answer"][0]["sent"]
    assert one["special"] == ([0] if bos else []) and one["by"] == "client"
    assert one["text"].startswith(("<s>" if bos else "") + "Responde")
    assert one["text"].count("\nR:") == 3 and tasks["look_answer"][0]["target"] == "uno"
    assert one["body"]["stop"] == ["\n", ".", *([] if bos else ["</s>"])]
    (choice,) = tasks["look_choice"][1]["sent"]
    assert "".join(choice["tokens"][choice["context"] :][:4]) == " dos"
    assert choice["before"].endswith("\nR:")
    assert tasks["look_choice"][1]["continuation"] == " dos más"
    assert all(each["cut"] for each in tasks["look_long"])
    assert not any(each["cut"] for each in tasks["look_choice"])
    assert tasks["look_bare"][0]["sent"][0]["context"] == 1
    assert len(tasks["look_text"][0]["sent"]) > 3  # windows


def check_page(choices: dict[str, Any], chat: dict[str, Any]) -> None:
    """Check that docs/own-task.md shows the output that a reader gets."""

    def first(found: dict[str, Any]) -> str:
        prompts = [prompt for prompt in found["prompts"] if prompt["doc"] == 0]
        return "\n".join(preview_text.lines({**found, "prompts": prompts}))

    shown = pages.outputs(PAGE)
    assert first(choices) == shown[0].rstrip("\n")
    turns, _, _ = shown[1].partition("    …")
    assert turns in first(chat)
    (one,) = chat["prompts"][0]["sent"]
    roles = [turn["role"] for turn in one["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert one["rendered"].startswith("<|system|>Answer with") and one["rendered"] == one["text"]
    assert one["rendered"].endswith("<|end|><|assistant|>")
    assert one["special"][0] == 0 and chat["prompts"][0]["target"] == "A"
