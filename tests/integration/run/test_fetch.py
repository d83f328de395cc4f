"""Fetching weights from a fake hub with the hub's real client."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.display.progress import Step
from benchy.run import fetch
from benchy.serving import packaged_model, preparation
from hubstandin import CLIENTS, COMMIT, Hub, client_environment

BIG = os.urandom(24 << 20)  # three pieces: the client writes 10 MB at a time
FILES = {
    "config.json": b'{"architectures": ["X"]}',
    "tokenizer.json": b"{}",
    "model.safetensors": BIG,
    "pytorch_model.bin": b"the same weights once more",
    "original/consolidated.00.pth": b"and once more",
    "onnx/model.onnx": b"and more",
}


@pytest.fixture(scope="session", params=CLIENTS)
def client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return client_environment(tmp_path_factory.mktemp("client") / "env", request.param)


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub({"org/model": FILES})
    yield made
    made.shutdown()
    made.server_close()


class House:
    def __init__(self, hub: Hub, client: Path, tmp: Path, patch: pytest.MonkeyPatch) -> None:
        self.hub, self.cache, self.logs = hub, tmp / "cache", tmp / "logs"
        for name in list(os.environ):
            if name.startswith(("HF_", "HUGGING")) or name == "OFFLINE":
                patch.delenv(name)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(tmp / "home"))
        patch.setenv("no_proxy", "127.0.0.1")
        patch.setattr(paths, "RUN", tmp / "run")
        patch.setattr(paths, "LOGS", self.logs)
        self.place = preparation.EngineEnvironment("env", client)

    def fetch(self, name: str = "org/model", **more: Any) -> dict[str, Any]:
        spec = specs.server(**{"model": "m", "name": name, "hf_cache": str(self.cache)} | more)
        fetch.weights(preparation.PreparedServer(spec, self.place, name, []), Step("FETCH", name))
        path = paths.RUN / "fetched/m.json"
        told: dict[str, Any] = json.loads(path.read_text())
        assert path.stat().st_mode & 0o777 == 0o600
        assert preparation.fetched(spec).commit == told["commit"]
        return told

    def snapshot(self, name: str = "org/model") -> Path:
        return self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT


@pytest.fixture
def house(hub: Hub, client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(hub, client, tmp_path, monkeypatch)


def test_files_that_a_server_reads_are_fetched_once(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    told = house.fetch()
    assert (told["commit"], told["new"]) == (COMMIT, True)
    assert f"m: org/model at {COMMIT[:12]}, 0.03 GB" in capsys.readouterr().err
    got = {str(p.relative_to(house.snapshot())) for p in house.snapshot().rglob("*") if p.is_file()}
    assert got == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (house.snapshot() / "model.safetensors").read_bytes() == BIG
    reference = house.cache / "models--org--model/refs/main"
    assert reference.read_text() == COMMIT
    house.hub.asked.clear()
    for blob in (house.cache / "models--org--model/blobs").iterdir():
        os.utime(blob, (1, 1))
    assert house.fetch()["new"] is False
    assert not house.hub.gets("model.safetensors") and not capsys.readouterr().err


def test_interrupted_download_is_resumed(house: House) -> None:
    house.hub.break_after = 15 << 20
    try:
        house.fetch()
    except Failure as failure:  # client releases that do not resume by themselves
        assert "make fetch" in failure.hint
        house.fetch()
    ranges = house.hub.gets("model.safetensors")
    assert ranges[0] == "" and ranges[1].startswith("bytes=")
    assert int(ranges[1][6:].rstrip("-")) > 1 << 20
    assert (house.snapshot() / "model.safetensors").read_bytes() == BIG


def test_gated_model_is_reported_with_a_hint(house: House) -> None:
    house.hub.gated["org/model"] = "let-me-in"
    with pytest.raises(Failure) as told:
        house.fetch()
    assert told.value.what == "m: org/model is gated: its owner has to grant access (HTTP 401)"
    assert f"request access at {house.hub.url}/org/model, then set HF_TOKEN" in told.value.hint
    provider = house.cache.parent / "provider.yaml"
    provider.write_text("hf_token: wrong")
    with pytest.raises(Failure, match="HTTP 403"):
        house.fetch(token_from=str(provider))
    provider.write_text("hf_token: let-me-in")
    assert house.fetch(token_from=str(provider))["commit"] == COMMIT
    assert "let-me-in" not in "".join(p.read_text() for p in house.logs.rglob("*.log"))


def test_missing_model_or_revision_is_reported(house: House) -> None:
    with pytest.raises(Failure, match="the hub has no model org/other, or it is private"):
        house.fetch("org/other")
    with pytest.raises(Failure, match="org/model has no revision v9"):
        house.fetch(revision="v9")
    assert house.fetch(revision="v1")["revision"] == "v1"
    assert house.fetch(revision=COMMIT)["commit"] == COMMIT


def test_without_a_network_cached_weights_are_used(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLINE", "1")
    with pytest.raises(Failure, match=r"not on this machine, and offline mode is on"):
        house.fetch()
    monkeypatch.delenv("OFFLINE")
    house.fetch()
    house.hub.shutdown()
    house.hub.server_close()
    assert house.fetch()["commit"] == COMMIT  # no hub answers, so the cache is used
    monkeypatch.setenv("OFFLINE", "1")
    assert house.fetch()["commit"] == COMMIT
    shutil.rmtree(house.cache)
    monkeypatch.delenv("OFFLINE")
    with pytest.raises(Failure, match="the hub can't be reached"):
        house.fetch()


def test_an_environment_without_a_client_fetches_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house.place = preparation.EngineEnvironment("env", Path("/usr"))
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    spec = specs.server(model="m", name="org/model")
    plan = preparation.PreparedServer(
        spec, preparation.EngineEnvironment("env", tmp_path), "org/model", []
    )
    fetch.weights(plan, Step("FETCH", "m"))
    assert preparation.fetched(spec).commit is None and not house.hub.asked


def test_a_commit_belongs_to_its_name_and_revision(house: House) -> None:
    house.fetch()
    spec = specs.server(model="m", name="org/model")
    assert preparation.fetched(spec).commit == COMMIT
    another = specs.server(model="m", name="org/model", revision="v1")
    assert preparation.fetched(another) == preparation.NOT_FETCHED
    local = specs.server(model="m", name="org/model", path="/somewhere")
    assert preparation.fetched(local) == preparation.NOT_FETCHED


PACKAGE = {"name": "gguf-model", "version": "1.0", "sha256": "0" * 64}


def test_a_package_replaces_a_hub_that_cannot_be_reached(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(package: object, cache: str, python: str, *_: object) -> tuple[Path, bool]:
        made.append((package, cache, python))
        folder = tmp_path / "converted"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        return folder, len(made) == 1

    monkeypatch.setattr(packaged_model, "make", make)
    told = house.fetch(weights=PACKAGE)  # the hub answers
    assert told["commit"] == COMMIT and not made
    shutil.rmtree(house.cache)
    house.hub.shutdown()
    house.hub.server_close()
    told = house.fetch(weights=PACKAGE, revision=COMMIT)
    assert made == [(PACKAGE, str(house.cache), house.place.python)]
    assert (told["package"], told["commit"], told["new"]) == (PACKAGE, None, True)

    def files(**more: Any) -> preparation.FetchedFiles:
        spec = {"model": "m", "name": "org/model", "revision": COMMIT, **more}
        return preparation.fetched(specs.server(**spec))

    assert files(weights=PACKAGE).package == str(tmp_path / "converted")
    assert files() == preparation.NOT_FETCHED, "the config no longer names the package"
    assert files(weights=PACKAGE | {"version": "2"}) == preparation.NOT_FETCHED
    asked = {"model": "m", "name": "org/model", "revision": COMMIT, "hf_cache": str(house.cache)}
    assert fetch.nothing_to_fetch(specs.server(**asked, weights=PACKAGE))
    assert not fetch.nothing_to_fetch(specs.server(**asked))
    (tmp_path / "converted/config.json").unlink()
    assert files(weights=PACKAGE) == preparation.NOT_FETCHED
    assert not fetch.nothing_to_fetch(specs.server(**asked, weights=PACKAGE))
