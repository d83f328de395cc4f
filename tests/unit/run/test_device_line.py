"""Which models of a run stand in the line for devices."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from benchy.core.errors import Failure
from benchy.devices import allocation, leases
from benchy.devices.leases import LeaseRequest
from benchy.run import device_line
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


def test_error_while_models_wait_ends_their_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model waits for a device; when it becomes free, the driver does not answer."""

    def foreign() -> dict[str, str]:
        raise Failure("nvidia-smi does not answer")

    desk = leases.LeaseDirectory(tmp_path, foreign)
    monkeypatch.setattr(allocation, "desk", lambda: desk)
    monkeypatch.setattr(device_line, "say", lambda *_: None)
    want = LeaseRequest(1, ("gpu-0",))
    need = allocation.DeviceNeed(want, {"gpu-0": "0"})

    async def wait() -> None:
        line = DeviceLine({"m": need, "n": need}, 2, lambda: ())
        loop = asyncio.get_running_loop()
        other = leases.LeaseDirectory(tmp_path).at_once(want)
        assert other
        with line.opened(["m", "n"], loop):
            models = [asyncio.ensure_future(line.lease(name)) for name in "mn"]
            await asyncio.sleep(0)
            other.release()
            line._grant_next()
            done, late = await asyncio.wait(models, timeout=5)
            assert not late and line.held == 0
            assert {str(model.exception()) for model in done} == {"nvidia-smi does not answer"}
            # The next model gets an error of its own, not an inconsistent line.
            with contextlib.suppress(Failure):
                await asyncio.wait_for(line.lease("m"), 5)

    asyncio.run(wait())
    assert leases.LeaseDirectory(tmp_path).at_once(want)  # the device is not locked
