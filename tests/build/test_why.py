"""`make why` reports the field, file and line of an edit, and the changed packages of a lock.

Uses real make and the stand-in engine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchy.core.hashing import canonical, sha256
from trees import Tree, ended, wait_for

TARGET = "TARGET=results/three/alpha/results.json"
MODEL = "models/three.yaml"
EDITS = [
    ("a task's key", "tasks/alpha.yaml", "offline: true", "offline: true\nnum_fewshot: 3",
     "task.num_fewshot: null → 3  (configs/tasks/alpha.yaml:3)"),
    ("a key below a task's", "tasks/alpha.yaml", "offline: true",
     "offline: true\n\ngen_kwargs:\n  top_k: 3",
     "task.gen_kwargs.top_k: null → 3  (configs/tasks/alpha.yaml:5)"),
    ("a task's default", "tasks/alpha.yaml", "offline: true",
     "offline: true\ndefaults: {max_length: 64}",
     "task.max_length: null → 64  (configs/tasks/alpha.yaml:3)"),
    ("another task of the harness", "tasks/alpha.yaml", "standin_alpha", "standin_beta",
     'task.task_name: ["standin_alpha"] → ["standin_beta"]  (configs/tasks/alpha.yaml:1)'),
    ("another model", MODEL, "acme/three", "acme/four",
     'model.name: "acme/three" → "acme/four"  (configs/models/three.yaml:2)'),
    ("another release", MODEL, '"1.0.0"', '"2.0.0"',
     'engine.version: "1.0.0" → "2.0.0"  (configs/models/three.yaml:5)'),
    ("the provider's release, once the model names none", MODEL, 'vllm_version: "1.0.0", ', "",
     'engine.version: "1.0.0" → "2.0.0"  (configs/models/three.yaml)'),
    ("an option of the model", MODEL, "256", "128",
     "options.max_model_len: 256 → 128  (configs/models/three.yaml:5)"),
    ("an option that is gone", MODEL, "max_model_len: 256", "",
     "options.max_model_len: 256 → 512  (configs/providers/standin.yaml:2)"),
    ("an option of the engine's file", "engines/standin.yaml", "seed: 0", "seed: 7",
     "options.seed: 0 → 7  (configs/engines/standin.yaml:7)"),
    ("a variable", MODEL, 'vllm_version: "1.0.0"', 'vllm_version: "1.0.0", engine_env: {A: "1"}',
     'variables.A: null → "1"  (configs/models/three.yaml:5)'),
    ("the chat endpoint", MODEL, "tasks:", "use_chat_completions: true\ntasks:",
     "chat: false → true  (configs/models/three.yaml:6)"),
    ("more packages, the same release", MODEL, "max_model_len: 256",
     "max_model_len: 256, extra_packages: [standin-harness]",
     "engine.environment: "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "old", "new", "said"), EDITS, ids=[e[0] for e in EDITS])
def test_edit_is_reported_first(
    tree: Tree, name: str, path: str, old: str, new: str, said: str
) -> None:
    tree.edit(path, old, new)
    done = tree.make("why", TARGET)
    lines = done.text.splitlines()
    assert lines[0] == "results/three/alpha/results.json: stale" and done.status == 0, done.text
    assert lines[1].startswith(f"  {said}")
    assert said.startswith("engine.environment") or "environment" not in done.text
    one = tree.make("status", "MODELS=three").text
    assert f"stale    three/alpha: {said}" in one
    if name.startswith("more"):
        assert lines[1].endswith("(configs/models/three.yaml:5)")


def test_changed_task_file_is_reported_by_name(tree: Tree) -> None:
    """The message has the name and the time of the edit, but no digest."""
    own = tree.root / "own"
    own.mkdir()
    (own / "data.jsonl").write_text("{}\n")
    (own / "alpha.yaml").write_text(
        "task: standin_alpha\ndataset_kwargs: {data_files: own/*.jsonl}\n"
    )
    tree.edit("tasks/alpha.yaml", "offline: true", "offline: true\ninclude_path: own")
    assert tree.make("results", "MODELS=three").status == 0
    (own / "data.jsonl").write_text("{}\n{}\n")
    (own / "more.jsonl").write_text("{}\n")
    text = tree.make("why", TARGET).text
    when = r"edited \d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"^  task\.files: own/data\.jsonl changed, {when}$", text, re.M), text
    assert re.search(rf"^  task\.files: own/more\.jsonl is there now, {when}$", text, re.M), text
    (own / "data.jsonl").unlink()
    text = tree.make("why", TARGET).text
    assert "  task.files: own/data.jsonl no longer exists\n" in text, text
    assert not re.search("[0-9a-f]{32}", text)


def test_moved_line_makes_nothing_stale(tree: Tree) -> None:
    tree.edit("tasks/alpha.yaml", "task_name:", "# first\n\ntask_name:")
    assert "up to date" in tree.make("why", TARGET).text


def lock(tree: Tree) -> Path:
    return tree.root / "venvs/standin_1_0_0.lock"


def test_changed_packages_of_a_lock_are_reported(tree: Tree) -> None:
    kept = json.loads((tree.root / "results/three/alpha/packages.json").read_text())
    assert kept == {"engine": {"standin-engine": "1.0.0"}, "harness": {"lm-eval": "0.0.2"}}
    text = lock(tree).read_text()
    lock(tree).write_text(text.replace("standin-engine==1.0.0", "standin-engine==1.0.1\nmore==2"))
    words = tree.make("why", TARGET).text
    told = "venvs/standin_1_0_0.lock has changed since: + more==2, standin-engine 1.0.0 → 1.0.1"
    assert told in words


@pytest.mark.parametrize("built", [True, False])
def test_changed_lock_is_reported_without_packages_json(tree: Tree, built: bool) -> None:
    (tree.root / "results/three/alpha/packages.json").unlink()
    if not built:
        (tree.root / "venvs/standin_1_0_0/lock").write_text("other==1\n")
    with lock(tree).open("a") as file:
        file.write("more==2\n")
    told = "+ more==2" if built else "other packages"
    words = tree.make("why", TARGET).text
    assert f"venvs/standin_1_0_0.lock has changed since: {told}\n" in words


def test_lock_to_be_resolved_again_is_reported(tree: Tree) -> None:
    tree.edit(
        "engines/standin.yaml", "cutoff: none", "cutoff: none\nrequirements: [standin-engine]"
    )
    assert re.search(
        r"\.lock must be resolved again: \S+ has changed", tree.make("why", TARGET).text
    )


GONE = [
    ("a model", lambda tree: (tree.root / "configs" / MODEL).unlink()),
    ("a task of it", lambda tree: tree.edit(MODEL, '["alpha"]', '["beta"]')),
]


@pytest.mark.parametrize(("name", "edit"), GONE, ids=[name for name, _ in GONE])
def test_result_that_no_config_requests_is_reported(tree: Tree, name: str, edit: object) -> None:
    assert callable(edit)
    edit(tree)
    done = tree.make("why", TARGET)
    assert "no configuration requests results/three/alpha/results.json" in done.text
    assert "`make gc`" in done.text and done.status


def test_target_may_be_an_absolute_path_or_a_folder(tree: Tree) -> None:
    for path in (f"{tree.root}/results/three/alpha/results.json", "results/three/alpha",
                 f"{tree.root}/results/three/alpha/", "./results/three/alpha"):  # fmt: skip
        done = tree.make("why", f"TARGET={path}")
        assert done.text.startswith("results/three/alpha/results.json: up to date"), done.text
    assert "is not a result" in tree.make("why", "TARGET=results/three").text


def test_knobs_select_results(tree: Tree) -> None:
    tree.edit("tasks/alpha.yaml", "offline: true", "offline: true\nnum_fewshot: 3")
    tree.edit("tasks/beta.yaml", "offline: true", "offline: true\nnum_fewshot: 3")
    lines = tree.make("why", "MODELS=one t*", "TASKS=alpha").text.splitlines()
    assert [line.partition("/results.json: ")[0] for line in lines] == [
        "results/one/alpha", "results/three/alpha", "results/two/alpha",
    ]  # fmt: skip
    lines = tree.make("why", "MODELS=three", "LIMIT=2").text.splitlines()
    assert lines == ["results/limit-2/three/alpha/results.json: it does not exist yet"]
    assert json.loads((tree.root / "build/plan.json").read_text())["limit"] is None
    assert json.loads((tree.root / "build/limit-2/plan.json").read_text())["limit"] == 2
    words = tree.make("why", "TARGET=results/limit-3/three/alpha").text
    assert words == "results/limit-3/three/alpha/results.json: stale\n  it does not exist yet\n"
    one = tree.make("why", "CONFIG=configs/models/three.yaml").text
    assert one.startswith("results/three/alpha/results.json: task.num_fewshot")


@pytest.mark.slow
def test_why_reads_the_current_files_during_a_run(tree: Tree) -> None:
    """The run keeps its plan and its specs."""
    tree.file("one/alpha").unlink()
    with tree.held():  # with its task made, the run renews its plan
        run = tree.start("results", "MODELS=one", "SET=max_model_len=256")
        wait_for(
            lambda: list((tree.root / "run/board/task").glob("*/*.json")), 30, "a task under way"
        )
        kept = [tree.root / name for name in ("build/rules.mk", "build/specs/server/one.json")]
        before = [(path.stat().st_mtime_ns, path.read_text()) for path in kept]
        name, changed = TARGET.partition("=")[2], "options.max_model_len: 256 → 128"
        assert "up to date" in tree.make("why", TARGET).text
        tree.edit("models/three.yaml", "max_model_len: 256", "max_model_len: 128")
        done = tree.make("why", TARGET)
        assert f"{name}: stale\n  {changed}" in done.text, done.text
        assert f"{name}: {changed}" in tree.make("why", "MODELS=three").text
        assert "build is not updated while a run" in tree.make("list-envs").text
        assert [(path.stat().st_mtime_ns, path.read_text()) for path in kept] == before
        assert '"max_model_len": 256' in kept[1].read_text()
    done = ended(run)
    assert done.status == 0, done.text
    assert tree.result("one/alpha")["set"] == "max_model_len=256"
    assert f"{name}: stale\n  {changed}" in tree.make("why", TARGET).text


def own_tasks(tree: Tree) -> Path:
    """Define the tasks alpha and beta in one folder, each with a data file; return the folder."""
    folder = tree.root / "own"
    folder.mkdir()
    for name in ("alpha", "beta"):
        (folder / f"{name}.yaml").write_text(
            f"task: standin_{name}\ndataset_path: json\n"
            f"dataset_kwargs: {{data_files: own/{name}.jsonl}}\n"
        )
        (folder / f"{name}.jsonl").write_text("1\n")
        with (tree.root / f"configs/tasks/{name}.yaml").open("a") as file:
            file.write("\ninclude_path: own\n")
    return folder


@pytest.mark.slow
def test_data_file_edit_reruns_only_tasks_that_use_it(tree: Tree) -> None:
    folder = own_tasks(tree)
    again = ("results", "MODELS=one")
    assert tree.make(*again).status == 0
    assert tree.ran() == ["one/alpha", "one/beta"]
    (folder / "README.md").write_text("text\n")
    with (folder / "alpha.yaml").open("a") as file:
        file.write("# a comment\n")
    assert tree.make(*again).status == 0 and tree.ran() == []
    (folder / "alpha.jsonl").write_text("2\n")
    told = tree.make("why", "TARGET=results/one/alpha/results.json").text
    assert "task.files: own/alpha.jsonl changed, edited " in told
    assert tree.make(*again).status == 0 and tree.ran() == ["one/alpha"]
    found = tree.result("one/alpha")["task"]
    assert sorted(found["files"]) == ["alpha.jsonl", "alpha.yaml"] and found["content"]


@pytest.mark.slow
def test_a_result_of_an_older_benchy_is_up_to_date(tree: Tree) -> None:
    """Older results recorded the hash of every file in the folder."""
    folder = own_tasks(tree)
    (folder / "README.md").write_text("text\n")
    again = ("results", "MODELS=one", "TASKS=alpha")
    assert tree.make(*again).status == 0 and tree.ran() == ["one/alpha"]
    file = tree.file("one/alpha")
    kept = file.with_name("spec.json")
    spec = json.loads(kept.read_text())
    spec["task"]["files"] = {path.name: sha256(path) for path in folder.iterdir()}
    kept.write_text(canonical(spec))
    made = json.loads(file.read_text())
    del made["task"]["content"]
    made["spec_sha256"] = sha256(kept)
    file.write_text(json.dumps(made))
    for name in ("rules.mk", "specs/result/one/alpha.json"):
        (tree.root / "build" / name).unlink()
    assert tree.make(*again).status == 0 and tree.ran() == []
    (folder / "README.md").write_text("more\n")
    (folder / "alpha.jsonl").write_text("2\n")
    assert tree.make(*again).status == 0 and tree.ran() == ["one/alpha"]
