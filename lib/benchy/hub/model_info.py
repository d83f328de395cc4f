"""Read facts about a model before it is served, from a directory or from the hub.

Reads config.json, tokenizer_config.json and the names and sizes of the other files, but no weights.
Requests to the hub are plain HTTP with a timeout and the token that the hub's client would use.
Writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.hub import access, tokens

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model.

    Attributes:
        config: The content of config.json.
        template: Whether there is a chat template; None if not known.
        weights: Bytes of the weights; None if not known.
        commit: Commit of the hub's repository; "" for a directory.
        gated: Whether the hub restricts access to the repository.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    template: bool | None = None
    weights: int | None = None
    commit: str = ""
    gated: bool = False

    @property
    def text(self) -> Mapping[str, Any]:
        """The text part of the configuration of a multimodal model; else all of it."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def context(self) -> int | None:
        """The model's context length in tokens; None if not known.

        vLLM derives max_model_len from it. It is the smallest of these keys, as in vLLM's
        config.py, _get_and_verify_max_len.
        """
        keys = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length",
                "model_max_length", "max_sequence_length", "max_seq_length")  # fmt: skip
        lengths = [self.text[k] for k in keys if isinstance(self.text.get(k), int)]
        scaling = self.text.get("rope_scaling") or {}
        factor = scaling.get("factor", 1) if isinstance(scaling, dict) else 1
        kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else None
        if not lengths:
            return None
        # For these kinds, max_position_embeddings already includes the factor.
        counted = kind in (None, "su", "longrope", "llama3", "default", "mrope")
        return int(min(lengths) * (1 if counted else factor))

    @property
    def architecture(self) -> str:
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""

    @property
    def heads(self) -> int | None:
        count = self.text.get("num_attention_heads")
        return count if isinstance(count, int) and count > 0 else None

    @property
    def dtype(self) -> str:
        name = self.text.get("dtype") or self.text.get("torch_dtype") or ""
        return str(name).removeprefix("torch.")

    @property
    def quantization(self) -> str:
        section = self.config.get("quantization_config")
        return str(section.get("quant_method", "")) if isinstance(section, dict) else ""

    @property
    def own_code(self) -> bool:
        return bool(self.config.get("auto_map"))


def of(name: str, env: Mapping[str, str] = os.environ) -> ModelInfo:
    """Return the facts about a directory or a repository on the hub.

    Raises Failure if the model cannot be read.
    """
    folder = paths.home(name)
    return of_directory(folder) if folder.is_dir() else of_hub(name, env)


def of_directory(folder: Path) -> ModelInfo:
    """Return the facts about a directory. Raises Failure if config.json cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{folder} is not a model: config.json: {error}") from None
    if not isinstance(config, dict):
        raise Failure(f"{folder} is not a model: config.json is not a JSON object")
    tokenizer: Any = {}
    with contextlib.suppress(OSError, ValueError):
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = (folder / "chat_template.jinja").is_file() or has_template(tokenizer)
    sizes = [p.stat().st_size for p in folder.iterdir() if p.suffix in WEIGHTS]
    return ModelInfo(config, template, sum(sizes) or None)


def of_hub(name: str, env: Mapping[str, str] = os.environ) -> ModelInfo:
    """Return the facts about a repository on the hub.

    Raises Failure if the hub cannot be reached, has no such model or denies access.
    """
    hub = Hub.of(env)
    answer = hub.get(f"api/models/{name}", blobs="true")
    if answer.status_code >= 400:
        raise Failure(
            f"the hub answers {answer.status_code} for {name}",
            "check the name; a private model needs HF_TOKEN (docs/problems.md, P11)",
        )
    info = answer.json()
    commit = str(info.get("sha") or "")
    siblings = [f for f in info.get("siblings", []) if "rfilename" in f]
    sizes: dict[str, Any] = {f["rfilename"]: f.get("size") for f in siblings}

    def content(file: str) -> dict[str, Any]:
        return hub.json(f"{name}/resolve/{commit or 'main'}/{file}") if file in sizes else {}

    config = content("config.json")
    template = "chat_template.jinja" in sizes or has_template(content("tokenizer_config.json"))
    return ModelInfo(
        config,
        template if config else None,
        weight_bytes(sizes),
        commit,
        bool(info.get("gated")),
    )


@dataclass(frozen=True)
class Hub:
    """The hub that the environment variables name, with the token that its client would use."""

    url: str
    session: requests.Session

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Hub:
        secret, _ = tokens.token(env)
        session = requests.Session()
        session.headers.update({"Authorization": f"Bearer {secret}"} if secret else {})
        return cls((env.get("HF_ENDPOINT") or access.HUB).rstrip("/"), session)

    def get(self, path: str, **parameters: str) -> requests.Response:
        """Send a request. Raises Failure if the hub cannot be reached."""
        url = f"{self.url}/{path}"
        try:
            return self.session.get(url, params=parameters, timeout=access.SECONDS)
        except requests.RequestException as error:
            kind = type(error).__name__
            raise Failure(f"the hub can't be reached ({kind})", "docs/problems.md, P13") from None

    def json(self, path: str) -> dict[str, Any]:
        """Return a file with a JSON object; {} if the hub has none. Raises Failure as `get`."""
        answer = self.get(path)
        try:
            document = answer.json() if answer.status_code < 400 else {}
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def weight_bytes(sizes: Mapping[str, Any]) -> int | None:
    """Return the bytes of the weights among files with sizes; None if not known.

    safetensors are preferred, because a repository may have the same weights in several formats.
    Files in folders do not count.
    """
    weights = {f: size for f, size in sizes.items() if "/" not in f and f.endswith(WEIGHTS)}
    safe = {f: size for f, size in weights.items() if f.endswith(".safetensors")}
    return sum(s for s in (safe or weights).values() if isinstance(s, int)) or None


def has_template(tokenizer: Any) -> bool:
    return isinstance(tokenizer, dict) and bool(tokenizer.get("chat_template"))
