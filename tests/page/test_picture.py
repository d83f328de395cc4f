"""The script that draws the README's picture."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchy.core import paths


def test_picture_has_the_size_of_the_one_in_docs(browser: Any, tmp_path: Path) -> None:
    made = tmp_path / "it.png"
    command = [sys.executable, str(paths.ROOT / "tests/page/picture.py"), str(made)]
    subprocess.run(command, check=True, capture_output=True)

    def size(path: Path) -> tuple[int, int]:
        head = path.read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", head[16:])
        return width, height

    assert size(made) == size(paths.ROOT / "docs/leaderboard.png")
