"""Tests of merging a model: the order of the layers, and the mistakes of each phase."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchy.config import loader, merge, yaml_file
from config_files import ENGINE, HARNESS, lay

PLACE = "configs/single_card/m.yaml"


def layers(*texts: str) -> list[merge.Layer]:
    documents = [yaml_file.parse(text, f"{at}.yaml") for at, text in enumerate(texts)]
    return [merge.Layer(document, document.data) for document in documents]


def test_a_later_layer_decides_and_names_its_line() -> None:
    stacked = merge.stack(layers("a: 1\nb-c: 1\n", "b_c: 2\n", "d: 3\na: null\n"))
    assert stacked.options == {"a": None, "b_c": 2, "d": 3}
    assert stacked.written.origin == {"a": "2.yaml:2", "b_c": "1.yaml:1", "d": "2.yaml:1"}


def test_messages_show_the_place_of_a_layer_in_its_file() -> None:
    overrides = yaml_file.parse("vllm:\n  overrides: {a: 1}\n", "m.yaml")
    cell = yaml_file.parse("b: 2\n", "m.yaml")
    stacked = merge.stack(
        [
            merge.Layer(overrides, overrides.data["vllm"]["overrides"], merge.OVERRIDES),
            merge.Layer(cell, cell.data, shown=("matrix",)),
        ]
    )
    assert stacked.written.keys == {"a": "vllm.overrides.a", "b": "matrix.b"}
    assert stacked.written.origin == {"a": "m.yaml:2", "b": "m.yaml:1"}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"dtype": "half", "port": 8001, "hf_token": "x"}, {"dtype": "half"}),
        ({"tensor_parallel_size": 1, "data_parallel_size": 2}, {"data_parallel_size": 2}),
        ({"limit_mm_per_prompt": "images=2"}, {"limit_mm_per_prompt": {"image": 2}}),
        ({"limit_mm_per_prompt": None}, {"limit_mm_per_prompt": None}),
    ],
)
def test_the_engine_gets_neither_own_keys_nor_its_defaults(
    options: dict[str, object], kept: dict[str, object]
) -> None:
    assert merge.engine_options(options) == kept


@dataclass
class Case:
    """A model and what is wrong with it.

    merged: whether the model can still be merged. says: the start of each mistake, sorted.
    """

    name: str
    model: str
    says: list[str] = field(default_factory=list)
    merged: bool = True
    files: dict[str, str] = field(default_factory=dict)
    knob: str = ""


def model(overrides: str = "{}", provider: str = "card", more: str = "", tasks: str = "[a]") -> str:
    return (
        f"model: {{name: org/m}}\nvllm:\n  provider_config: {provider}\n  overrides: {overrides}\n"
        f"tasks: {tasks}\n{more}"
    )


UNSUPPORTED = "unsupported: [{options: [foo], why: why, use: bar}]\n"
HARNESS_ONLY = {"engines/vllm.yaml": HARNESS}
CASES = [
    Case("valid", model()),
    # names
    Case("an unknown task", model(tasks="[b]"), [f"{PLACE}:5: tasks.0: there is no task 'b'"]),
    Case("a task twice", model(tasks="[a, a]"), [f"{PLACE}:5: tasks.1: lists 'a' twice"]),
    Case("a broken task", model(tasks="[c]"), ["configs/tasks/c.yaml: task_name: is missing"],
         files={"tasks/c.yaml": "seed: 1\n"}),
    Case("a reserved option", model("{uds: x}"),
         [f"{PLACE}:4: vllm.overrides.uds: is reserved for benchy"]),
    Case("a reserved option in SET", model(), ["SET:1: uds: is reserved for benchy"],
         knob="uds=x"),
    # provider
    Case("a misspelled provider", model("{dtyp: 1, max_model_len: x}", "crad"),
         [f"{PLACE}:3: vllm.provider_config: there is no provider 'crad'",
          f"{PLACE}:4: vllm.overrides.max_model_len: 'x' is not a whole number"]),
    Case("an unknown provider", model("{max_model_len: x}", "zzz"),
         [f"{PLACE}:3: vllm.provider_config: there is no provider 'zzz'",
          f"{PLACE}:4: vllm.overrides.max_model_len: 'x' is not a whole number"], merged=False),
    Case("a broken provider", model("{max_model_len: x}"),
         ["configs/providers/card.yaml:1: port: 'x' is not a whole number",
          f"{PLACE}:4: vllm.overrides.max_model_len: 'x' is not a whole number"],
         merged=False, files={"providers/card.yaml": "port: x\n"}),
    # values
    Case("a wrong value", model("{port: 0, dtype: half}"),
         [f"{PLACE}:4: vllm.overrides.port: '0' should be greater than or equal to 1"]),
    Case("a wrong value in the matrix", model(more="matrix: {max_model_len: [x]}\n"),
         [f"{PLACE}:6: max_model_len: 'x' is not a whole number"], merged=False),
    Case("a wrong value in SET", model(), ["SET:1: max_model_len: 'x' is not a whole number"],
         merged=False, knob="max_model_len=x"),
    # engine
    Case("an unknown engine", model("{engine: vlm}"),
         [f"{PLACE}:4: vllm.overrides.engine: there is no engine 'vlm'"], merged=False),
    Case("an unknown engine in the matrix", model(more="matrix:\n  engine:\n    - vlm\n"),
         [f"{PLACE}:8: matrix.engine: there is no engine 'vlm'"], merged=False),
    Case("an unknown engine in SET", model(), ["SET:1: engine: there is no engine 'vlm'"],
         merged=False, knob="engine=vlm"),
    Case("a harness", model("{engine: lm_eval}"),
         [f"{PLACE}:4: vllm.overrides.engine: lm_eval is a harness, not an engine"], merged=False),
    Case("a harness as the default", model(),
         ["configs/engines/vllm.yaml: is the default engine, but of another kind"], merged=False,
         files=HARNESS_ONLY),
    # the merged model
    Case("a missing directory", model().replace("org/m", "./no"),
         [f"{PLACE}:1: model.name: ./no is not a directory"]),
    Case("the home directory", model().replace("org/m", "'~'"),
         [f"{PLACE}:1: model.name: ~ contains more than a model"]),
    Case("the checkout", model().replace("org/m", "."),
         [f"{PLACE}:1: model.name: . contains more than a model"]),
    Case("the whole disk", model().replace("org/m", "/"),
         [f"{PLACE}:1: model.name: / contains more than a model"]),
    Case("an unsupported option of the provider", model(),
         ["configs/providers/card.yaml:1: foo: is not supported: why"],
         files={"providers/card.yaml": "foo: 1\n", "engines/vllm.yaml": ENGINE + UNSUPPORTED}),
    Case("a missing template", model("{chat_template: no.jinja}"),
         [f"{PLACE}:4: vllm.overrides.chat_template: there is no file no.jinja"]),
    Case("too few devices", model("{cuda_devices: '0', tensor_parallel_size: 2}"),
         [f"{PLACE}:4: vllm.overrides.cuda_devices: lists 1 of the 2 GPUs that m needs"]),
    Case("several at once", model("{uds: x, port: 0, chat_template: no.jinja}", tasks="[b]"),
         [f"{PLACE}:4: vllm.overrides.chat_template: there is no file",
          f"{PLACE}:4: vllm.overrides.port: '0'",
          f"{PLACE}:4: vllm.overrides.uds: is reserved for benchy",
          f"{PLACE}:5: tasks.0: there is no task 'b'"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_phase_reports_its_mistakes(tmp_path: Path, case: Case) -> None:
    root = lay(tmp_path)
    for name, text in {"tasks/a.yaml": "task_name: a\n", **case.files}.items():
        (root / "configs" / name).write_text(text)
    (root / PLACE).write_text(case.model)
    base = loader.ConfigLoader(root, {"SET": case.knob})
    file = base.read(root / PLACE)
    found = sorted(set(map(str, [*base.mistakes, *file.mistakes])))
    assert len(found) == len(case.says), found
    assert all(map(str.startswith, found, case.says)), found
    assert bool(file.merged) == case.merged
    assert bool(file.models) == (not file.mistakes and case.merged)
