"""`make survey` on the stand-in engine: what resolves, what works, which repairs are unneeded."""

from __future__ import annotations

import json
import shutil

import pytest

import wheels
from trees import Tree

pytestmark = pytest.mark.slow

REPAIRS = """
repairs:
  - versions: ">=4,<5"
    drop: [standin-gone-from-the-index]
    why: they ask for what is gone
  - versions: ">=1.1,<2"
    drop: [never-asked-for]
    why: something that nobody asks for any more
"""


def test_survey_reports_what_works_and_leaves_no_environments(fresh: Tree) -> None:
    engine = fresh.root / "configs/engines/standin.yaml"
    engine.write_text(engine.read_text() + REPAIRS)
    asked = ("survey", "ENGINE=standin", "FROM=1.0.0", "TO=4.0.0", "DEEP=1")
    done = fresh.make(*asked)
    assert done.status != 0, done.text  # 3.0.0 does not import
    account = json.loads((fresh.root / "docs/releases-standin.json").read_text())
    rows = {row["release"]: row for row in account}
    assert list(rows) == ["1.0.0", "1.1.0", "2.0.0", "3.0.0", "4.0.0"]
    assert {v for v, row in rows.items() if not row["deep"]["works"]} == {wheels.DOES_NOT_IMPORT}
    assert "undefined symbol" in rows[wheels.DOES_NOT_IMPORT]["deep"]["why"]
    # Without its repair it does not resolve; with the repair it resolves and is built.
    assert not rows[wheels.DOES_NOT_RESOLVE]["plain"]["resolves"]
    assert rows[wheels.DOES_NOT_RESOLVE]["unneeded"] == []
    assert rows["1.1.0"]["unneeded"] == ["something that nobody asks for any more"]
    page = (fresh.root / "docs/releases-standin.md").read_text()
    assert "**1.1.0** no longer needs the repair" in page
    assert "5 of 5 resolve benchy's way, 4 plainly" in page
    flags = fresh.root / "build/survey/flags/standin"
    assert sorted(p.stem for p in flags.iterdir()) == ["1.0.0", "1.1.0", "2.0.0", "4.0.0"]
    left = [p.name for p in (fresh.root / "venvs").iterdir() if not p.name.startswith(".")]
    assert left == [] and list((fresh.root / "venvs/.failed").glob("*")) == []


def test_survey_resumes_and_keeps_unchanged_rows(fresh: Tree) -> None:
    asked = ("survey", "ENGINE=standin", "FROM=1.0.0", "TO=2.0.0")
    assert fresh.make(*asked).status == 0
    rows = fresh.root / "build/survey/standin"
    ages = {p.name: p.stat().st_mtime_ns for p in rows.glob("*.json")}
    (rows / "1.1.0.json").unlink()
    assert fresh.make(*asked).status == 0
    again = {p.name: p.stat().st_mtime_ns for p in rows.glob("*.json")}
    assert [name for name in sorted(ages) if ages[name] != again[name]] == ["1.1.0.json"]
    # A new repair repeats the survey of the releases in its range.
    engine = fresh.root / "configs/engines/standin.yaml"
    engine.write_text(engine.read_text() + REPAIRS)
    assert fresh.make(*asked).status == 0
    third = {p.name: p.stat().st_mtime_ns for p in rows.glob("*.json")}
    assert [name for name in sorted(ages) if again[name] != third[name]] == ["1.1.0.json"]
    # A partial survey changes no other row of the report, even after build/ is deleted.
    shutil.rmtree(fresh.root / "build")
    assert fresh.make("survey", "ENGINE=standin", "FROM=2.0.0", "TO=2.0.0").status == 0
    account = json.loads((fresh.root / "docs/releases-standin.json").read_text())
    assert [row["release"] for row in account] == ["1.0.0", "1.1.0", "2.0.0"]
    wrong = fresh.make("survey", "ENGINE=standin", "FROM=1,0")
    assert wrong.status == 2 and "write e.g. FROM=0.8.0" in wrong.text
