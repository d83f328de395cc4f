"""Another user of the machine binds the port of benchy's server: no byte is sent to them.

The attacker is a process with uid 65534, so the tests need root. BENCHY_STARTS: number of starts to
attack; BENCHY_SEED: seed of the random delays.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchy.core.errors import Failure, FailureKind
from benchy.devices import ports
from benchy.display.progress import Step
from benchy.process import guardian, guardian_client
from benchy.scripts import harness_wrapper
from benchy.serving import endpoint, http_client, peer_check, server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a second user to try")
SEED = int(os.environ.get("BENCHY_SEED", "20261123"))
STARTS = int(os.environ.get("BENCHY_STARTS", "12"))
NOBODY = 65534

# For each line [address, port, seconds]: bind, report whether that succeeded, accept connections
# and answer like a healthy server, close, and report the received bytes.
STRANGER = r"""
import json, os, select, socket, sys, time
os.setgroups([]); os.setgid(65534); os.setuid(65534)
def tell(**words): sys.stdout.write(json.dumps(words) + "\n"); sys.stdout.flush()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
for line in sys.stdin:
    address, port, seconds = json.loads(line)
    heard, came, open_ = b"", 0, {}
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(64)
    except OSError as error:
        tell(bound=False)
        tell(heard="", came=0)
        continue
    tell(bound=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for ready in select.select([listener, *open_], [], [], left)[0]:
            if ready is listener:
                taken, _ = listener.accept()
                open_[taken], came = True, came + 1
                continue
            try: data = ready.recv(65536)
            except OSError: data = b""
            heard += data
            if data: ready.sendall(ANSWER)
            else: ready.close(); del open_[ready]
    for taken in open_: taken.close()
    listener.close()
    tell(heard=heard.decode("latin-1"), came=came)
"""

# Bind after so many seconds, then serve and require the API key.
ENGINE = r"""
import json, os, socket, sys, threading, time
address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
time.sleep(seconds)
listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port)); listener.listen(64)
MODELS = {"data": [{"id": "m", "max_model_len": 9}]}
def serve(taken):
    text = b""
    while data := taken.recv(65536):
        text += data
        if not text.endswith(b"\r\n\r\n"): continue
        path, status = text.split()[1].decode(), 200
        if path == "/v1/models" and ("Bearer " + os.environ["VLLM_API_KEY"]).encode() not in text:
            status = 401
        body = json.dumps({"/version": {"version": "1"}}.get(path, MODELS)).encode()
        taken.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        text = b""
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Stranger:
    """The attacker. attack() makes it bind; heard() waits until it closes and returns its input."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/env", "python3", "-I", "-S", "-c", STRANGER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.came = 0

    def _told(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def attack(self, address: str, port: int, seconds: float) -> bool:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([address, port, seconds]) + "\n")
        self.process.stdin.flush()
        return bool(self._told()["bound"])

    def heard(self) -> str:
        told = self._told()
        self.came += told["came"]
        return str(told["heard"])


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    yield made
    made.process.kill()
    made.process.communicate()


def start(
    stranger: Stranger, dice: random.Random, log: Path, mode: tuple[str, str]
) -> tuple[str, str]:
    """Start a server under attack; return how that ended and what the attacker received.

    mode: (address of the server, address of the attacker).
    """
    ours, theirs = mode
    port = ports.free_port(ours, None)
    # The delays cover attacks before the engine binds, while benchy waits for it, and afterwards.
    late, held = dice.uniform(0, 0.5), dice.uniform(0.05, 0.6)
    log.write_text("")
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint(ours, port, secrets.token_urlsafe(32), guard.pid)
        one = server.Server(end, log, guard, "one", "m")
        words = [sys.executable, "-I", "-S", "-c", ENGINE, end.address, str(port), str(late)]
        one.start(words, {**os.environ, "VLLM_API_KEY": end.key})
        time.sleep(dice.uniform(0, 0.3))
        bound = stranger.attack(theirs, port, held)
        try:
            one.wait_ready(20, Step("TEST", "one"))
            one.identity(None)
            how = "served"
        except Failure as failure:
            how = "in use" if "port is in use" in failure.what else "told"
            how = how if failure.kind is FailureKind.PORT_IN_USE else str(failure)
        heard = stranger.heard()
    return how if bound else "first", heard


ALL = "0.0.0.0"  # noqa: S104
MODES = [
    ("127.0.0.1", "127.0.0.1"), ("127.0.0.1", ALL), (ALL, "127.0.0.1"),
    ("127.0.0.1", "::"), ("::1", "::1"), ("localhost", "::1"),
]  # fmt: skip


def test_no_start_gives_the_key_away(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(SEED)  # noqa: S311
    ends, begun = Counter[str](), time.monotonic()
    for number in range(STARTS):
        mode = MODES[number % len(MODES)]
        how, heard = start(stranger, dice, tmp_path / "log", mode)
        assert not heard, (number, mode, heard)
        assert how in ("served", "told", "in use", "first"), (number, mode, how)
        ends[how] += 1
    seconds = time.monotonic() - begun
    print(f"\n{STARTS} starts, seed {SEED}, {seconds:.0f} s: {dict(ends)}; {stranger.came} reached")
    assert stranger.came or STARTS < 6
    # Without the proof of identity the attacker gets the key, so it is the proof that protects it.
    monkeypatch.setattr(peer_check, "prove", lambda *_: None)
    assert any("Bearer " in start(stranger, dice, tmp_path / "log", MODES[0])[1] for _ in range(9))


def by_urllib(url: str, key: str) -> None:
    asked = urllib.request.Request(url, headers={"Authorization": key})  # noqa: S310
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10)


def by_requests(url: str, key: str) -> None:
    requests.get(url, headers={"Authorization": key}, timeout=10)


def by_asyncio(url: str, key: str) -> None:
    host, port = url.split("/")[2].rsplit(":", 1)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET / HTTP/1.1\r\nAuthorization: {key}\r\n\r\n".encode())
        await writer.drain()
        assert await asyncio.wait_for(reader.read(10), 10)
        writer.close()

    asyncio.run(ask())


def by_hand(url: str, key: str) -> None:
    """Use a non-blocking socket without select or an event loop."""
    host, port = url.split("/")[2].rsplit(":", 1)
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((host, int(port)))
        time.sleep(0.2)
        sock.sendmsg([f"GET / HTTP/1.1\r\nAuthorization: {key}\r\n\r\n".encode()])
        sock.settimeout(10)
        assert sock.recv(10)


@pytest.mark.parametrize("ask", [by_urllib, by_requests, by_asyncio, by_hand])
def test_the_harness_sends_nothing_to_a_stranger(
    stranger: Stranger, ask: Callable[[str, str], None]
) -> None:
    """Not even if the server has died and the attacker now has its port. Runs in a child process,
    because the harness wrapper's check stays active in the process that enables it."""
    port = ports.free_port("127.0.0.1", None)
    url = f"http://127.0.0.1:{port}/"

    def child() -> int:
        settings = {"server": ["127.0.0.1", port], "guardian": guard.pid}
        harness_wrapper.watch_server(settings)
        reached = 0
        for _ in range(3):
            try:
                ask(url, "secret")
                reached += 1
            except (OSError, http.client.HTTPException, AssertionError):
                pass
        return reached

    def reached() -> int:
        pid = os.fork()
        if not pid:
            count = 99
            try:
                count = child()
            finally:
                os._exit(count)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with guardian_client.Guard() as guard:
        words = [sys.executable, "-I", "-S", "-c", ENGINE, "127.0.0.1", str(port), "0"]
        guard.start("server", words, {**os.environ, "VLLM_API_KEY": "secret"}, os.devnull)
        wait_until(lambda: peer_check.listening("127.0.0.1", port))
        assert reached() == 3, "of ours"
    with guardian_client.Guard() as guard:
        assert stranger.attack("127.0.0.1", port, 1.5)
        assert reached() == 0
        assert stranger.heard() == "" and stranger.came


def test_a_client_proves_the_server_again_after_it_dies(stranger: Stranger) -> None:
    port = ports.free_port("127.0.0.1", None)
    with guardian_client.Guard() as guard:
        ours = peer_check.OwnProcesses(lambda: guardian.descendants(guard.pid))
        asker = http_client.Client("127.0.0.1", port, "secret", ours)
        words = [sys.executable, "-I", "-S", "-c", ENGINE, "127.0.0.1", str(port), "0"]
        pid = guard.start("server", words, {**os.environ, "VLLM_API_KEY": "secret"}, os.devnull)
        wait_until(lambda: peer_check.listening("127.0.0.1", port))
        assert asker.ask("/version") == (200, {"version": "1"})
        os.kill(pid, 9)
        wait_until(lambda: not peer_check.listening("127.0.0.1", port))
        assert stranger.attack("127.0.0.1", port, 1)
        with pytest.raises(peer_check.Stranger, match=f"process of uid {NOBODY}, not of this run"):
            asker.ask("/version")
        assert stranger.heard() == "" and stranger.came


def wait_until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
