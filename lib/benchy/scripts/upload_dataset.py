"""Uploads files to a dataset repository on the hub, in an environment that has the hub's client.

Run as `python -I upload_dataset.py`, with {"repository", "private", "message", "files": {path in
the repository: local path}} as JSON on stdin. Imports nothing of benchy. The last line of output is
`uploaded URL`. Exit status 1 after the two lines `benchy: what` and `benchy: hint`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

AT_ONCE = 500  # files per commit


def upload(hub: Any, request: dict[str, Any]) -> str:
    """Upload the files, make the repository if it is missing, and return its URL."""
    api = hub.HfApi()
    api.create_repo(
        request["repository"], repo_type="dataset", private=request["private"], exist_ok=True
    )
    operations = [
        hub.CommitOperationAdd(path_in_repo=target, path_or_fileobj=source)
        for target, source in request["files"].items()
    ]
    for first in range(0, len(operations), AT_ONCE):
        api.create_commit(
            request["repository"],
            operations[first : first + AT_ONCE],
            commit_message=request["message"],
            repo_type="dataset",
        )
        print(f"{min(first + AT_ONCE, len(operations))} of {len(operations)} files", flush=True)
    return f"{hub.constants.ENDPOINT}/datasets/{request['repository']}"


def main() -> int:
    import huggingface_hub as hub  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    import huggingface_hub.constants  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    import huggingface_hub.utils  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    request = json.load(sys.stdin)
    try:
        print(f"uploaded {upload(hub, request)}", flush=True)
    except hub.utils.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "?")
        print(f"benchy: the hub answers {status} for {request['repository']}: {first(error)}")
        print("benchy: HF_TOKEN needs write access to it")
        return 1
    except Exception as error:  # the client's libraries (requests, httpx) have their own exceptions
        print(f"benchy: the upload failed: {type(error).__name__}: {first(error)}")
        print("benchy: check the network and HF_TOKEN; another run uploads only missing files")
        return 1
    return 0


def first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "?"


if __name__ == "__main__":
    sys.exit(main())
