"""Reads responses of an engine server, which may be malformed."""

from __future__ import annotations

from typing import Any

from benchy.serving.http_client import shown


def release(response: Any) -> str:
    """Return the release in a response of /version, or "" if it has none."""
    version = response.get("version") if isinstance(response, dict) else None
    return shown(version, 60) if isinstance(version, str) else ""


def models(response: Any) -> dict[str, Any]:
    """Return the models in a response of /v1/models: name → max_model_len, not validated."""
    data = response.get("data") if isinstance(response, dict) else None
    return {
        model["id"]: model.get("max_model_len")
        for model in (data if isinstance(data, list) else [])
        if isinstance(model, dict) and isinstance(model.get("id"), str)
    }


def error_message(response: Any) -> str:
    """Return the error message in a response."""
    if isinstance(response, dict):
        inner = response.get("error", response)
        response = inner.get("message", inner) if isinstance(inner, dict) else inner
    return shown(response, 300)
