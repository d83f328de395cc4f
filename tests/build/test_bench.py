"""The row of `make bench` that needs no index: `make venvs` with 50 up-to-date environments."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).resolve().parents[1] / "bench" / "bench.py"


def test_make_venvs_with_fifty_environments_up_to_date_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("bench", BENCH)
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench", bench)
    spec.loader.exec_module(bench)
    monkeypatch.setattr(bench, "HOUSE", tmp_path / "house")
    bench.house()
    (row,) = bench.noop_rows()
    assert row.cells()[0] == "no-op make venvs, 50"
    assert min(row.ours) < 2, "0.3 s is the target on a machine that does nothing else"
