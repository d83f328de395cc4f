"""Engines that send bad or endless responses: bounded in time and size, reported in one line."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.core.errors import Failure
from benchy.evaluation import evaluate as evaluation
from benchy.evaluation import harness_output, job
from benchy.scripts import harness_observer
from benchy.serving import http_client, peer_check, responses

OK = b"HTTP/1.1 200 OK\r\n"


def said(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> Iterator[bytes]:
    yield b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


def silence() -> bytes:
    time.sleep(0.1)
    return b""


def dripped(text: bytes) -> Iterator[bytes]:
    for place in itertools.count():
        time.sleep(0.05)
        yield text[place % len(text) :][:1]


def serve(answer: Callable[[], Iterator[bytes]]) -> tuple[int, list[bytes]]:
    """Answer one connection on a new port. Returns the port and a list of the received data."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    heard: list[bytes] = []

    def run() -> None:
        with listener, contextlib.suppress(OSError):  # no client connected, or it disconnected
            taken, _ = listener.accept()
            with taken:
                heard.append(taken.recv(65536))
                for part in answer():
                    taken.sendall(part)

    threading.Thread(target=run, daemon=True).start()
    return int(listener.getsockname()[1]), heard


def asker(port: int, pids: Callable[[], set[int]] = lambda: {os.getpid()}) -> http_client.Client:
    return http_client.Client("127.0.0.1", port, "secret", peer_check.OwnProcesses(pids))


BAD: list[tuple[str, Callable[[], Iterator[bytes]], type[Exception]]] = [
    ("the head drips", lambda: itertools.chain([OK + b"X: "], dripped(b"x")), TimeoutError),
    ("lines of the head drip", lambda: itertools.chain([OK], dripped(b"a: b\r\n")), TimeoutError),
    ("the body drips", lambda: itertools.chain([OK + b"\r\n"], dripped(b" ")), TimeoutError),
    ("it goes on", lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), TimeoutError),
    ("silence", lambda: iter(silence, None), TimeoutError),
    (
        "the body is endless",
        lambda: itertools.chain([OK + b"\r\n"], itertools.repeat(b" " * 65536)),
        http.client.HTTPException,
    ),
    (
        "the head is endless",
        lambda: itertools.chain([OK], itertools.repeat(b"a: b\r\n" * 999)),
        http.client.HTTPException,
    ),
    ("cut", lambda: iter([OK + b"Content-Length: 99\r\n\r\n{"]), http.client.IncompleteRead),
    (
        "cut in a chunk",
        lambda: iter([OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{"]),
        http.client.IncompleteRead,
    ),
    ("no HTTP", lambda: iter([b"SSH-2.0-x\r\n"]), http.client.HTTPException),
    (
        "a status that is none",
        lambda: iter([b"HTTP/1.1 2x0 OK\r\n\r\n"]),
        http.client.HTTPException,
    ),
    ("nothing", lambda: iter([]), OSError),
]


@pytest.mark.parametrize(("answer", "kind"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_response_is_an_error_within_the_timeout(
    answer: Callable[[], Iterator[bytes]], kind: type[Exception]
) -> None:
    port, _ = serve(answer)
    begun = time.monotonic()
    with pytest.raises(http_client.FAILED) as caught:
        asker(port).ask("/health", timeout=0.7)
    assert isinstance(caught.value, kind), caught.value
    assert time.monotonic() - begun < 5


ODD = [b"{", b"[" * 100_000, b"9" * 10_000, b"\xff\x1b[2J", b'{"a": 1', b"<html>"]


@pytest.mark.parametrize("body", ODD)
def test_invalid_json_is_returned_as_text(body: bytes) -> None:
    port, _ = serve(lambda: said(body))
    status, answer = asker(port).ask("/version")
    assert status == 200 and isinstance(answer, str)
    assert responses.release(answer) == "" and responses.models(answer) == {}
    assert (
        len(http_client.shown(answer)) <= http_client.SHOWN
        and http_client.shown(answer).isprintable()
    )


def test_a_redirect_is_not_followed() -> None:
    other, heard = serve(lambda: said(b"{}"))
    where = b"Location: http://127.0.0.1:%d/version\r\n" % other
    for status in (b"301 M", b"302 F", b"303 S", b"307 T", b"308 P"):
        port, _ = serve(lambda status=status: said(b"", status, where))  # type: ignore[misc]
        assert asker(port).ask("/version")[0] == int(status[:3])
    assert not heard


def test_key_is_sent_only_to_processes_of_this_run() -> None:
    port, heard = serve(lambda: said(b"1"))
    assert asker(port).ask("/v1/models") == (200, 1)
    assert b"Authorization: Bearer secret" in heard[0]
    port, heard = serve(lambda: said(b"1"))
    with pytest.raises(peer_check.Stranger, match=f"process of uid {os.getuid()}, not of this run"):
        asker(port, lambda: {os.getppid()}).ask("/v1/models")
    time.sleep(0.1)
    assert heard in ([], [b""])


def test_listener_that_never_accepts_is_an_error() -> None:
    """A busy server of this run gets the whole timeout. A stranger is refused at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(TimeoutError, match=r"did not accept|no complete answer"):
            asker(port).ask("/health", timeout=0.5)
        begun = time.monotonic()
        with pytest.raises(peer_check.Stranger):
            asker(port, lambda: {os.getppid()}).ask("/health", timeout=9)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("tables", [False, True], ids=["asked", "read"])
def test_listener_that_closes_before_it_accepts_is_a_reset(
    tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller tries again, as it does when nobody listens on the port yet."""
    if tables:
        monkeypatch.setattr(peer_check, "diagnosed", lambda *_: None)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    threading.Timer(0.3, listener.close).start()
    with pytest.raises(ConnectionResetError):
        asker(port).ask("/health", timeout=9)


def test_self_connected_socket_is_refused() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        with pytest.raises(ConnectionRefusedError, match="nobody listens"):
            peer_check.prove(one, peer_check.OwnProcesses(lambda: {os.getpid()}), 1)


def test_peer_that_the_kernel_tables_do_not_show_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says whether /proc shows another network namespace or cannot be read."""
    (tmp_path / "tcp").write_text("  sl  local_address rem_address   st\n")
    monkeypatch.setattr(peer_check, "diagnosed", lambda *_: None)
    for table, words in ((tmp_path / "tcp", "does not show"), (tmp_path / "none", "can't be read")):
        monkeypatch.setattr(peer_check, "TABLES", {4: str(table), 6: str(table)})
        port, heard = serve(lambda: said(b"1"))
        with pytest.raises(peer_check.Unseen, match=words):
            asker(port).ask("/health")
        time.sleep(0.05)
        assert heard in ([], [b""])


@pytest.mark.parametrize("tables", [False, True], ids=["asked", "read"])
def test_peer_is_proved_over_ipv4_ipv6_and_mapped_addresses(
    tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tables:
        monkeypatch.setattr(peer_check, "diagnosed", lambda *_: None)
    for host, to in (
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "127.0.0.1"),
        ("::", "::1"),
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = host == "::"
        with socket.create_server((host, 0), family=family, dualstack_ipv6=both) as listener:
            one = socket.create_connection((to, listener.getsockname()[1]))
            taken, _ = listener.accept()
            peer_check.prove(one, peer_check.OwnProcesses(lambda: {os.getpid()}), 5)
            with pytest.raises(peer_check.Stranger):
                peer_check.prove(one, peer_check.OwnProcesses(lambda: {os.getppid()}), 5)
            ends = one.getpeername()[:2], one.getsockname()[:2]
            found = peer_check.entry(*ends)
            assert found == (peer_check.ESTABLISHED, b"%d" % os.getuid(), b"%d" % inode(taken))
            assert (peer_check.diagnosed(*ends) is None) is tables
            one.close()
            taken.close()


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


# --- answers to the harness ------------------------------------------------------------------


def choice(index: object = 0, **changes: object) -> dict[str, Any]:
    tops = [None, {"a": -1.0}, {"b": -2.0}, {"c": 0.0}]
    values = {"token_logprobs": [None, -1.0, -2.5, -0.5], "top_logprobs": tops}
    return {"index": index, "logprobs": {**values, **changes}}


NO_NUMBERS: list[object] = [math.nan, -math.inf, 0.5, "-1", None, True, []]
WRONG: list[tuple[object, str]] = [
    (None, "no choices"), ({}, "no choices"), ({"choices": 1}, "no choices"),
    ({"choices": [1]}, "no choices"), ({"choices": []}, "0 answers to 1 prompts"),
    ({"choices": [choice(), choice(1)]}, "2 answers to 1 prompts"),
    ({"choices": [choice(1)]}, "has choices 1"), ({"choices": [choice("0x")]}, "has choices 0x"),
    ({"choices": [choice(), choice()]}, "has choices 0, 0"),
    ({"choices": [{"index": 0}]}, "no log-probabilities"),
    ({"choices": [choice(token_logprobs=None)]}, "no log-probabilities"),
    ({"choices": [choice(top_logprobs="x")]}, "no log-probabilities"),
    ({"choices": [choice(token_logprobs=[None, -1.0, -2.0])]}, "3 log-probabilities for 3 tokens"),
    *(
        ({"choices": [choice(token_logprobs=[None, -1.0, value, -1.0])]}, "as log-probabilities")
        for value in NO_NUMBERS
    ),
    *(
        ({"choices": [choice(top_logprobs=[None, {"a": -1}, top, None])]}, "as log-probabilities")
        for top in (None, {}, {"a": math.nan}, {"a": "x"}, {"a": 3.0}, [1])
    ),
]  # fmt: skip


class Base:
    def parse_logprobs(self, outputs: Any, tokens: Any, ctxlens: Any) -> str:
        return "scored"

    def parse_generations(self, outputs: Any, **more: Any) -> list[Any]:
        return [one.get("text") for one in outputs["choices"]]


def observed() -> Any:
    return type("Observed", (harness_observer.Observer, Base), {})()


@pytest.mark.parametrize(("answer", "words"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_invalid_answers_are_never_scored(answer: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        observed().parse_logprobs(outputs=answer, tokens=[[1, 2, 3]], ctxlens=[1])


def test_valid_answers_are_scored() -> None:
    good = {"choices": [choice(1), choice(0)]}
    assert observed().parse_logprobs(outputs=good, tokens=[[1, 2, 3]] * 2, ctxlens=[1, 2])
    assert observed().parse_generations({"choices": [{"index": 0, "text": None}]}, contexts=["a"])


@pytest.mark.parametrize(
    "one", [{"text": 5}, {"text": ["a"]}, {"message": None}, {"message": {"content": {}}}]
)
def test_answer_without_text_is_an_error(one: dict[str, Any]) -> None:
    for choices in ([{"index": 0, **one}], []):
        with pytest.raises(ValueError, match=r"no text|0 answers to 1 prompts"):
            observed().parse_generations({"choices": choices}, contexts=["a"])


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "7.5"])
def test_invalid_log_probabilities_in_a_samples_file_are_a_failure(
    tmp_path: Path, number: str
) -> None:
    """Such answers reach the file if the harness runs without harness_observer.Observer."""
    (tmp_path / "results_x.json").write_text(json.dumps({"n-samples": {"t": {}}}))
    rows = [{"doc_id": n, "resps": [[[v, "False"]]]} for n, v in enumerate(("-1.5", number))]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "samples_t_2026-01-01T00-00-00.jsonl").write_text(lines)
    with pytest.raises(Failure, match="t: 1 log-probabilities of samples_t"):
        harness_output.read_output(tmp_path, tmp_path / "log")


# --- a server that changes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "models", "kept", "words"),
    [
        ("1.0", ["m"], True, ""),
        ("2.0", ["m"], False, "is release 2.0, not 1.0"),
        ("1.0", ["other"], False, "serves other, not m"),
        (None, None, True, "does not answer as it should"),
    ],
)
def test_server_is_checked_again_after_the_task(
    version: str | None, models: list[str] | None, kept: bool, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """If another server answers, the cached answers are deleted. If none answers, they stay."""

    def ask(_: object, path: str, *more: object, **how: object) -> tuple[int, object]:
        if models is None:
            raise ConnectionRefusedError
        found = {"data": [{"id": name} for name in models]}
        return 200, {"version": version} if path == "/version" else found

    monkeypatch.setattr(http_client.Client, "ask", ask)
    monkeypatch.setattr(evaluation, "check_alive", lambda job: None)
    told = {"version": "1.0", "served_model": "m", "guardian": os.getpid(), "pid": None}
    made: Any = SimpleNamespace(
        model="one", url="http://127.0.0.1:1", key="k", server=told, server_log=tmp_path / "log"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    if words:
        with pytest.raises(Failure, match=words) as failure:
            evaluation._check_end(made, cache)
        assert isinstance(failure.value, job.Another) is not kept
    else:
        evaluation._check_end(made, cache)
    assert cache.exists() is kept
