"""bin/wheelhouse: collect every file that the locks name in one folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchy.core.errors import UsageError
from benchy.environments import uv
from benchy.maintenance import wheelhouse
from benchy.maintenance.wheelhouse import Wheelhouse


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/wheelhouse",
        description="collect in one folder every file that the environments of the configs need "
        "(of those models that MODELS names); OFFLINE=1 installs from it",
    )
    parser.add_argument("--dir", default="wheelhouse", help="the folder (default: wheelhouse)")
    options = parser.parse_args(argv)
    if uv.offline():
        raise UsageError("a wheelhouse is filled from an index", "unset OFFLINE")
    os.environ.pop("WHEELHOUSE", None)
    environments = wheelhouse.requested_environments(os.environ.get("MODELS", "").split())
    folder = Path(os.environ.get("BENCHY_CWD", "."), options.dir).expanduser()
    wheelhouse.collect(Wheelhouse(folder), environments)
    print(folder)
    return 0
