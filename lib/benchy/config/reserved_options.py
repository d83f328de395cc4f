"""Options of engines that benchy sets itself."""

from __future__ import annotations

# Option → what to do instead. Every user of the machine could read an API key on a command line,
# and a socket or certificate would move the server away from where benchy proves its identity.
OURS = {
    "model": "write model.name",
    "served_model_name": "benchy names the model after the file",
    "api_key": "leave it out, benchy makes a key for each run",
    "hf_token": "write it in the provider file, benchy passes it on through the environment",
    "host": "write it in the provider file",
    "port": "write it in the provider file",
    "revision": "write model.revision",
    "uds": "leave it out, benchy talks to the server over TCP",
    "ssl_keyfile": "leave it out, benchy talks to the server on this machine only",
    "ssl_certfile": "leave it out, benchy talks to the server on this machine only",
    "headless": "leave it out, benchy needs the server's HTTP side",
    "root_path": "leave it out, benchy needs the server's plain paths",
}
# Keys of the provider that benchy uses itself; all others are options of the engine.
OWN = frozenset(
    {
        "engine", "engine_env", "vllm_version", "transformers_version", "extra_packages", "python",
        "torch_backend", "cutoff", "engine_source", "index", "host", "port", "hf_cache", "hf_token",
        "startup_timeout", "cuda_devices",
    }
)  # fmt: skip
