"""Tests of leases between real processes: atomic, in order, freed when the holder ends, cheap."""

from __future__ import annotations

import fcntl
import os
import random
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchy.core.errors import Failure
from benchy.devices import leases, waiting_line


def line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def test_one_process_orders_its_own_requests(tmp_path: Path) -> None:
    desk, other = leases.LeaseDirectory(tmp_path), leases.LeaseDirectory(tmp_path)
    with waiting_line.Line(desk) as line, waiting_line.Line(other) as theirs:
        one = leases.LeaseRequest(1, ("g0",))
        line.set_requests({"short": one})
        theirs.set_requests({"stranger": one})
        line.set_requests(
            {"long": one, "short": one}
        )  # the longer one goes first, although it is newer
        first = line.grant()
        assert list(first) == ["long"] and not theirs.grant()
        assert line.wants == {"short": one}
        first["long"].release()
        # "short" has the newer ticket now, so "stranger" is ahead of it.
        assert not line.grant()
        second = theirs.grant()
        assert list(second) == ["stranger"]
        second["stranger"].release()
        assert list(line.grant()) == ["short"]
    assert not desk.names()


def test_random_requests_are_all_granted_and_never_share(tmp_path: Path) -> None:
    """Ten waiting lines share eight devices. Each request gets its full count, and none is lost."""
    dice = random.Random(11)  # noqa: S311
    devices = [f"g{number}" for number in range(8)]
    lines = [waiting_line.Line(leases.LeaseDirectory(tmp_path)) for _ in range(10)]
    wants: list[dict[str, leases.LeaseRequest]] = []
    for at in range(len(lines)):
        mine = {}
        for number in range(6):
            pool = tuple(dice.sample(devices, dice.choice([8, 8, 4])))
            mine[f"{at}-{number}"] = leases.LeaseRequest(dice.choice([1, 1, 2, 4]), pool)
        wants.append(mine)
    waiting = [dict(mine) for mine in wants]
    held: list[tuple[int, leases.Lease]] = []
    for moment in range(2000):
        for at, line in enumerate(lines):
            line.set_requests(dict(dice.sample(sorted(waiting[at].items()), len(waiting[at]))))
            for key, got in line.grant().items():
                assert len(set(got.devices)) == waiting[at].pop(key).count
                held.append((moment + dice.randrange(1, 6), got))
        names = [device for _, got in held for device in got.devices]
        assert len(names) == len(set(names))
        for over in [row for row in held if row[0] <= moment]:
            held.remove(over)
            over[1].release()
        if not any(waiting) and not held:
            break
    assert not any(waiting) and not held
    for line in lines:
        line.set_requests({})
        line.watch.close()


def look(seen: list[dict[str, str]]) -> Callable[[], Mapping[str, str]]:
    return lambda: seen.pop(0) if len(seen) > 1 else seen[0]


def test_devices_of_foreign_programs_are_avoided_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "FOREIGN_PAUSE", 0.3)
    busy = {"g0": "train.py (pid 7, 9000 MiB)"}
    said: list[str] = []
    desk = leases.LeaseDirectory(tmp_path, look([busy]))
    held = waiting_line.acquire(
        desk, leases.LeaseRequest(1, ("g0", "g1")), said.append, lambda: None
    )
    assert held.devices == ("g1",) and not said
    held.release()
    desk = leases.LeaseDirectory(tmp_path, look([busy, busy, busy, {}]))
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), said.append, lambda: None)
    assert held.devices == ("g0",) and said == ["g0 is used by train.py (pid 7, 9000 MiB)"]
    held.release()


def test_memory_freed_a_moment_later_is_not_foreign(tmp_path: Path) -> None:
    said: list[str] = []
    desk = leases.LeaseDirectory(tmp_path, look([{"g0": "gone (pid 7)"}, {}]))
    assert waiting_line.acquire(
        desk, leases.LeaseRequest(1, ("g0",)), said.append, lambda: None
    ).devices == ("g0",)
    assert not said


def test_request_that_waits_for_a_foreign_program_reserves_nothing() -> None:
    wide, narrow = leases.LeaseRequest(2, ("g0", "g1")), leases.LeaseRequest(1, ("g0", "g1"))
    assert leases.shares([wide, narrow], set(), set())[1] == ()
    assert leases.shares([wide, narrow], set(), {"g0"})[1] == ("g1",)


def test_undetected_foreign_program_does_not_keep_devices_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign program uses g0, g1 is leased, and the first request wants all four devices.

    No lease can be granted, so only idle devices cause the query for foreign programs. Then g2
    and g3 go to other requests.
    """
    monkeypatch.setattr(leases, "FOREIGN_PAUSE", 0.4)
    monkeypatch.setattr(leases, "SECOND_LOOK", 0.1)
    looks = []

    def foreign() -> dict[str, str]:
        looks.append(time.monotonic())
        return {"g0": "train.py (pid 7)", "g1": "our own server (pid 8)"}

    four = ("g0", "g1", "g2", "g3")
    ours = waiting_line.acquire(
        leases.LeaseDirectory(tmp_path), leases.LeaseRequest(1, ("g1",)), print, lambda: None
    )
    desk = leases.LeaseDirectory(tmp_path, foreign)
    with (
        waiting_line.Line(desk) as wide,
        waiting_line.Line(leases.LeaseDirectory(tmp_path, foreign)) as narrow,
    ):
        wide.set_requests({"wide": leases.LeaseRequest(4, four)})
        narrow.set_requests({"narrow": leases.LeaseRequest(1, four)})
        assert not wide.grant() and not narrow.grant()  # the memory on g0 may be freed in a moment
        assert narrow.pause() == 0.1 and len(looks) == 2
        time.sleep(0.1)
        assert not wide.grant()
        assert "g0 is used by train.py (pid 7)" in wide.reason()
        assert narrow.grant()["narrow"].devices == ("g2",)
        asked = len(looks)
        for _ in range(50):
            assert not wide.grant()
        assert len(looks) == asked
    ours.release()


def test_memory_freed_a_moment_later_keeps_the_reservation(tmp_path: Path) -> None:
    """A server of ours on g0 has just ended, and its memory is still in use for a moment.

    The devices stay reserved for the wide request.
    """
    seen = [{"g0": "gone (pid 7)"}, {}]
    desk = leases.LeaseDirectory(tmp_path, look(seen))
    ours = waiting_line.acquire(
        leases.LeaseDirectory(tmp_path), leases.LeaseRequest(1, ("g1",)), print, lambda: None
    )
    both = ("g0", "g1", "g2")
    with waiting_line.Line(desk) as line:
        line.set_requests(
            {"wide": leases.LeaseRequest(3, both), "narrow": leases.LeaseRequest(1, both)}
        )
        assert not line.grant() and line.pause() == leases.SECOND_LOOK and not line.reason()
        time.sleep(leases.SECOND_LOOK)
        assert not line.grant()
        assert len(seen) == 1 and line.sighting is waiting_line.Sighting.NONE
        ours.release()
        assert list(line.grant()) == ["wide"]


@pytest.mark.parametrize("pool", [("g3", "g0"), ("g0", "g3")])
def test_waiter_holds_no_device_in_any_pool_order(tmp_path: Path, pool: tuple[str, str]) -> None:
    """A waiter never holds one device while it waits for another."""
    desk = leases.LeaseDirectory(tmp_path, lambda: {"g3": "train.py (pid 7)"})
    with waiting_line.Line(desk) as line:
        line.set_requests({"pinned": leases.LeaseRequest(2, pool)})
        for _ in range(3):
            assert not line.grant()
            assert not desk.holders(pool)
    (tmp_path / "strangers").unlink()
    rogue = os.open(tmp_path / "g3", os.O_RDWR | os.O_CREAT)  # takes the flock without the mutex
    fcntl.flock(rogue, fcntl.LOCK_EX)
    with waiting_line.Line(leases.LeaseDirectory(tmp_path)) as line:
        line.set_requests({"pinned": leases.LeaseRequest(2, pool)})
        assert not line.grant() and list(desk.holders(pool)) == ["g3"]
        os.close(rogue)
        assert line.grant()["pinned"].devices == pool


DIRECTORIES = [
    ({"BENCHY_LEASES": "{0}/a", "XDG_RUNTIME_DIR": "{0}/b"}, "a"),
    ({"XDG_RUNTIME_DIR": "{0}/b", "HOME": "{0}", "TMPDIR": "{0}/c"}, "tmp/benchy-{1}"),  # a login
    ({}, "tmp/benchy-{1}"),  # cron
]


@pytest.mark.parametrize(("given", "where"), DIRECTORIES)
def test_lease_directory_is_the_same_for_every_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], where: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(leases, "TMP", tmp_path / "tmp")
    path = leases.directory({k: v.format(tmp_path) for k, v in given.items()})
    assert path.parent == tmp_path / where.format(tmp_path, os.getuid())
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open to all", "a link", "a file"])
def test_lease_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(leases, "TMP", tmp_path)
    path = tmp_path / f"benchy-{os.getuid()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to("elsewhere")
    elif kind == "a file":
        path.touch()
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(Failure, match=r"only this user can access.*\n.*BENCHY_LEASES"):
        leases.directory({})


def test_lock_files_have_the_sticky_bit(tmp_path: Path) -> None:
    """systemd-tmpfiles does not delete such files, as the XDG specification says."""
    desk = leases.LeaseDirectory(tmp_path)
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), print, lambda: None)
    assert (tmp_path / "g0").stat().st_mode & stat.S_ISVTX
    held.release()
