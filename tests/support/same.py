"""Compare two runs: the results of a tree without the parts that differ from run to run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchy.core import hashing
from trees import Tree

VARYING = ("times", "git")  # of results.json
# Times and durations in the harness's own results file.
CLOCK = ("date", "start_time", "end_time", "total_evaluation_time_seconds")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?")
PORT = re.compile(r'(://[\w.]+:|"--port",\s+")\d+')


def meaning(tree: Tree) -> dict[str, str]:
    """Return every result of the tree and the harness files of each, as text.

    Only times, ports, the commit and the path of the tree are masked or left out.
    """
    found = {}
    for title in tree.written():
        data: dict[str, Any] = tree.result(title)
        found[title] = masked({k: v for k, v in data.items() if k not in VARYING}, tree)
        for name in data["harness_output"]:
            path = tree.file(title).parent / name
            found[f"{title}: {WHEN.sub('WHEN', name)}"] = masked(harness_file(path), tree)
    return found


def harness_file(path: Path) -> Any:
    """Return the content of a harness file, without times and durations."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return {k: v for k, v in json.loads(text).items() if k not in CLOCK}


def masked(value: Any, tree: Tree) -> str:
    text = PORT.sub(r"\1PORT", hashing.canonical(value))
    return WHEN.sub("WHEN", text).replace(str(tree.base), "BASE")
