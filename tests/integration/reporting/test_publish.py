"""Publishing to a fake hub with the hub's real client: which files are uploaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchy.cli import publish as publish_command
from benchy.cli import report as report_command
from benchy.core import paths
from benchy.core.errors import Failure, UsageError
from benchy.evaluation import result as document
from benchy.reporting import publish
from hubstandin import CLIENTS, Hub, client_environment
from results import made as result

SAMPLES = "samples_t_2026-11-23T10-00-00.1.jsonl"
BESIDE = {
    "m/t/spec.json": "{}", "m/.t.12.tmp/x": "half", "gone/index.html": "<p>",
    f"m/t/{SAMPLES}": json.dumps({"doc_id": 1, "doc": "a prompt", "target": "x"}),
}  # fmt: skip
PLAIN = {"index.html", "leaderboard.csv", "leaderboard.json", "leaderboard.md", "m/index.html",
         "limit-2/m/index.html", "limit-2/m/t/results.json", "m/t/results.json", "m/t/spec.json",
         }  # fmt: skip


@pytest.fixture(scope="session", params=CLIENTS)
def client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return (
        client_environment(tmp_path_factory.mktemp("client") / "env", request.param) / "bin/python"
    )


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
    for name, text in BESIDE.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for where, limit in (("", None), ("limit-2/", 2)):
        path = tmp_path / "results" / f"{where}m/t/results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        output = [] if limit else [SAMPLES]
        document.write(result("m", "t", limit=limit, harness_output=output), path)
    report_command.main([])
    yield made
    made.shutdown()
    made.server_close()


def test_nothing_is_uploaded_without_yes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish_command.main(["org/board"]) == 0
    out, err = capsys.readouterr()
    assert set(out.splitlines()) == {*PLAIN, "gone/index.html"} and not hub.asked
    assert "2 results to org/board" in err and "YES=1" in err


def test_leaderboard_is_uploaded_and_samples_on_request(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    assert publish_command.main(["org/board", "--yes"]) == 0
    got = hub.uploads["org/board"]
    assert set(got) == {*PLAIN, "README.md"} and hub.private["org/board"]
    assert got["m/t/results.json"] == Path("results/m/t/results.json").read_bytes()
    assert got["README.md"].startswith(b"---\nconfigs:")
    assert got["README.md"].endswith(Path("results/leaderboard.md").read_bytes())
    links = set(re.findall(r'href="([^"#]+)', got["index.html"].decode()))
    assert links and links <= set(got), "each link of the leaderboard leads somewhere"
    assert '<button class="open"' not in got["m/index.html"].decode()
    assert f"{hub.url}/datasets/org/board" in capsys.readouterr().err
    monkeypatch.setenv("SAMPLES", "1")
    assert publish_command.main(["org/board", "--yes"]) == 0  # the repository already exists
    got = hub.uploads["org/board"]
    assert {f"m/t/{SAMPLES}", "m/t/samples-1.js"} <= set(got)
    assert '<button class="open"' in got["m/index.html"].decode()
    assert not any(".tmp" in name for name in hub.uploads["org/board"])
    assert len(hub.commits) == 2


def test_token_without_write_access_is_reported_and_not_shown(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(Failure) as failed:
        publish_command.main(["org/board", "--yes"])
    assert "the hub answers 401 for org/board" in failed.value.what
    assert "HF_TOKEN" in failed.value.hint
    assert "hf_reader" not in str(failed.value) + publish.LOG.read_text()


def test_unreachable_hub_is_reported(
    hub: Hub, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "client", lambda: client)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Failure, match="the upload failed"):
        publish_command.main(["org/board", "--yes"])


@pytest.mark.parametrize("name", ["", "board", "a/b/c", "org/ board", "../x"])
def test_invalid_repository_name_is_refused(hub: Hub, name: str) -> None:
    with pytest.raises(UsageError, match="REPO"):
        publish_command.main([name] if name else [])


def test_missing_client_results_or_leaderboard_is_reported(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "VENVS", Path("venvs"))
    with pytest.raises(Failure, match="no environment here has the hub's client"):
        publish.client()
    shutil.rmtree("results/m")
    shutil.rmtree("results/limit-2")
    report_command.main([])
    with pytest.raises(Failure, match="there are no results yet"):
        publish_command.main(["org/board"])
    Path("results/leaderboard.md").unlink()
    with pytest.raises(Failure, match="no leaderboard yet"):
        publish_command.main(["org/board"])


UPLOADER = """
import os, sys
print("bars" if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ else "none", file=sys.stderr)
print("500 of 700 files", flush=True)
print("uploaded " + sys.stdin.read())
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_upload_shows_its_progress(
    hub: Hub, terminal: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal shows the client's progress bars; otherwise its output goes to the log."""
    Path("asked").write_text("x")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    status, lines = publish._run([sys.executable, "-c", UPLOADER], Path("asked"))
    told = capfd.readouterr().err
    assert status == 0 and lines[-1] == "uploaded x" and "500 of 700 files" in told
    assert ("bars" in told, "none" in lines) == (terminal, not terminal)


def test_repository_name_is_checked_before_the_report_is_made(hub: Hub) -> None:
    with pytest.raises(UsageError, match="REPO"):
        publish_command.main(["--check", "board"])
    Path("results/leaderboard.md").unlink()
    assert publish_command.main(["--check", "org/board"]) == 0
    recipe = (paths.ROOT / "mk/results.mk").read_text().partition("\npublish:")[2]
    words = [line.split() for line in recipe.partition("\n\n")[0].splitlines()]
    assert words[1:] == [["@bin/publish", "--check"], ["@$(MAKE)", "report"], ["@bin/publish"]]
