"""How uv puts files into environments: never as symbolic links into its cache.

Such an environment breaks when the cache is cleaned or moved. Reads UV_LINK_MODE and the uv.toml
files of the user and the machine. Standard library only: the bootstrap needs it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchy.environments import uv_settings

SAID = (
    "uv is set to link files of its cache symbolically (link-mode symlink); they are copied, so "
    "that cleaning the cache breaks no environment"
)


def forced(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that make uv copy where it is set to use symbolic links; {} where it is not."""
    mode = environ.get("UV_LINK_MODE") or uv_settings.settings(environ).get("link-mode")
    return {"UV_LINK_MODE": "copy"} if mode == "symlink" else {}


def broken(folder: Path, mixed: bool = False) -> list[str]:
    """The distributions of an environment whose files were such links and are gone, sorted.

    mixed: it was filled in several steps, so each distribution is looked at; else one look is
    enough where the first is no link.
    """
    found: list[str] = []
    for place in (folder / "lib").glob("python3*/site-packages"):
        for about in sorted(place.glob("*.dist-info")):
            metadata = about / "METADATA"
            if not metadata.is_symlink():
                if not mixed:
                    break
            elif not metadata.exists():
                found.append(about.name.removesuffix(".dist-info"))
    return found
