"""Engines that send bad or endless responses: bounded in time and size, reported in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchy.core.errors import Failure, FailureKind
from benchy.display.progress import Step
from benchy.process import guardian_client
from benchy.serving import endpoint, peer_check, server


@pytest.mark.parametrize("status", [302, 429, 500, 503])
def test_server_that_never_becomes_healthy_times_out(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint.Endpoint, "ask", lambda *_, **__: (status, None))
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, Path("/dev/null"), guard, "one", "m")
        with pytest.raises(Failure, match="no answer within startup_timeout"):
            one.wait_ready(0.3, Step("TEST", "one"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (peer_check.Stranger("port 1 is answered by a process of uid 7"), "port 1 is used by"),
        (peer_check.Unseen("/proc/net/tcp can't be read"), "can't be read; its key was not sent"),
    ],
)
def test_start_fails_at_once_if_another_process_answers(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure for a stranger is PORT_IN_USE, so the caller starts again on another port."""

    def ask(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(endpoint.Endpoint, "ask", ask)
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, Path("/dev/null"), guard, "one", "m")
        for call in (lambda: one.wait_ready(9, Step("TEST", "one")), one.log_probabilities):
            with pytest.raises(Failure, match=words) as failure:
                call()
            taken = failure.value.kind is FailureKind.PORT_IN_USE
            assert taken is isinstance(error, peer_check.Stranger)


# --- version, models and log-probabilities that an engine reports ----------------------------

NAME = "\x1b[2J" + "m" * 10_000_000
JUNK: list[tuple[object, object, str]] = [
    ("text", {}, "reports release ?, not 1.0"),
    ([], {}, "release ?"),
    ({"version": ["1.0"]}, {}, "release ?"),
    ({"version": math.nan}, {}, "release ?"),
    ({"version": "1.0\x1b[2J" + "9" * 10_000_000}, {}, "not 1.0"),
    ({"version": "1.0"}, "text", "serves nothing"),
    ({"version": "1.0"}, [1], "serves nothing"),
    ({"version": "1.0"}, {"data": {"id": "m"}}, "serves nothing"),
    ({"version": "1.0"}, {"data": [1, None, {"id": ["m"]}, {"id": None}]}, "serves nothing"),
    ({"version": "1.0"}, {"data": [{"id": NAME}]}, "serves \\x1b[2Jmmm"),
    *(
        ({"version": "1.0"}, {"data": [{"id": "m", "max_model_len": length}]}, "as max_model_len")
        for length in (None, math.nan, math.inf, "512", -1, 0, True, 1 << 40, [512])
    ),
]


@pytest.mark.parametrize(
    ("version", "models", "words"), JUNK, ids=[str(n) for n in range(len(JUNK))]
)
def test_invalid_version_or_models_are_a_short_failure(
    version: object, models: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_: object, path: str, *more: object, key: str | None = None, **how: object) -> object:
        return (401, None) if key == "" else (200, version if path == "/version" else models)

    monkeypatch.setattr(endpoint.Endpoint, "ask", ask)
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, Path("/dev/null"), guard, "one", "m")
        with pytest.raises(Failure) as failure:
            one.identity("1.0")
    assert words in str(failure.value) and len(str(failure.value)) < 600
    assert "\x1b" not in str(failure.value)


@pytest.mark.parametrize(
    "values",
    [[0.1], [math.nan], [-math.inf], ["-1"], [None], [True], [[]], [], {}, "text", None, 7],
    ids=repr,
)
def test_invalid_log_probabilities_at_the_start_are_a_failure(
    values: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [None, *values] if isinstance(values, list) else values
    answer = {"choices": [{"logprobs": {"token_logprobs": held}}]}
    monkeypatch.setattr(server.Server, "post", lambda *_: answer)
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, Path("/dev/null"), guard, "one", "m")
        with pytest.raises(Failure, match="the log-probabilities of a sentence are not numbers"):
            one.log_probabilities()
