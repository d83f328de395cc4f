"""bin/schema: write the JSON schemas and the reference pages made from the code."""

from __future__ import annotations

import argparse

from benchy.config import schema_docs
from benchy.core.errors import Failure
from benchy.display.messages import say


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/schema", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if one is out of date"
    )
    args = parser.parse_args(argv)
    for path, text in schema_docs.files().items():
        if path.exists() and path.read_text() == text:
            continue
        if args.check:
            raise Failure(f"{path} is out of date", "run `make schema`")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say("SCHEMA", str(path))
    return 0
