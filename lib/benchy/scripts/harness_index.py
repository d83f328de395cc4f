"""Lists the tasks, groups and tags in a harness's index.

    ENV/bin/python lib/benchy/scripts/harness_index.py [FOLDER]

FOLDER holds task files; without it, the harness's own tasks are listed. Runs in the harness's own
environment and imports nothing of benchy but harness_facts. Loads no data and runs no code of a
task. The last line of output is JSON: a list of objects, without empty or unknown fields:

    name, kind       kind: task, python (a task that is a class), group or tag
    output           multiple_choice, generate_until, loglikelihood or loglikelihood_rolling
    shots            examples in the prompt, as the task's own file says
    dataset          what is downloaded: PATH, or PATH:CONFIGURATION
    tags, members    names; members: of a group or tag
    family           the folder, which one README of the harness describes
    language, description    from that README, or the task's own description if it has one
    needs            code (it runs code of the model), images, audio

Raises ImportError on a harness with another index (before 0.4.12).
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_facts import NEEDS
else:  # in the harness's environment, where benchy is not a package
    from harness_facts import NEEDS

# | [name](folder/README.md) | description | languages |
LINE = re.compile(r"^\|\s*\[[^\]]*\]\(([^)/]+)[^)]*\)\s*\|(.*)\|([^|]*)\|\s*$", re.M)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def families(readme: str) -> dict[str, tuple[str, str]]:
    """Return folder → (description, languages) from the table in the README of all tasks.

    If a folder has several rows, the first one counts.
    """
    table: dict[str, tuple[str, str]] = {}
    for folder, description, languages in LINE.findall(readme):
        text = LINK.sub(r"\1", description).strip()
        table.setdefault(folder, (text, languages.strip()))
    return table


def members(cfg: dict[str, Any]) -> Iterator[str]:
    """Yield the names in a group's file, including those of nested groups."""
    listed = cfg.get("task")
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict) and isinstance(item.get("task"), list):
            yield from members(item)
        elif isinstance(item, dict):
            yield str(item.get("task") or item.get("group") or "")


def row(entry: Any, root: Path, about: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the known fields of one entry of the index."""
    cfg, kind = entry.cfg or {}, entry.kind.name.lower().replace("py_task", "python")
    path = entry.yaml_path and entry.yaml_path.resolve().relative_to(root)
    family = path.parts[0] if path and len(path.parts) > 1 else ""
    description, language = about.get(family, ("", ""))
    metadata = cfg.get("metadata")
    own = metadata.get("description") if isinstance(metadata, dict) else None
    data, name = cfg.get("dataset_path"), cfg.get("dataset_name")
    below = sorted(entry.tags) if kind == "tag" else list(dict.fromkeys(members(cfg)))
    fields = {
        "name": entry.name,
        "kind": kind,
        "output": cfg.get("output_type", "generate_until") if kind == "task" else None,
        "shots": cfg.get("num_fewshot"),
        "dataset": f"{data}:{name}" if data and name else data,
        "tags": sorted(entry.tags) if kind != "tag" else [],
        "members": below if kind in ("group", "tag") else [],
        "family": family,
        "language": language,
        "description": str(own or description),
        "needs": [word for key, word in NEEDS.items() if cfg.get(key)],
    }
    return {key: value for key, value in fields.items() if value not in (None, "", [])}


def main(argv: list[str]) -> int:
    sys.path[0] = ""  # as when the harness runs
    index = importlib.import_module("lm_eval.tasks._index").TaskIndex
    folder = (
        argv[0] if argv else Path(str(importlib.import_module("lm_eval.tasks").__file__)).parent
    )
    root = Path(folder).resolve()
    readme = root / "README.md"
    about = families(readme.read_text(encoding="utf-8")) if readme.is_file() else {}
    rows = [row(entry, root, about) for entry in index().build([root]).values()]
    print(json.dumps(sorted(rows, key=lambda fields: fields["name"]), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
