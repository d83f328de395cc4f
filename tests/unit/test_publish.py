"""The leaderboard to a stand-in of the hub, by the hub's real client: what goes, what stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubstandin import Hub

from benchy import paths, publish, uv
from benchy.errors import Failure, UsageError

MADE = {
    "leaderboard.json": "{}", "leaderboard.csv": "a,b\n", "leaderboard.md": "| a |\n",
    "index.html": "<p>", "m/index.html": "<p>a prompt", "m/t/results.json": "{}",
    "m/t/spec.json": "{}", "m/t/samples_t_2026.jsonl": "a prompt", "m/.t.12.tmp/x": "half",
}  # fmt: skip
PLAIN = {"index.html", "leaderboard.csv", "leaderboard.json", "leaderboard.md",
         "m/t/results.json", "m/t/spec.json"}  # fmt: skip


@pytest.fixture(scope="session", params=["huggingface_hub>=1", "huggingface_hub<0.27"])
def client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("client") / "env"
    words = ["venv", str(folder)], ["pip", "install", "--python", str(folder), request.param]
    for word in words:
        done = subprocess.run([uv.find(), *word], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no client of the hub can be installed here: {done.stderr[-300:]}")
    return folder / "bin/python"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub({})
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name in ("OFFLINE", "REPO", "YES", "SAMPLES"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", made.writer)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    for name, text in MADE.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield made
    made.shutdown()
    made.server_close()


def test_nothing_leaves_without_yes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main(["org/board"]) == 0
    out, err = capsys.readouterr()
    assert set(out.splitlines()) == PLAIN and not hub.asked
    assert "would upload 6 files" in err and "1 results to org/board" in err and "YES=1" in err


def test_the_hub_gets_the_leaderboard(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    assert publish.main(["org/board", "--yes"]) == 0
    got = hub.uploads["org/board"]
    assert set(got) == {*PLAIN, "README.md"} and hub.private["org/board"]
    assert got["m/t/results.json"] == b"{}"
    assert got["README.md"].startswith(b"---\nconfigs:") and got["README.md"].endswith(b"| a |\n")
    assert f"{hub.url}/datasets/org/board" in capsys.readouterr().err
    monkeypatch.setenv("SAMPLES", "1")
    assert publish.main(["org/board", "--yes"]) == 0  # the repository is there already
    assert {"m/index.html", "m/t/samples_t_2026.jsonl"} <= set(hub.uploads["org/board"])
    assert not any(".tmp" in name for name in hub.uploads["org/board"])
    assert len(hub.commits) == 2


def test_a_token_that_may_not_write_is_told_and_not_shown(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(Failure) as failed:
        publish.main(["org/board", "--yes"])
    assert "the hub answers 401 for org/board" in failed.value.what
    assert "HF_TOKEN" in failed.value.mend
    assert "hf_reader" not in str(failed.value) + publish.LOG.read_text()


def test_a_hub_that_is_not_there_is_told(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Failure, match="nothing could be uploaded"):
        publish.main(["org/board", "--yes"])


@pytest.mark.parametrize("name", ["", "board", "a/b/c", "org/ board", "../x"])
def test_a_repository_has_a_name(hub: Hub, name: str) -> None:
    with pytest.raises(UsageError, match="REPO"):
        publish.main([name] if name else [])


def test_without_a_leaderboard_or_a_client(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "VENVS", Path("venvs"))
    with pytest.raises(Failure, match="no environment here has the hub's client"):
        publish.client()
    Path("results/leaderboard.md").unlink()
    with pytest.raises(Failure, match="no leaderboard yet"):
        publish.main(["org/board"])
