"""Tests of the first command on a machine, and of a .venv with missing packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import empty_root

ROOT = empty_root.ROOT


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    return empty_root.module(ROOT / "lib/bootstrap.py")


def test_pip_installs_uv_despite_the_users_pip_settings(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs real pip without a network; uv is a small wheel in a folder."""
    from index import wheel  # noqa: PLC0415 - beside this file

    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/uv-0.99-py3-none-any.whl").write_bytes(wheel("uv", "0.99", ">=3.8"))
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nuser = true\nrequire-virtualenv = true\n[install]\nroot = /nonesuch\n"
        f"no-index = true\nfind-links = {tmp_path / 'wheels'}\n"
    )
    for name in ("USER", "REQUIRE_VIRTUALENV", "DRY_RUN", "REQUIRE_HASHES"):
        monkeypatch.setenv(f"PIP_{name}", "1")
    for name in ("TARGET", "PREFIX", "ROOT", "CONSTRAINT", "PYTHON"):
        monkeypatch.setenv(f"PIP_{name}", "/nonesuch")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    base = str(Path(sys.base_prefix, "bin", "python3"))
    probe = [base, "-I", "-c", "import pip"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    monkeypatch.setattr(sys, "executable", base)
    bootstrap.install_uv()
    assert (tmp_path / ".uv/uv-0.99.dist-info").is_dir()


def test_uv_ignores_the_users_project_and_constraints(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def run(words: list[str], env: dict[str, str], **more: Any) -> Any:
        seen.update(env)
        return subprocess.CompletedProcess(words, 0, "")

    for name in ("UV_PROJECT", "UV_WORKING_DIR", "UV_CONSTRAINT", "UV_OVERRIDE"):
        monkeypatch.setenv(name, "/nonesuch")
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    monkeypatch.setattr(subprocess, "run", run)
    bootstrap.uv_run("uv", "pip", "install")
    assert seen["UV_LINK_MODE"] == "copy"
    assert "/nonesuch" not in seen.values()


ENTRY = "import nonesuch_package\ndef main(argv):\n    print('well', argv)\n    return 0\n"
STUB = """\
#!/bin/sh
root=$(dirname "$(dirname "$0")")
echo installed >&2
touch "$root/.venv/.tools"
{then}
"""
HEALS = "echo > $root/lib/nonesuch_package.py"


@pytest.mark.parametrize("then", [HEALS, ":"])
def test_missing_packages_are_reinstalled_once(tmp_path: Path, then: str) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=ignore)
    (tmp_path / "lib/benchy/cli/greet.py").write_text(ENTRY)
    for folder in ("bin", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "bin/bootstrap").write_text(STUB.format(then=then))
    (tmp_path / "bin/bootstrap").chmod(0o755)
    command = [sys.executable, str(tmp_path / "lib/run.py"), "greet", "a", "b c"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert "BROKEN  .venv: No module named 'nonesuch_package'" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("installed\n") == 1
    if then == HEALS:
        assert (done.returncode, done.stdout) == (0, "well ['a', 'b c']\n")
    else:
        assert done.returncode == 1 and "rm -r .venv" in done.stderr
