"""Downloads a model's files from the hub, in an environment that has the hub's client.

    python -I download_snapshot.py '{"name": …, "revision": …}'

Imports nothing of benchy. The last line of output is `fetched {"folder", "commit", "bytes",
"files", "new"}`. Exit status 1 after the two lines `benchy: what` and `benchy: hint`; status 4
after them if the hub cannot be reached and the files are not in the cache; status 3 without a
client. Files of formats that no server reads are skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# vLLM reads safetensors if there are any, else these, and nothing below original/ (its
# weight_utils.py). The copies for other frameworks would double the download.
OTHERS = ["*.bin", "*.pt", "*.pth", "*.ckpt"]
FOREIGN = ["original/*", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel",
           "*.ot", "onnx/*", "openvino/*", "coreml/*", "metal/*"]  # fmt: skip


class DownloadRefused(Exception):
    """The download is not possible. Arguments: what is wrong, and what to do."""


class HubUnreachable(DownloadRefused):
    """The hub cannot be reached, and the files are not in the cache."""


def unwanted(names: Sequence[str]) -> list[str]:
    """Return patterns of unneeded files, given all file names of the repository."""
    if any(name.endswith(".safetensors") and "/" not in name for name in names):
        return [*FOREIGN, *OTHERS, "*.gguf"]
    if any(name.endswith((".bin", ".pt", ".pth")) and "/" not in name for name in names):
        return [*FOREIGN, "*.gguf"]
    return list(FOREIGN)


def fetch(hub: Any, name: str, revision: str | None) -> str:
    """Download the files and return their folder. Raises Refused and the client's errors."""
    utils = hub.utils

    offline = getattr(hub.constants, "HF_HUB_OFFLINE", False)
    named = f"{name} at {revision}" if revision else name
    try:
        if offline:
            return cached(hub, name, revision)
        info = hub.HfApi().model_info(name, revision=revision)
        names = [file.rfilename for file in info.siblings]
        # By commit, so that a change on the hub in the meantime is not mixed in.
        if revision != info.sha:
            note_reference(hub, name, revision or "main", info.sha)
        skipped = unwanted(names)
        return str(hub.snapshot_download(name, revision=info.sha, ignore_patterns=skipped))
    except utils.GatedRepoError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise DownloadRefused(
            f"{name} is gated: its owner has to grant access (HTTP {status})",
            f"request access at {hub.constants.ENDPOINT}/{name}, then set HF_TOKEN to a token of "
            "that account (or hf_token in the provider)",
        ) from error
    except utils.RevisionNotFoundError as error:
        raise DownloadRefused(
            f"{name} has no revision {revision}", "check `revision` in its config"
        ) from error
    except utils.RepositoryNotFoundError as error:
        cause = (
            "or HF_TOKEN does not give access to it"
            if os.environ.get("HF_TOKEN")
            else "or it is private"
        )
        raise DownloadRefused(
            f"the hub has no model {name}, {cause}",
            "check model.name in its config; a private model needs HF_TOKEN",
        ) from error
    except utils.LocalEntryNotFoundError as error:
        why = (
            "and offline mode is on (OFFLINE, HF_HUB_OFFLINE)"
            if offline
            else "and the hub can't be reached"
        )
        raise HubUnreachable(
            f"{named} is not on this machine, {why}",
            "run make fetch on a machine with a network",
        ) from error
    except utils.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "?")
        raise DownloadRefused(
            f"the hub answers {status} for {named}: {str(error).splitlines()[0]}",
            "try again; downloaded files are kept",
        ) from error


def note_reference(hub: Any, name: str, revision: str, commit: str) -> None:
    """Record the commit of a branch or tag in the cache, as the client does.

    Programs that look up the cache by that name, such as the harness, then find the same files.
    """
    folder = Path(hub.constants.HF_HUB_CACHE, "models--" + name.replace("/", "--"), "refs")
    path = folder / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(commit)
    aside.replace(path)


def cached(hub: Any, name: str, revision: str | None) -> str:
    """Return the folder of an earlier download. Raises the client's error if it is incomplete.

    The repository's file list is not known offline. So a download counts as complete if only files
    that unwanted() skips are missing.
    """
    offline = {"revision": revision, "local_files_only": True}
    try:
        folder = str(hub.snapshot_download(name, ignore_patterns=FOREIGN, **offline))
    except Exception:  # since 2.x the client checks that all files are present
        folder = str(
            hub.snapshot_download(name, ignore_patterns=[*FOREIGN, *OTHERS, "*.gguf"], **offline)
        )
        if not list(Path(folder).glob("*.safetensors")):
            raise
    return folder


def unreachable(error: BaseException) -> bool:
    """Return whether an error means that the hub cannot be reached.

    The client's libraries (requests, httpx) have their own exceptions, so their names are compared.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"ConnectionError", "ConnectTimeout", "Timeout", "TransportError",
                         "NetworkError", "OfflineModeIsEnabled"})  # fmt: skip


def main() -> int:
    if importlib.util.find_spec("huggingface_hub") is None:
        return 3
    importlib.import_module("huggingface_hub.constants")  # not loaded with the package itself
    importlib.import_module("huggingface_hub.utils")
    import huggingface_hub as hub  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    request = json.loads(sys.argv[1])
    name, revision = request["name"], request["revision"]
    started = time.time()
    try:
        try:
            folder = fetch(hub, name, revision)
        except DownloadRefused:
            raise
        except Exception as error:
            if not unreachable(error):
                raise
            print(f"the hub can't be reached: {type(error).__name__}: {error}", flush=True)
            try:
                folder = cached(hub, name, revision)
            except Exception:
                raise HubUnreachable(
                    f"{name} is incomplete on this machine, and the hub can't be reached",
                    "check the network; make fetch resumes the download",
                ) from error
    except DownloadRefused as refused:
        for text in refused.args:
            print(f"benchy: {text}", flush=True)
        return 4 if isinstance(refused, HubUnreachable) else 1
    size = files = 0
    new = False
    for path in Path(folder).rglob("*"):
        if path.is_file():
            stat = path.stat()
            size, files = size + stat.st_size, files + 1
            new = new or stat.st_mtime >= started - 1
    summary = {
        "folder": folder, "commit": Path(folder).name, "bytes": size, "files": files, "new": new,
    }  # fmt: skip
    print("fetched " + json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
