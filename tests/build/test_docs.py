"""The README and docs/ are correct: links resolve, goals and knobs exist, commands run.

Each command of a console block runs here or in a file that ELSEWHERE names. Here, a tree with the
stand-in engine is used, and NAMES maps models and releases. Commands whose remark says that they
need a GPU or a cluster are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trees import MODELS, ROOT, Tree

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Tests the commands of docs/own-task.md. For `make eval` it runs the harness on a stand-in server.
OWN_TASK = "tests/e2e/test_preview.py"
TUTORIAL = "tests/e2e/test_tutorial.py"
# Commands that are too slow for this file or need the real engine, and the files that run them.
ELSEWHERE = {
    "make test": ".ci/run",
    "make eval CONFIG=configs/quickstart.yaml": "tests/e2e/test_quickstart.py",
    "make wheelhouse": "tests/e2e/test_quickstart.py",
    "OFFLINE=1 make eval CONFIG=configs/quickstart.yaml": "tests/e2e/test_quickstart.py",
    "make new MODEL=org/name": "tests/unit/maintenance/test_scaffold.py",
    "make tasks": OWN_TASK,
    "make tasks SEARCH=spanish": OWN_TASK,
    "make tasks SEARCH='xnli*es*'": OWN_TASK,
    "make preview CONFIG=configs/first.yaml TASK=capitals LIMIT=1": OWN_TASK,
    "make preview CONFIG=configs/first_chat.yaml TASK=capitals_letter LIMIT=1": OWN_TASK,
    "make eval CONFIG=configs/first.yaml TASKS=capitals LIMIT=4": OWN_TASK,
    "make plan CONFIG=configs/first.yaml": TUTORIAL,
    "make preview CONFIG=configs/first.yaml TASK=capitals_written LIMIT=1": TUTORIAL,
    "make eval CONFIG=configs/first.yaml": TUTORIAL,
    "make status CONFIG=configs/first.yaml": TUTORIAL,
    "make why TARGET=results/first/capitals_written/results.json": TUTORIAL,
}
# Names in the docs → names in the tree.
NAMES = [
    ("results/quickstart/smoke", "results/one/alpha"), ("A=quickstart B=older", "A=one B=one"),
    ("VERSION=0.8.0", "VERSION=1.0.0 ENGINE=standin"), ("A=0.8.5 B=0.10.2", "A=1.0.0 B=2.0.0"),
    ("vllm_0_8_0", "standin_1_0_0"),
]  # fmt: skip


def commands() -> Iterator[tuple[str, str, str]]:
    """Yield (page, command, remark) for each command of a console block."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.splitlines():
                if line.startswith("$ "):
                    command, _, remark = line[2:].partition("#")
                    yield page.name, command.strip(), remark.strip()


def plain(command: str) -> str:
    """Return a command with the brackets of its [optional words] removed."""
    return command.replace("[", "").replace("]", "")


HERE = sorted(
    {(page, plain(c)) for page, c, remark in commands()
     if plain(c) not in ELSEWHERE and not remark.startswith("needs a")}
)  # fmt: skip


@pytest.mark.parametrize(("page", "command"), HERE)
def test_documented_command_runs(tree: Tree, page: str, command: str) -> None:
    for theirs, ours in NAMES:
        command = command.replace(theirs, ours)
    words = command.split()
    if words[0] == "bin/venv":
        # Run the equivalent goal, because make sets up the environment of the tree.
        words = ["make", "lock", "VERSION=1.0.0", "ENGINE=standin", "SHARE=1"]
    assert words[0] == "make", command
    # The tree also has models for GPUs, which cannot be built or run here.
    models = [MODELS] if words[1] in ("status", "results") else []
    done = tree.make(*words[1:], *models, YES="1")
    assert done.status == 0, f"{page}: {command}\n{done.text}"


def test_commands_run_elsewhere_are_documented_and_in_the_named_file() -> None:
    said = {plain(command) for _, command, _ in commands()}
    assert said >= set(ELSEWHERE)
    for command, place in ELSEWHERE.items():
        text = (ROOT / place).read_text()
        goal, *given = command.removeprefix("OFFLINE=1 ").removeprefix("make ").split()
        values = [word.partition("=")[2].strip("'") for word in given]
        # A file may run what a goal runs in another way, but with the same values.
        assert given or re.search(rf"\b{goal}\b", text), (command, place)
        assert [value for value in values if value not in text] == [], (command, place)


def goals() -> set[str]:
    """Return the phony goals of the makefiles."""
    texts = [path.read_text() for path in [ROOT / "Makefile", *(ROOT / "mk").glob("*.mk")]]
    found: set[str] = set()
    for line in re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", "\n".join(texts), re.M):
        found |= set(line.replace("\\", "").split())
    return found


def knobs() -> set[str]:
    text = (ROOT / "mk/command.mk").read_text()
    (free,) = re.findall(r"^free := ((?:.*\\\n)*.*)$", text, re.M)
    return set(re.findall(r"[A-Z_]+\b", free)) | {"ARGS"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_goals_and_knobs_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    known, have = goals(), knobs()
    spans = [m for m in re.findall(r"`([^`\n]+)`", text) if re.match(r"make( |$)", m)]
    spans += [plain(command) for name, command, _ in commands() if name == page.name]
    for span in spans:
        words = re.findall(r'(?:"[^"]*"|\S)+', plain(span))
        for word in words[words.index("make") + 1 :] if "make" in words else ():
            if word.startswith("-") or word.startswith(("venvs/", "results/")):
                continue
            knob, sign, _ = word.partition("=")
            if sign:
                assert knob in have, f"{page.name}: {span}: no knob {knob}"
            else:
                assert word in known, f"{page.name}: {span}: no goal {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_each_goal_is_in_the_help_and_the_docs(tree: Tree) -> None:
    text = tree.make("help").text
    helped = set(re.findall(r"\bmake (?:-j )?([a-z][a-z-]+)", text))
    helped |= set(re.findall(r"; ([a-z-]+):", text))
    pages = "\n".join(page.read_text() for page in PAGES)
    own = {"FORCE", "changed_knobs", ".known-knobs"}
    ours = goals() - own - {"planned", "all", "environments"}
    unsaid = {"bootstrap", "tools", "schema", "lock-main", "help"}  # called by other goals
    assert ours - unsaid <= helped, ours - unsaid - helped
    for goal in sorted(ours - unsaid):
        assert re.search(rf"make (?:-j )?{goal}\b", pages), f"no page says what make {goal} does"
