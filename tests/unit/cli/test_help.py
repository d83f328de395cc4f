"""Every command of bin/ answers -h, before there is a plan or an environment."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchy.core.paths import ROOT

COMMANDS = sorted({path.name for path in (ROOT / "bin").iterdir()} - {"bootstrap", "tiny-model"})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_its_usage(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"benchy.cli.{command.replace('-', '_')}")
    try:
        status = module.main(["-h"])
    except SystemExit as ended:
        status = ended.code
    assert status == 0
    assert f"bin/{command}" in capsys.readouterr().out.splitlines()[0]
    assert not list(tmp_path.iterdir())
