"""Which models of a run stand in the line for devices."""

from __future__ import annotations

import asyncio

import pytest

from benchy.run.device_line import DeviceLine

# (limit of -j, leases held, models that wait, of these served) → models in line
LINES = [
    (4, 0, "cab", "", "abc"),
    (2, 0, "cab", "", "ab"),
    (2, 1, "cab", "", "a"),
    (2, 2, "cab", "", ""),
    (4, 1, "cab", "a", "bc"),
    (4, 0, "", "", ""),
]


@pytest.mark.parametrize(("at_once", "held", "waiting", "granted", "expected"), LINES)
def test_only_as_many_models_as_may_be_served_stand_in_line(
    at_once: int, held: int, waiting: str, granted: str, expected: str
) -> None:
    async def in_line() -> list[str]:
        line = DeviceLine({}, at_once, lambda: ())
        line._rank = {name: at for at, name in enumerate("abc")}
        line.held = held
        loop = asyncio.get_running_loop()
        line.waiting = {name: loop.create_future() for name in waiting}
        for name in granted:
            line.waiting[name].cancel()
        return line.in_line()

    assert asyncio.run(in_line()) == list(expected)
