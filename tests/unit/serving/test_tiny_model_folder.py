"""Two processes make the tiny model at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import specs
from benchy.core.errors import Failure
from benchy.scripts import tiny_model
from benchy.serving import preparation

TINY = "build/models/tiny"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    folder = tmp_path / "build/models"
    assert not folder.exists() or {path.name for path in folder.iterdir()} <= {"tiny"}


def test_all_makers_see_the_complete_model() -> None:
    server, start = specs.server(make="tiny", path=TINY), threading.Barrier(3)

    def make() -> str:
        start.wait()
        return preparation.ready_model(server, preparation.NOT_FETCHED)

    with ThreadPoolExecutor(3) as pool:
        makers = [pool.submit(make) for _ in range(3)]
    assert [maker.result() for maker in makers] == [TINY] * 3
    assert {path.name for path in Path(TINY).iterdir()} == tiny_model.files().keys()


def test_maker_that_loses_without_a_lock_uses_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host makes it on a file system that does not lock across hosts."""

    def lost(path: Path, new: Path) -> None:
        path.mkdir(parents=True)
        (path / "config.json").touch()
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(tiny_model, "make", lost)
    assert (
        preparation.ready_model(specs.server(make="tiny", path=TINY), preparation.NOT_FETCHED)
        == TINY
    )


def test_model_that_cannot_be_made_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("build").touch()
    with pytest.raises(Failure, match=f"{TINY} could not be created"):
        preparation.ready_model(specs.server(make="tiny", path=TINY), preparation.NOT_FETCHED)
