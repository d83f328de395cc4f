"""The hub's token of a model, read where it is used: no spec, log or result holds it.

Reads the file that a server's spec names as `token_from`: a provider, or a model's config, which
has it under `vllm.overrides`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchy.core import paths
from benchy.core.errors import Failure


def of(spec: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> str:
    """The token of a server's spec: the configuration's, else the caller's; "" if there is none.

    Raises Failure where the file can't be read.
    """
    source = spec.get("token_from")
    return (written(Path(source)) if source else "") or environment.get("HF_TOKEN", "")


def written(path: Path) -> str:
    """The token that stands in a file; "" for none. Raises Failure."""
    import yaml  # noqa: PLC0415 - a process that waits for a device stays small without it

    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        # No word of the parser's: it shows the line, which may be the token's.
        raise Failure(f"{path} can't be read for its hf_token", "make plan says why") from None
    held = _mapping(held)
    overrides = _mapping(_mapping(held.get("vllm")).get("overrides"))
    found = [each.get(key) for each in (overrides, held) for key in ("hf_token", "hf-token")]
    return str(next(filter(None, found), ""))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def token(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """(the hub's token, where it is from), ("", "") if there is none: as the hub's client looks."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if env.get(name):
            return env[name], name
    home = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    path = paths.home(env.get("HF_TOKEN_PATH") or home / "token")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "", ""
    return (text, str(path)) if text else ("", "")
