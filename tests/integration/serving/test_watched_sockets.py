"""Tests of the sockets that harness_wrapper.py patches, in a process without benchy's packages."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from benchy.core import paths

# Arguments: directory of harness_wrapper.py, port of the server, pid of its guardian. Sends one
# byte in each way that sockets are used, and prints the answer or the error.
CLIENT = """
import asyncio, os, socket, sys
sys.path.insert(0, sys.argv[1])  # as for a script
import harness_wrapper
port, guardian = int(sys.argv[2]), int(sys.argv[3]) or os.getpid()
harness_wrapper.watch_server({"server": ["127.0.0.1", port], "guardian": guardian})

def plain(block):
    with socket.socket() as sock:
        sock.settimeout(5 if block else None)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"?")
        return sock.recv(1)

async def in_loop():
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"?")
    found = await reader.read(1)
    writer.close()
    return found

for send in (lambda: plain(True), lambda: plain(False), lambda: asyncio.run(in_loop())):
    try:
        print(send().decode())
    except OSError as error:
        print(error)
"""


@pytest.mark.parametrize("ours", [True, False])
def test_nothing_is_sent_to_a_process_of_another_run(ours: bool) -> None:
    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def answer() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(20)
                    if byte := connection.recv(1):
                        received.append(byte)
                        connection.sendall(b"!")

        thread = threading.Thread(target=answer)
        thread.start()
        # This process is a descendant of its parent. The client itself has no descendants.
        guardian = os.getppid() if ours else 0
        words = [paths.SCRIPTS, server.getsockname()[1], guardian]
        command = [sys.executable, "-I", "-S", "-c", CLIENT, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        thread.join()
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    if ours:
        assert lines == ["!"] * 3
    else:
        assert not received
        assert all(f"by a process of uid {os.getuid()}, not of this run" in line for line in lines)
