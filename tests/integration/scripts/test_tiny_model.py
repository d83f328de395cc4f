"""Tests of the tiny model: reproducible bytes, atomic creation, and the keys that loaders read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchy.scripts import tiny_model


def test_every_run_writes_the_same_bytes(tmp_path: Path) -> None:
    program = Path(tiny_model.__file__)
    subprocess.run([sys.executable, "-I", program, tmp_path / "a"], check=True)
    tiny_model.make(tmp_path / "b")
    found = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert found == tiny_model.files()
