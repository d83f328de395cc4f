"""An engine over several nodes: the first waits for the others, which stay when it goes, as vLLM's
do: somebody else has to end them."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 120.0  # seconds


@contextmanager
def gathered(options: argparse.Namespace) -> Iterator[None]:
    """On the first node: all others have come, while inside."""
    with socket.create_server(("", options.master_port)) as listening:
        listening.settimeout(PATIENCE)
        yield [listening.accept()[0] for _ in range(options.nnodes - 1)]


def join(options: argparse.Namespace) -> None:
    """On another node: stay with the first, for ever. Raises OSError if it is not there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((options.master_addr, options.master_port))
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    while True:
        time.sleep(1)
