"""Hostile text in knobs, goals and paths, through real make.

It is rejected or passed on unchanged. No shell runs it, and Make does not expand it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trees import Tree

CANARY = "canary"
TEXT = (
    f"$(shell touch {CANARY})${{shell touch {CANARY}}}$(file >{CANARY})`touch {CANARY}`"
    f"$(touch {CANARY});touch {CANARY}|touch {CANARY}&touch {CANARY}\n\ttouch {CANARY}\n"
)
VALUES = {
    "bare": TEXT,
    "after quotes": f"'\"{TEXT}",
    "in an option": f"-x{TEXT}",
    "bytes": "\udcff",
}
# A goal with the other words that it needs, and a knob that it reads.
GOALS = [
    *((("-n", "results"), knob) for knob in ("MODELS", "TASKS", "LIMIT", "SET", "FALLBACK", "V")),
    (("-n", "eval"), "CONFIG"), (("-n", "eval", "CONFIG=configs/models/one.yaml"), "TASKS"),
    (("-n", "eval", "CONFIG=configs/models/one.yaml"), "SET"),
    (("plan",), "CONFIG"), (("why",), "TARGET"), (("fetch",), "MODELS"), (("report",), "LIMIT"),
    (("env-info", "ENGINE=standin"), "VERSION"), (("env-info", "VERSION=1.0.0"), "ENGINE"),
    (("lock", "ENGINE=standin"), "VERSION"), (("venv", "VERSION=1.0.0"), "CUTOFF"),
    (("rm-venv", "ENGINE=standin"), "VERSION"), (("list-envs",), "FORMAT"),
    (("flags-diff", "ENGINE=standin", "B=2.0.0"), "A"),
    (("flags-diff", "ENGINE=standin", "A=1.0.0"), "B"), (("survey", "ENGINE=standin"), "FROM"),
]  # fmt: skip


def refused(text: str) -> None:
    assert "Traceback" not in text and "missing separator" not in text, text


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "knob"), GOALS, ids=[f"{g[-1][:20]}-{k}" for g, k in GOALS])
def test_hostile_knob_is_never_executed(fresh: Tree, goal: tuple[str, ...], knob: str) -> None:
    given: list[tuple[tuple[str, ...], dict[str, str]]]
    given = [((f"{knob}={value}",), {}) for value in VALUES.values()]
    for words, environment in [*given, ((), {knob: TEXT})]:
        done = fresh.make(*goal, *words, **environment)
        refused(done.text)
        assert not list(fresh.root.glob(f"**/{CANARY}*")), (words, environment)


@pytest.mark.parametrize("folder", ["results", "venvs"])
def test_hostile_goal_is_rejected_and_never_executed(fresh: Tree, folder: str) -> None:
    for text in VALUES.values():
        for word in (text.replace("=", ""), f";touch {CANARY};", f"'`touch {CANARY}`'"):
            done = fresh.make(f"{folder}/{word}")
            assert done.status == 2, done.text
            refused(done.text)
            assert not list(fresh.root.glob(f"**/{CANARY}*")), word


# Valid names of folders with characters that are special to Make.
FOLDERS = [
    "my models",
    "a=b;c#d%e:f|g(h)i\\j`touch canary`",
    "[x]*?~",
    "q'\"&<>! ^ ü🙂",
    "$(x) $$@ d",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
def test_config_in_a_folder_with_special_characters_is_planned(
    fresh: Tree, name: str, inside: bool
) -> None:
    """An edit of the config changes its spec. Without an edit, nothing is planned again."""
    folder = (fresh.root / "configs" if inside else fresh.base) / name
    folder.mkdir()
    (folder / "ee.yaml").write_text((fresh.root / "configs/models/one.yaml").read_text())
    goal = ("results", "MODELS=ee") if inside else ("eval", f"CONFIG={folder}/ee.yaml")
    spec = fresh.root / "build/specs/server/ee.json"
    done = fresh.make("-n", *goal)
    assert done.status == 0 and "bin/serve ee" in done.text, done.text
    before = spec.read_text()
    (folder / "ee.yaml").write_text((fresh.root / "configs/models/two.yaml").read_text())
    done = fresh.make("-n", *goal)
    assert done.status == 0, done.text
    assert spec.read_text() != before
    rules = list(fresh.root.glob("build/**/rules.mk"))
    old = [path.stat().st_mtime_ns for path in rules]
    assert fresh.make("-n", *goal).status == 0
    assert [path.stat().st_mtime_ns for path in rules] == old, "planned again for nothing"
    assert not list(fresh.base.glob(f"**/{CANARY}"))


def test_task_files_with_special_characters_are_watched(fresh: Tree) -> None:
    """A file whose name cannot be used is reported as an error."""
    folder = fresh.root / "own tasks"
    folder.mkdir()
    (folder / "a b.jsonl").write_text("1")
    (folder / "a b.yaml").write_text(
        "task: standin_alpha\ndataset_kwargs: {data_files: own tasks/a b.jsonl}\n"
    )
    (fresh.root / "configs/tasks/alpha.yaml").open("a").write("\ninclude_path: own tasks\n")
    assert fresh.make("plan").status == 0
    assert fresh.make("-n", "results", "MODELS=one").status == 0
    spec = fresh.root / "build/specs/result/one/alpha.json"
    before = spec.read_text()
    (folder / "a b.jsonl").write_text("2")
    assert fresh.make("-n", "results", "MODELS=one").status == 0
    assert spec.read_text() != before
    Path(folder, "copy (2)").write_text("")
    done = fresh.make("plan")
    assert done.status == 2 and "has an invalid name" in done.text, done.text
