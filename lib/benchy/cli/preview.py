"""bin/preview: show the first prompts of a task on a model."""

from __future__ import annotations

import argparse
import json
import os
import sys

from benchy.core.errors import UsageError
from benchy.evaluation import preview, preview_text


def main(argv: list[str]) -> int:
    """Run `bin/preview [CONFIG [TASK]]`. Raise ConfigError or Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/preview",
        description="Show the first prompts of a task on a model, as its server receives them.",
    )
    parser.add_argument("config", nargs="?", default=os.environ.get("CONFIG", ""))
    parser.add_argument("task", nargs="?", default=os.environ.get("TASK", ""))
    parser.add_argument("--limit", default=os.environ.get("LIMIT") or str(preview.MOST),
                        help=f"documents of each subtask ({preview.MOST})")  # fmt: skip
    parser.add_argument(
        "--format", choices=["text", "json"], default=os.environ.get("FORMAT") or "text"
    )
    args = parser.parse_args(argv)
    if not args.limit.isdecimal() or int(args.limit) < 1:
        raise UsageError(f"{args.limit!r} is not a whole number of documents", "write 3", "LIMIT")
    document = preview.of(preview.specs(args.config, args.task, int(args.limit)))
    if args.format == "json":
        print(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print("\n".join(preview_text.lines(document)))
    sys.stdout.flush()
    return 0
