"""Tests of reading a server's responses, which may have any form."""

from __future__ import annotations

import pytest

from benchy.serving import responses


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({"error": {"message": "too long", "code": 400}}, "too long"),
        ({"message": "too long", "object": "error"}, "too long"),
        ({"error": "too long"}, "too long"),
        ({"detail": "Not Found"}, "{'detail': 'Not Found'}"),
        ("<html>", "<html>"),
        (None, "None"),
        ({"error": {"message": "a\x1b[2J" + "b" * 1000}}, "a\\x1b[2J" + "b" * 292),
    ],
)
def test_error_message_of_any_response(response: object, message: str) -> None:
    assert responses.error_message(response) == message
