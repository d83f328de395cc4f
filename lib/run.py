"""The one entry of bin/*: `python lib/run.py VERB ARG…` runs lib/benchy/<verb>.py with the root as
its working directory. bin/<verb> are shell lines, so that -h answers before anything is installed.
"""

from __future__ import annotations

import _signal  # the C half: `signal` itself takes milliseconds to read

# Ctrl-C while this is still being read ends it at once, with no traceback.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import importlib
import os
import signal
import sys
from pathlib import Path

from benchy import errors, guard, paths


def main() -> int:
    verb, argv = sys.argv[1], sys.argv[2:]
    # Paths that a person typed are meant from where they stand.
    os.environ.setdefault("BENCHY_CWD", str(Path.cwd()))
    os.chdir(paths.ROOT)
    sys.argv[0] = f"bin/{verb}"
    if "MAKELEVEL" in os.environ:
        # Make can be killed without a chance to stop its recipes.
        guard.die_with_parent(signal.SIGTERM)
    module = importlib.import_module("benchy." + verb.replace("-", "_"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return errors.run(module.main, argv)


if __name__ == "__main__":
    sys.exit(main())
