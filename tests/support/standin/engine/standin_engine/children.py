"""Engine core and worker: processes that only exist, and that outlive a killed parent.

As vLLM's do (vLLM issue 55510): the core has a session of its own, and nothing tells it that the
API server was killed by SIGKILL. On SIGTERM the core takes its worker along; a worker's death ends
the core. Run as a file, `python -S children.py core`: no package is imported, so it starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

LONGEST = 600  # seconds; nothing that a test forgets lives longer


def start_core(stubborn: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Start core and worker; the core and the worker's pid, when both run."""
    mode = ["stubborn"] if stubborn else []
    core = subprocess.Popen(
        [sys.executable, "-S", __file__, "core", *mode],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert core.stdout is not None
    return core, int(core.stdout.readline())


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the API server decides, as in vLLM
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LONGEST)
    stubborn = "stubborn" in argv
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if argv[0] == "worker":
        os.write(1, b"%d\n" % os.getpid())
        os.dup2(2, 1)
        while True:
            signal.pause()
    worker = subprocess.Popen([sys.executable, "-S", __file__, "worker", *argv[1:]])
    os.dup2(2, 1)
    if not stubborn:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        return worker.wait()
    finally:
        worker.terminate()
        worker.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
