"""Keep uv from linking files into environments symbolically.

An environment of symbolic links breaks when uv's cache is cleaned or moved. Reads UV_LINK_MODE and
the uv.toml files of the user and the machine. Uses only the standard library, because the
bootstrap imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchy.environments import uv_settings

NOTE = (
    "uv is set to create symbolic links to its cache (link-mode symlink); benchy copies the files "
    "instead, because cleaning the cache would break environments"
)


def forced(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that make uv copy files if it is set to symbolic links; {} otherwise."""
    mode = environ.get("UV_LINK_MODE") or uv_settings.settings(environ).get("link-mode")
    return {"UV_LINK_MODE": "copy"} if mode == "symlink" else {}


def broken(folder: Path, mixed: bool = False) -> list[str]:
    """Return the distributions of an environment whose files are dangling symbolic links, sorted.

    mixed: the environment was installed in several steps, so every distribution is checked.
    Otherwise the search stops at the first distribution that is not linked.
    """
    names: list[str] = []
    for place in (folder / "lib").glob("python3*/site-packages"):
        for about in sorted(place.glob("*.dist-info")):
            metadata = about / "METADATA"
            if not metadata.is_symlink():
                if not mixed:
                    break
            elif not metadata.exists():
                names.append(about.name.removesuffix(".dist-info"))
    return names
