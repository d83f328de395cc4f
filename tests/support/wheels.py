"""Build wheels of several versions of the stand-in engine and harness, in milliseconds.

    python tests/support/wheels.py DIR [NAME==VERSION …]

A wheel is a zip file with METADATA, WHEEL and RECORD (PEP 427), so the standard library suffices.
The same source gives the same bytes. uv installs from DIR with --no-index --find-links.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "standin"

VERSIONS: Mapping[str, Sequence[str]] = {
    "standin-engine": ("1.0.0", "1.1.0", "2.0.0"),
    "lm_eval": ("0.0.1", "0.0.2"),
}
# Releases of standin-engine that are broken on purpose; `build` makes them only on request.
DOES_NOT_IMPORT, DOES_NOT_RESOLVE, LIES = "3.0.0", "4.0.0", "5.0.0"


@dataclass(frozen=True)
class Project:
    """A stand-in project. folder: below SOURCES, contains the import package."""

    folder: str
    summary: str
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quirk:
    """How one version differs: files that replace those of the source, additional requirements."""

    files: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()


PROJECTS = {
    "standin-engine": Project("engine", "A stand-in for vLLM in benchy's tests"),
    "lm_eval": Project("harness", "A stand-in for lm-evaluation-harness", ("api", "hf", "vllm")),
}
QUIRKS = {
    ("standin-engine", DOES_NOT_IMPORT): Quirk(
        {"standin_engine/__init__.py": 'raise ImportError("libstandin.so: undefined symbol")\n'}
    ),
    ("standin-engine", DOES_NOT_RESOLVE): Quirk(requires=("standin-gone-from-the-index==0.1.16",)),
    ("standin-engine", LIES): Quirk(
        {"standin_engine/release.py": f'VERSION = "{LIES}"\nANSWERED = "4.9.9"\n'}
    ),
}


def wheel(name: str, version: str) -> tuple[str, bytes]:
    """Return the file name and bytes of one wheel. Raises KeyError for an unknown project."""
    project, quirk = PROJECTS[name], QUIRKS.get((name, version), Quirk())
    root = SOURCES / project.folder
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.py")}
    files.update({path: text.encode() for path, text in quirk.files.items()})
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        f"Summary: {project.summary}",
        "Requires-Python: >=3.10",
        *(f"Provides-Extra: {extra}" for extra in project.extras),
        *(f"Requires-Dist: {requirement}" for requirement in quirk.requires),
    ]
    tags = [
        "Wheel-Version: 1.0",
        "Generator: benchy-tests",
        "Root-Is-Purelib: true",
        "Tag: py3-none-any",
    ]
    files[f"{stem}.dist-info/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{stem}.dist-info/WHEEL"] = ("\n".join(tags) + "\n").encode()
    rows = [f"{path},{digest(data)},{len(data)}" for path, data in sorted(files.items())]
    record = f"{stem}.dist-info/RECORD"
    files[record] = ("\n".join([*rows, f"{record},,"]) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in sorted(files.items()):
            entry = zipfile.ZipInfo(path)  # its date is 1980-01-01, so the bytes are reproducible
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return f"{stem}-py3-none-any.whl", buffer.getvalue()


def digest(data: bytes) -> str:
    """Return the hash of data in the format of RECORD."""
    code = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={code.decode()}"


def build(dest: Path, versions: Mapping[str, Sequence[str]] = VERSIONS) -> list[Path]:
    """Write the wheels to dest, which is created if missing; return their paths."""
    dest.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, numbers in versions.items():
        for number in numbers:
            file, data = wheel(name, number)
            paths.append(dest / file)
            paths[-1].write_bytes(data)
    return paths


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    wanted: dict[str, list[str]] = {}
    for word in argv[1:]:
        name, _, version = word.partition("==")
        wanted.setdefault(name, []).append(version)
    for path in build(Path(argv[0]), wanted or VERSIONS):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
