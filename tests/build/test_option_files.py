"""Files named by options: an edit re-runs the results made with the file, and no others.

Uses real make and the stand-in engine.
"""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from trees import Tree

pytestmark = pytest.mark.slow

MODEL = "models/three.yaml"
TARGET = "TARGET=results/three/alpha/results.json"
OPTION = "options.chat_template: templates/pirate.jinja"


def test_chat_template_edit_reruns_only_results_made_with_it(tree: Tree) -> None:
    file = tree.root / "templates/pirate.jinja"
    file.parent.mkdir()
    file.write_text("{{ messages }}")
    tree.edit(MODEL, "max_model_len: 256", "chat_template: templates/pirate.jinja")
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    made = tree.result("three/alpha")
    assert made["inputs"]["templates/pirate.jinja"] == hashlib.sha256(b"{{ messages }}").hexdigest()
    assert tree.results().status == 0 and tree.ran() == []
    file.touch()
    assert tree.results().status == 0 and tree.ran() == []
    file.write_text("Arr! {{ messages }}")
    line = next(
        at for at, text in enumerate((tree.root / "configs" / MODEL).read_text().splitlines(), 1)
        if "chat_template" in text
    )  # fmt: skip
    assert f"  {OPTION} changed  (configs/{MODEL}:{line})" in tree.make("why", TARGET).text
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    assert tree.results().status == 0 and tree.ran() == []
    # An edit of another model, planned incrementally, does not hide an edit of the template.
    tree.edit("models/one.yaml", "model:", "# words\nmodel:")
    file.write_text("Ahoy! {{ messages }}")
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    file.unlink()
    done = tree.results()
    told = f"configs/{MODEL}:{line}: vllm.overrides.chat_template: there is no file templates/"
    assert done.status != 0 and told in done.text and tree.ran() == []


def test_file_named_by_a_variable_counts_and_a_folder_does_not(tree: Tree) -> None:
    """A folder is a cache, so its content does not decide what is stale."""
    for name in ("cache/config.json", "kernels/tuned.json"):
        (tree.root / name).parent.mkdir()
        (tree.root / name).write_text("{}")
    names = "engine_env: {TUNED: kernels/tuned.json, FOLDER: ./cache}"
    tree.edit(MODEL, "max_model_len: 256", names)
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    (tree.root / "cache/config.json").write_text("[]")
    assert tree.results().status == 0 and tree.ran() == []
    (tree.root / "kernels/tuned.json").write_text("[]")
    told = tree.make("why", TARGET).text
    assert "variables.TUNED: kernels/tuned.json changed" in told
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]


def test_result_records_its_input_files_and_git_state(tree: Tree) -> None:
    """The inputs are the files that were read. A new comment changes a digest but runs nothing."""

    def digest(name: str) -> str:
        return hashlib.sha256((tree.root / name).read_bytes()).hexdigest()

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], cwd=tree.root, check=True, capture_output=True)

    (tree.root / ".gitignore").write_text(
        "/build/\n/run/\n/logs/\n/results/\n/venvs/\n/.venv\n*.pyc\n"
    )
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    tree.edit(MODEL, "256", "257")
    git("commit", "-qam", "second")
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    made = tree.result("three/alpha")
    names = [f"configs/{name}.yaml" for name in (
        "config", "engines/lm_eval", "engines/standin", "models/three", "providers/standin",
        "tasks/alpha",
    )]  # fmt: skip
    assert made["inputs"] == {name: digest(name) for name in names}
    assert (made["git"]["dirty"], made["git"]["untracked"]) == (False, [])
    # A new comment, planned incrementally, runs nothing. The next result has the new digest.
    tree.edit(MODEL, "model:", "# words\nmodel:")
    assert tree.results().status == 0 and tree.ran() == []
    tree.file("three/alpha").unlink()
    assert tree.results().status == 0 and tree.ran() == ["three/alpha"]
    made = tree.result("three/alpha")
    assert made["inputs"] == {name: digest(name) for name in names}
    assert (made["git"]["dirty"], made["git"]["untracked"]) == (True, [])
    git("rm", "--cached", "-q", f"configs/{MODEL}")
    git("commit", "-qm", "third")
    tree.file("three/alpha").unlink()
    assert tree.results().status == 0
    made = tree.result("three/alpha")
    assert made["git"]["dirty"] and made["git"]["untracked"] == [f"configs/{MODEL}"]
