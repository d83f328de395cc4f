"""The list of tasks: members of groups, search and printed output."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import specs
from benchy.core import hashing, paths
from benchy.core.errors import Failure
from benchy.evaluation import task_list


def test_index_is_cached_until_its_inputs_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(task_list, "ready", lambda env, spec: None)
    script = tmp_path / "index.py"
    script.write_text("print('noise')\nprint(open('said').read())\n")
    monkeypatch.setattr(task_list, "SCRIPT", script)
    env = Path("venvs/e/bin")
    env.mkdir(parents=True)
    (env / "python").symlink_to(sys.executable)
    mine = tmp_path / "mine"
    mine.mkdir()
    Path("said").write_text("[]")
    asked = specs.environment(env="e")
    assert task_list.listed("e", asked) == [] == task_list.listed("e", asked, "mine")
    Path("said").write_text('[{"name": "a"}]')
    assert task_list.listed("e", asked) == [] == task_list.listed("e", asked, "mine")
    (mine / "a.yaml").write_text("task: a")
    hashing.content_of.cache_clear()
    assert task_list.listed("e", asked, "mine") == [{"name": "a"}]
    assert task_list.listed("e", asked) == []
    Path("venvs/e.lock").write_text("other packages")
    assert task_list.listed("e", asked) == [{"name": "a"}]
    script.write_text("raise ImportError('no _index here')")
    with pytest.raises(Failure, match="can't list its tasks"):
        task_list.listed("e", asked)
    for text in ("no JSON", "{}", ""):
        script.write_text(f"print({text!r})")
        with pytest.raises(Failure, match="can't list its tasks"):
            task_list.listed("e", asked)
    monkeypatch.setattr(task_list, "SECONDS", 0.1)
    script.write_text("import time; time.sleep(60)")
    with pytest.raises(Failure, match=r"can't list its tasks: no answer within 0\.1 s") as caught:
        task_list.listed("e", asked)
    assert caught.value.hint.endswith(str(script))
