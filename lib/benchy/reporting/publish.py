"""bin/publish: upload the leaderboard and the results to a dataset repository on the hub.

Shows what would be uploaded. With YES=1 the hub's own client uploads it, from an environment of
benchy that has the client. Reads results/; writes the client's output to logs/publish.log.

The requests that a harness logged (prompts, answers) are uploaded only with SAMPLES=1, because a
test set may not be ours to publish. Without it, the models' pages are rendered without samples.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

from benchy.core import paths, temporary_files
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import health
from benchy.process import environment_variables
from benchy.reporting import html_page, leaderboard, model_page

TAG = "PUBLISH"
RESULT = "results.json"
UPLOAD = paths.SCRIPTS / "upload_dataset.py"
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
    """Return the files to upload, by their names in the repository. samples: include the logged
    requests. Raise Failure if there is no leaderboard or no result."""
    if not (paths.RESULTS / "leaderboard.md").is_file():
        raise Failure("there is no leaderboard yet", "make results, or make report")
    by_name = {str(path.relative_to(paths.RESULTS)): path for path in sorted(_chosen(samples))}
    if not any(name.endswith(RESULT) for name in by_name):
        raise Failure("there are no results yet", "make results")
    return by_name


def _chosen(samples: bool) -> Iterator[Path]:
    for path in paths.RESULTS.rglob("*"):
        name = path.relative_to(paths.RESULTS)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        at_top = len(name.parts) == 1 and name.stem in ("leaderboard", "index")
        if at_top or samples or name.name in (RESULT, "spec.json", "index.html"):
            yield path


def without_samples(chosen: Mapping[str, Path], aside: Path) -> dict[str, Path]:
    """Return the files with the models' pages replaced by pages without samples.

    The new pages are written below `aside`. A page of a model without results is left out, because
    the leaderboard does not link to it.
    """
    board, _, _ = leaderboard.load_board()
    pages = {}
    for row in board.rows:
        path = html_page.folder(row.model, row.limit) / "index.html"
        name = str(path.relative_to(paths.RESULTS))
        pages[name] = aside / name
        pages[name].parent.mkdir(parents=True, exist_ok=True)
        html_page.put(pages[name], model_page.text(row, board, {}))
    others = {n: p for n, p in chosen.items() if n == "index.html" or not n.endswith("/index.html")}
    return others | pages


def client() -> Path:
    """Return the Python of the environment with the newest hub client. Raise Failure if no
    environment has one."""
    clients: list[tuple[Version, Path]] = []
    for env in health.built():
        folder = paths.env_dir(env)
        for name in health.distributions(folder):
            match = re.fullmatch(r"huggingface_hub-(.+)", name)
            python = (folder / "bin/python").absolute()
            if match and os.access(python, os.X_OK):
                try:
                    clients.append((Version(match[1]), python))
                except InvalidVersion:
                    continue
    if not clients:
        raise Failure("no environment here has the hub's client", "make venvs builds some")
    return max(clients)[1]


def upload(repository: str, private: bool, chosen: Mapping[str, Path], samples: bool) -> str:
    """Upload the chosen files and return the repository's URL.

    Args:
        repository: "org/name".
        private: Whether a new repository is private.
        chosen: The files by their names in the repository.
        samples: Whether the models' pages keep their samples.

    Raises:
        Failure: No environment has the hub's client, or the client fails.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with temporary_files.folder("publish") as aside:
        card = aside / "README.md"
        text = chosen["leaderboard.md"].read_text(encoding="utf-8")
        card.write_text(f"{CARD}\n{text}", encoding="utf-8")
        if not samples:
            chosen = without_samples(chosen, aside / "pages")
        all_files = {"README.md": card, **chosen}
        request = {
            "repository": repository,
            "private": private,
            "message": f"benchy: {len(chosen)} files",
            "files": {name: str(path.absolute()) for name, path in all_files.items()},
        }
        (aside / "request.json").write_text(json.dumps(request))
        status, lines = _run([str(client()), "-I", str(UPLOAD)], aside / "request.json")
    temporary_files.write(LOG, "".join(f"{line}\n" for line in lines), mode=0o600)
    messages = [line[8:] for line in lines if line.startswith("benchy: ")]
    if status or not lines or not lines[-1].startswith("uploaded "):
        shown = [] if messages else [line for line in lines if line.strip()][-6:]
        what = messages[0] if messages else "the hub's client failed"
        raise Failure(what, messages[1] if len(messages) > 1 else "", LOG, shown)
    return lines[-1].removeprefix("uploaded ")


def _run(command: list[str], request: Path) -> tuple[int, list[str]]:
    """Run the upload, and return its exit status and output lines. `request` is its input, as JSON.

    The client shows progress bars only on a terminal. The number of uploaded files is printed in
    any case.
    """
    env = environment_variables.for_engine(os.environ)
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1"}
    seen = sys.stderr.isatty()
    if not seen:
        env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    lines = []
    with (
        request.open() as text,
        subprocess.Popen(
            command,
            stdin=text,
            env=env,
            stdout=subprocess.PIPE,
            stderr=None if seen else subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            assert process.stdout
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if re.fullmatch(r"\d+ of \d+ files", lines[-1]):
                    say(TAG, lines[-1])
        except BaseException:
            process.kill()
            raise
    return process.returncode, lines
