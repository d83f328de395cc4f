"""Entry point of bin/*: `python -I lib/run.py VERB ARG…` runs lib/benchy/cli/<verb>.py.

The working directory of the command is benchy's root. bin/<verb> are shell scripts, so that -h
works before anything is installed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C part: importing `signal` takes milliseconds

# Ctrl-C during the imports below ends the process at once, without a traceback.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I excludes the script's directory

from benchy.cli import entry as entry_command
from benchy.core import paths
from benchy.process import guardian

REPAIRED = "BENCHY_REPAIRED"


def main() -> int:
    verb, argv = sys.argv[1], sys.argv[2:]
    # Paths on the command line are relative to the caller's directory.
    os.environ.setdefault("BENCHY_CWD", str(Path.cwd()))
    os.chdir(paths.ROOT)
    sys.argv[0] = f"bin/{verb}"
    if "MAKELEVEL" in os.environ:
        # Make can be killed before it stops its recipes.
        guardian.die_with_parent(signal.SIGTERM)
    try:
        module = importlib.import_module("benchy.cli." + verb.replace("-", "_"))
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return entry_command.run(module.main, argv)
    except ImportError as error:
        return repaired(error)


def repaired(error: ImportError) -> int:
    """Reinstall .venv once, and run the same command again.

    This is for packages in .venv that cannot be imported, for example because they were links into
    a uv cache that was deleted. An import error of benchy's own modules is raised.
    """
    if (error.name or "benchy").partition(".")[0] == "benchy":
        raise error
    if os.environ.get(REPAIRED):
        print(f"failed: benchy's own packages do not load: {error}", file=sys.stderr)
        print("  run `rm -r .venv`, then the command again, which reinstalls them", file=sys.stderr)
        return 1
    print(f"  BROKEN  .venv: {error}", file=sys.stderr, flush=True)
    (paths.ROOT / ".venv" / ".tools").unlink(missing_ok=True)
    done = subprocess.run([paths.ROOT / "bin" / "bootstrap"], stdout=sys.stderr)
    if done.returncode:
        return done.returncode
    launch = str(paths.ROOT / "lib" / "launch")
    os.environ[REPAIRED] = "1"
    os.chdir(os.environ["BENCHY_CWD"])
    os.execv(launch, [launch, *sys.argv[1:]])  # noqa: S606 - restarts this program


if __name__ == "__main__":
    sys.exit(main())
