"""Two resolutions of a real release from scratch, as on two machines, give the same bytes.

Resolves from the machine's package index and installs nothing, so it takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESOLVE = """
import json, sys
from benchy.cli import entry
from benchy.config import loader
from benchy.core import paths
from benchy.environments import resolver
from benchy.environments.environment_spec import BuildSpec
from benchy.plan import environment_specs
engine = loader.load_engines(paths.ROOT)["vllm"]
request = environment_specs.ReleaseRequest("vllm", engine, sys.argv[1], "a test")
data = environment_specs.environment_spec(request)
entry.run(lambda argv: print(resolver.lock(BuildSpec.of(data))) or 0)
"""


def resolved(folder: Path, release: str) -> str:
    """Return the lock of a release, resolved in an empty folder with an empty cache."""
    for name in ("here", "tmp", "home"):
        (folder / name).mkdir(parents=True)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    environ |= {
        "PYTHONPATH": str(ROOT / "lib"),
        "UV_CACHE_DIR": str(folder / "cache"),
        "TMPDIR": str(folder / "tmp"),
        "TZ": "Asia/Tokyo" if folder.name == "other" else "UTC",
        "LC_ALL": "C",
    }
    command = [sys.executable, "-c", RESOLVE, release]
    done = subprocess.run(
        command, cwd=folder / "here", env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and done.stdout == "True\n", done.stderr
    (lock,) = (folder / "here/venvs").glob("*.lock")
    return lock.read_text()


@pytest.mark.parametrize("release", ["0.8.0", "0.21.0"])
def test_two_resolutions_give_the_same_lock(tmp_path: Path, release: str) -> None:
    one, other = (resolved(tmp_path / name, release) for name in ("one", "other"))
    assert one == other
    assert f"\nvllm=={release} " in one
    assert str(tmp_path) not in one
    assert "://" not in one, "no index and no file of a machine"
