"""Read the hub's token for a model at the moment of use; no spec, log or result contains it.

Reads the file that a server's spec names as `token_from`: a provider file, or a model's config with
the token in `vllm.overrides`. Also reads the token of the hub's client. Writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.core.specs import ServerSpec


def of(spec: ServerSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return the token for a server: the configuration's, else HF_TOKEN's; "" if there is none.

    Raises Failure if the configuration file cannot be read.
    """
    source = spec["token_from"]
    return (written(Path(source)) if source else "") or environment.get("HF_TOKEN", "")


def written(path: Path) -> str:
    """Return the token in a configuration file; "" if there is none.

    Raises Failure if the file cannot be read.
    """
    import yaml  # noqa: PLC0415 - a process that waits for a device stays small

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        # The parser's message is left out: it quotes the line, which may contain the token.
        raise Failure(f"cannot read hf_token from {path}", "make plan reports the reason") from None
    config = _mapping(config)
    overrides = _mapping(_mapping(config.get("vllm")).get("overrides"))
    candidates = [
        section.get(key) for section in (overrides, config) for key in ("hf_token", "hf-token")
    ]
    return str(next(filter(None, candidates), ""))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def token(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return (the hub's token, its source), or ("", "") if there is none.

    The order is that of the hub's client.
    """
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
