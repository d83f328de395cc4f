"""The environment variables of an engine, and which of them server.json records."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from benchy.core import names, paths
from benchy.core.specs import ServerSpec
from benchy.hub import tokens
from benchy.process import environment_variables


def for_server(spec: ServerSpec, key: str, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of the engine.

    Args:
        spec: The server spec.
        key: API key of the server.
        devices: Devices for CUDA_VISIBLE_DEVICES; empty on a CPU.
    """
    from benchy.serving import endpoint  # noqa: PLC0415 - to save memory during the wait

    env = environment_variables.for_engine(os.environ)
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if spec.get("nodes"):
        from benchy.cluster import multi_node  # noqa: PLC0415

        env.setdefault("VLLM_HOST_IP", multi_node.own_address())
    elif endpoint.loopback(spec["host"]):
        # The engine's processes connect over this address. Unset, they listen on the network.
        env.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if cache := spec["hf_cache"]:
        env["HF_HUB_CACHE"] = str(paths.home(cache).absolute())
    for name, value in spec.get("caps", {}).items():
        env.setdefault(name, value)
    env.update(spec["variables"])
    if spec["device"] == "gpu":
        # Indices in nvidia-smi's order: vLLM before 0.9 cannot read UUIDs here.
        env.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(devices))
    if token := tokens.of(spec):
        env["HF_TOKEN"] = token
    env["VLLM_API_KEY"] = key
    return env


def recorded(env: Mapping[str, str], spec: ServerSpec) -> dict[str, str]:
    """Return the variables to record in server.json, without secrets.

    These are the variables that the config sets, and those that `environment_variables.noted`
    selects.
    """
    configured = set(spec["variables"])
    return {
        name: value
        for name, value in sorted(env.items())
        if (name in configured or environment_variables.noted(name)) and not names.secret(name)
    }
