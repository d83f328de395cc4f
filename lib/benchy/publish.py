"""bin/publish: the leaderboard and the results, to a dataset repository on the hub.

Shows what would be uploaded; with YES=1 the hub's own client uploads it, in an environment of
benchy's that has it. Reads results/; logs/publish.log has what the client says. What a harness
logged of single requests (prompts, answers) goes along only with SAMPLES=1: a test set may not be
ours to give away.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

from benchy import board, health, paths
from benchy.errors import Failure, UsageError, say
from benchy.listing import human

TAG = "PUBLISH"
UPLOAD = Path(__file__).with_name("upload.py")
LOG = paths.LOGS / "publish.log"
CARD = """---
configs:
- config_name: leaderboard
  data_files: leaderboard.csv
tags:
- benchmark
---
"""


def files(samples: bool) -> dict[str, Path]:
    """Name in the repository → file. Raises Failure if there is no leaderboard."""
    board = paths.RESULTS / "leaderboard.md"
    if not board.is_file():
        raise Failure("there is no leaderboard yet", "make results, or make report")
    return {str(path.relative_to(paths.RESULTS)): path for path in sorted(_chosen(samples))}


def _chosen(samples: bool) -> Iterator[Path]:
    for path in paths.RESULTS.rglob("*"):
        name = path.relative_to(paths.RESULTS)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        at_top = len(name.parts) == 1 and name.stem in ("leaderboard", "index")
        if at_top or samples or name.name in ("results.json", "spec.json"):
            yield path


def client() -> Path:
    """The Python of the environment with the newest client of the hub. Raises Failure."""
    found: list[tuple[Version, Path]] = []
    for env in health.built():
        folder = paths.env_dir(env)
        for name in health.distributions(folder):
            match = re.fullmatch(r"huggingface_hub-(.+)", name)
            python = (folder / "bin/python").absolute()
            if match and os.access(python, os.X_OK):
                try:
                    found.append((Version(match[1]), python))
                except InvalidVersion:
                    continue
    if not found:
        raise Failure("no environment here has the hub's client", "make venvs builds some")
    return max(found)[1]


def upload(repository: str, private: bool, chosen: Mapping[str, Path]) -> str:
    """The repository's URL. Raises Failure."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchy-publish-") as temporary:
        card = Path(temporary) / "README.md"
        text = chosen["leaderboard.md"].read_text(encoding="utf-8")
        card.write_text(f"{CARD}\n{text}", encoding="utf-8")
        all_files = {"README.md": card, **chosen}
        asked = {
            "repository": repository,
            "private": private,
            "message": f"benchy: {len(chosen)} files",
            "files": {name: str(path.absolute()) for name, path in all_files.items()},
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BENCHY_", "PYTHON"))}
        done = subprocess.run(
            [str(client()), "-I", str(UPLOAD)],
            input=json.dumps(asked),
            env=env | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    board.private(LOG, done.stdout)
    lines = done.stdout.splitlines()
    told = [line[8:] for line in lines if line.startswith("benchy: ")]
    if done.returncode or not lines or not lines[-1].startswith("uploaded "):
        shown = [] if told else [line for line in lines if line.strip()][-6:]
        what = told[0] if told else "the hub's client failed"
        raise Failure(what, told[1] if len(told) > 1 else "", LOG, shown)
    return lines[-1].removeprefix("uploaded ")


def main(argv: list[str]) -> int:
    """bin/publish REPOSITORY. Raises UsageError, Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/publish", description="Upload the leaderboard to a dataset repository on the hub."
    )
    parser.add_argument("repository", nargs="?", default=os.environ.get("REPO", ""))
    parser.add_argument("--yes", action="store_true", help="do it (as YES=1); else only show it")
    parser.add_argument("--samples", action="store_true", help="prompts and answers too")
    parser.add_argument("--public", action="store_true", help="a new repository is public")
    args = parser.parse_args(argv)

    def is_set(knob: str) -> bool:
        return os.environ.get(knob, "0") not in ("", "0")

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", args.repository):
        raise UsageError(
            f"{args.repository!r} is no repository" if args.repository else "is missing",
            "write REPO=organisation/name",
            "REPO",
        )
    samples, really = args.samples or is_set("SAMPLES"), args.yes or is_set("YES")
    public = args.public or is_set("PUBLIC")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = files(samples)
    results = sum(name.endswith("results.json") for name in chosen)
    size = human(sum(path.stat().st_size for path in chosen.values()))
    what = f"{len(chosen)} files, {size}: the leaderboard and {results} results"
    if not really:
        print("\n".join(chosen))
        with_samples = "" if samples else "; SAMPLES=1: with prompts and answers"
        say(TAG, f"would upload {what} to {args.repository}")
        say("", f"YES=1: do it{with_samples}")
        return 0
    say(TAG, f"{what} to {args.repository}")
    say(TAG, upload(args.repository, not public, chosen))
    return 0
