"""One browser for all tests of pages. Without a browser they are skipped; in CI they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from stage import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        with chromium() as one:
            yield one
    except FileNotFoundError as error:
        if os.environ.get("BENCHY_BROWSER") == "required":
            pytest.fail(f"{error}; .ci/run does")
        pytest.skip(str(error))
