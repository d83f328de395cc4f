"""Tests of what benchy reads from uv's pylock.toml."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from benchy.environments import pylock

PYLOCK = """
[[packages]]
name = "aiohttp"
sdist = { url = "https://x/aiohttp-3.tar.gz", size = 8000, hashes = { sha256 = "00" } }
wheels = [
    { url = "https://x/aiohttp-3-cp311-cp311-manylinux_2_28_x86_64.whl", size = 2000 },
    { url = "https://x/aiohttp-3-py3-none-any.whl", upload-time = 2026-10-11T01:05:08Z, size = 3 },
]

[[packages]]
name = "only-source"
sdist = { url = "https://x/only-source-1.tar.gz", size = 50 }

[[packages]]
name = "local"
wheels = [{ url = "file://FOLDER/local%2Bcpu-1-py3-none-any.whl", hashes = { sha256 = "00" } }]

[[packages]]
name = "unknown"
wheels = [{ url = "https://x/unknown-1-py3-none-any.whl" }]

[[packages]]
name = "by-url"
archive = { url = "https://x/by_url-1-py3-none-any.whl", size = 70 }
"""


def test_sizes_are_read_from_the_index_and_from_local_files(tmp_path: Path) -> None:
    (tmp_path / "local+cpu-1-py3-none-any.whl").write_bytes(b"x" * 9)
    found = pylock.sizes(PYLOCK.replace("FOLDER", str(tmp_path)))
    assert found == {"aiohttp": 2000, "only-source": 50, "local": 9, "by-url": 70}


# (pylock.toml, version of the first package, upload times in seconds after 2026-10-11 01:05:08)
LOCKS = [
    (PYLOCK, None, [0]),
    ("", None, []),
    ("error: not TOML", None, []),
    ('lock-version = "1.0"\n[[packages]]\nname = "a"\nversion = "1.0"\n', "1.0", []),
    ('[[packages]]\nname = "a"\narchive = { upload-time = 2026-10-11T01:05:08.88Z }\n'
     "sdist = { upload-time = 2026-10-11T03:05:09+02:00 }\n", None, [0.88, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "version", "seconds"), LOCKS)
def test_version_and_upload_times_are_read_from_a_pylock(
    text: str, version: str | None, seconds: list[float]
) -> None:
    start = datetime(2026, 10, 11, 1, 5, 8, tzinfo=timezone.utc)
    assert pylock.first_version(text) == version
    assert pylock.upload_times(text) == [start + timedelta(seconds=s) for s in seconds]
