"""bin/serve with the stand-in engine, real processes, a real port and real signals.

The stand-in has three processes, as vLLM does. Its core runs in its own session and outlives a
killed parent. The caller's environment passes STANDIN_* variables to it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import specs
from benchy.core import versions
from benchy.core.errors import Died, Failure
from benchy.devices import leases, ports
from benchy.process import guardian_client
from benchy.scripts import probe_environment
from benchy.serving import endpoint, engine_log, preparation, server

ROOT = Path(__file__).resolve().parents[3]
MAIN = "import sys; from benchy.cli import entry, serve; sys.exit(entry.run(serve.main))"
STANDIN = ROOT / "tests" / "support" / "standin" / "engine" / "standin_engine"
SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(120)"]
# Reads server.json, queries the server as a task does, and prints what it found as JSON.
LOOK = """
import json, os, pathlib, urllib.request
run = pathlib.Path(os.environ["BENCHY_RUN"])
told = json.loads((run / "server.json").read_text())
ask = urllib.request.Request(os.environ["BENCHY_URL"] + "/v1/models",
    headers={"Authorization": "Bearer " + os.environ["BENCHY_KEY"]})
told["answered"] = json.load(urllib.request.urlopen(ask, timeout=5))["data"][0]["id"]
told["modes"] = [oct((p).stat().st_mode & 0o777) for p in (run, run / "server.json")]
told["key"] = os.environ["BENCHY_KEY"]
print(json.dumps(told))
"""


@dataclass
class House:
    """A root with one environment and its models. `env` is the environment of the commands."""

    root: Path
    env: dict[str, str]
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def model(self, name: str, **changes: object) -> None:
        given = {
            "model": name, "source": f"configs/{name}.yaml", "name": f"test/{name}",
            "engine": "standin", "title": "standin-engine", "package": "standin-engine",
            "version": "1.2.0", "environment": "standin_1_2_0",
            "command": ["-m", "standin_engine"], "options": {"max_model_len": 512},
            "defaults": {"seed": 0}, "variables": {"SOME_VARIABLE": "1"}, "startup_timeout": 20,
        }  # fmt: skip
        spec = specs.server(**given | changes)
        folder = self.root / "build" / "specs" / "server"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(spec))

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MAIN, *words]
        process = subprocess.Popen(
            command, cwd=self.root, env={**self.env, **env}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.begun.append(process)
        return process

    def run(self, *words: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def log(self, name: str) -> str:
        return (self.root / "logs" / "serve" / f"{name}.log").read_text()

    def starts(self) -> list[dict[str, Any]]:
        """Return the record that the engine wrote at each start."""
        path = self.root / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def processes(self) -> list[psutil.Process]:
        """Return the live processes of this root, found by a variable that all of them inherit."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("HOUSE") == str(self.root)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    site = tmp_path / "site"
    shutil.copytree(STANDIN, site / "standin_engine")
    release = 'VERSION = ANSWERED = "1.2.0"\n'
    (site / "standin_engine" / "release.py").write_text(release)
    folder = tmp_path / "venvs" / "standin_1_2_0"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    flags = subprocess.run(
        [python, "-c", "import json, sys; sys.path.append(sys.argv[1]); "
         "import probe_environment as probe; "
         "print(json.dumps(probe.flags(probe.parser('standin_engine'))))",
         str(Path(probe_environment.__file__).parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (folder / "flags.json").write_text(flags.stdout)
    (folder / "check.json").write_text('{"ok": true, "version": "1.2.0"}')
    (folder / "lock").write_text("standin-engine==1.2.0\n")
    (folder / ".stamp").write_text("")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("STANDIN_", "BENCHY_", "MAKE"))}
    env |= {
        "PYTHONPATH": str(ROOT / "lib"), "BENCHY_LEASES": str(tmp_path / "leases"),
        "HOUSE": str(tmp_path), "STANDIN_LOG_FILE": str(tmp_path / "starts.jsonl"),
        "CPU_SLOTS": "1",
    }  # fmt: skip
    made = House(tmp_path, env)
    made.model("one")
    yield made
    for process in made.processes():
        process.kill()
    for begun in made.begun:
        begun.wait(10)
        for pipe in (begun.stdout, begun.stderr):
            if pipe:
                pipe.close()


def until(what: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def port_open(port: int) -> bool:
    with socket.socket() as probe_socket:
        return probe_socket.connect_ex(("127.0.0.1", port)) == 0


def test_command_gets_a_proved_server(house: House) -> None:
    status, out, err = house.run("one", "--", sys.executable, "-c", LOOK)
    assert status == 0, err
    told = json.loads(out)
    assert told["answered"] == told["served_model"] == "test/one"
    assert (told["version"], told["package_version"]) == ("1.2.0", "1.2.0")
    assert (told["max_model_len"], told["gpus"]) == (512, "cpu")
    assert told["variables"]["SOME_VARIABLE"] == "1"
    assert told["seconds_to_ready"]["total"] > 0
    assert "--max-model-len=512" in told["arguments"] and "--seed=0" in told["arguments"]
    assert told["modes"] == ["0o700", "0o600"]
    assert len(told["lock_sha256"]) == 64
    key = told.pop("key")
    assert key not in json.dumps(told) and key not in house.log("one") + err
    assert (house.root / "logs/serve/one.log").stat().st_mode & 0o777 == 0o600
    assert not list((house.root / "run").glob("one-*"))
    assert f"one  standin_1_2_0 on cpu, port {house.starts()[0]['argv'][7]} (ready in" in err
    assert not house.processes()


def test_environment_is_locked_until_the_last_process_ends(house: House) -> None:
    use = house.root / "venvs/.locks/standin_1_2_0.use"

    def free() -> bool:
        with use.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    wrapper = house.start("one", "--", *SLEEP)
    assert wrapper.stdout
    assert wrapper.stdout.readline() == "here\n"
    assert not free()
    wrapper.kill()
    wrapper.wait()
    until(lambda: free() or not house.processes())
    assert not house.processes(), "free only once the guardian has swept"
    until(free)


def test_exit_status_is_that_of_the_command(house: House) -> None:
    assert house.run("one", "--", "sh", "-c", "exit 7")[0] == 7
    assert house.run("one", "--", "sh", "-c", "kill -9 $$")[0] == 137
    status, _, err = house.run("one", "--", "./no-such-program")
    assert status == 1 and "the command can't be started: ./no-such-program" in err


def test_test_option_shows_the_answers(house: House) -> None:
    house.model("one", chat=True)
    status, out, err = house.run("one", "--test")
    assert status == 0, err
    assert "release   1.2.0" in out and "test/one, 512 tokens" in out
    assert "\nchat " in out and "\nlogprobs  -" in out
    assert "here" not in err


MISTAKES = [
    (
        {"options": {"max_model_length": 1}},
        2,
        'standin-engine 1.2.0 has no option "max_model_length"',
    ),
    ({"options": {"dtype": "f16"}}, 2, "configs/one.yaml: dtype: 'f16' is not one of its values"),
    ({"device": "gpu", "gpus": 64}, 1, "one needs 64 GPUs, this machine has"),
    ({"path": "build/models/none"}, 2, "there is no directory build/models/none"),
    ({"version": "1.3.0"}, 1, "reports release 1.2.0, not 1.3.0"),
]


@pytest.mark.parametrize(("changes", "status", "words"), MISTAKES)
def test_mistakes_are_reported_and_the_command_does_not_run(
    house: House, changes: dict[str, Any], status: int, words: str
) -> None:
    house.model("one", **changes)
    got, _, err = house.run("one", "--", "touch", "ran")
    assert (got, words in err) == (status, True), err
    assert not (house.root / "ran").exists()
    assert "Traceback" not in err


def test_option_without_effect_in_the_release_is_reported_once(house: House) -> None:
    house.model("one", options={"multimodal": False}, origin={"multimodal": "providers/p.yaml:4"})
    status, _, err = house.run("one", "--test")
    told = "one: providers/p.yaml:4: multimodal: false has no effect in standin-engine 1.2.0"
    assert status == 0 and err.count(told) == 1


def test_unknown_model_is_reported_with_the_known_ones(house: House) -> None:
    status, _, err = house.run("two", "--test")
    assert status == 2 and "no model is named 'two'" in err and "known: one" in err


def test_environment_that_cannot_be_built_is_a_failure(house: House) -> None:
    (house.root / "venvs/standin_1_2_0/.stamp").unlink()
    (house.root / "bin").mkdir()
    venv = house.root / "bin/venv"
    venv.write_text('#!/bin/sh\necho "$@" > asked\nexit 1\n')
    venv.chmod(0o755)
    status, _, err = house.run("one", "--test")
    assert status == 1 and "its environment standin_1_2_0 could not be built" in err
    assert (house.root / "asked").read_text() == "create standin_1_2_0\n"


FAILURES = [
    ("oom", "the memory does not hold the model", "CUDA out of memory"),
    ("gated", "the model is gated", "gated repo"),
    ("arch", "cannot run the model's architecture", "NovelForCausalLM"),
    ("disk", "the disk is full", "No space left on device"),
    ("start", "the server ended with status 1 while starting", "asked to fail"),
    ("hang", "no answer within startup_timeout = 2 s (stage: weights)", "Starting to load"),
]


@pytest.mark.parametrize(("fault", "words", "line"), FAILURES)
def test_failed_start_of_a_server_is_explained(
    house: House, fault: str, words: str, line: str
) -> None:
    house.model("one", startup_timeout=2 if fault == "hang" else 20)
    status, _, err = house.run("one", "--", "touch", "ran", STANDIN_FAIL=fault)
    assert status == 1 and words in err and line in err, err
    assert "logs/serve/one.log" in err and not (house.root / "ran").exists()
    assert len(err.splitlines()) < 24 and not house.processes()


def test_pooling_model_is_reported(house: House) -> None:
    house.model("one")
    status, _, err = house.run("one", "--", "touch", "ran", STANDIN_FAIL="pooling")
    assert status == 1 and "the server has no /v1/completions: test/one is most likely a" in err
    assert "a pooling model, which generates no text" in err and not house.processes()
    assert not (house.root / "ran").exists()


POOLED = "Resolved `--runner auto` to `--runner pooling`."
ANSWERS: list[tuple[int, object, str, str]] = [
    (404, {"detail": "Not Found"}, POOLED, "test/one is a pooling model"),
    (404, {"detail": "Not Found"}, "", "test/one is most likely a pooling model"),
    (400, {"error": {"message": "The model does not support Completions API"}}, "", "most likely"),
    (
        404,
        {"error": {"message": "The model `x` does not exist."}},
        "",
        "answers 404: The model `x`",
    ),
    (400, {"error": {"message": "too long"}}, POOLED, "answers 400: too long"),
]


@pytest.mark.parametrize(("status", "answer", "log", "words"), ANSWERS)
def test_failure_without_completions_names_the_cause(
    status: int, answer: object, log: str, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoint.Endpoint, "ask", lambda *_, **__: (status, answer))
    (tmp_path / "log").write_text(log)
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, tmp_path / "log", guard, "one", "test/one")
        with pytest.raises(Failure) as failure:
            one.log_probabilities()
        assert words in failure.value.what


def test_a_chat_template_that_adds_nothing_is_refused(house: House) -> None:
    house.model("one", chat=True)
    status, _, err = house.run("one", "--", "touch", "ran", STANDIN_FAIL="bare")
    assert status == 1 and "its chat template adds nothing: " in err, err
    assert "chat_template:" in err and not (house.root / "ran").exists()


def test_requests_use_the_served_model_name(house: House) -> None:
    """No server knows benchy's name of the model, as docs/serving.md says."""
    house.model("one")
    ask = """
import json, os, urllib.error, urllib.request
def status(model):
    body = json.dumps({"model": model, "prompt": "Once", "max_tokens": 1}).encode()
    ask = urllib.request.Request(os.environ["BENCHY_URL"] + "/v1/completions", body,
        {"Authorization": "Bearer " + os.environ["BENCHY_KEY"],
         "Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(ask, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
names = os.environ["BENCHY_SERVED_MODEL"], os.environ["BENCHY_MODEL"]
print(json.dumps([*names, *map(status, names)]))
"""
    code, out, err = house.run("one", "--", sys.executable, "-c", ask)
    assert code == 0, err
    assert json.loads(out) == ["test/one", "one", 200, 404]


def test_a_server_that_dies_ends_the_command(house: House) -> None:
    ask = LOOK + (
        "import time\n"
        "for n in range(4):\n"
        "    body = json.dumps({'prompt': 'a', 'max_tokens': 1}).encode()\n"
        "    ask = urllib.request.Request(os.environ['BENCHY_URL'] + '/v1/completions', body,\n"
        "        {'Authorization': 'Bearer ' + os.environ['BENCHY_KEY']})\n"
        "    try: urllib.request.urlopen(ask, timeout=5)\n"
        "    except OSError: time.sleep(100)\n"
    )
    begun = time.monotonic()
    status, _, err = house.run(
        "one", "--", sys.executable, "-c", ask, STANDIN_FAIL="die_after_3_requests"
    )
    assert status == Died.STATUS and "during the run" in err, err
    assert time.monotonic() - begun < 20 and not house.processes()


def test_pinned_port_in_use_by_another_process_is_a_failure(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        house.model("one", port=taken.getsockname()[1])
        status, _, err = house.run("one", "--test")
    assert status == 1 and f"is used by pid {os.getpid()} (" in err


def test_pinned_port_in_use_by_another_server_is_replaced(house: House) -> None:
    """Models that run side by side can share a provider that pins the port."""
    port = ports.free_port("127.0.0.1", None)
    house.model("one", port=port)
    house.model("two", port=port)
    first = house.start("one", "--", *SLEEP, CPU_SLOTS="2")
    assert first.stdout and first.stdout.readline() == "here\n"
    status, _, err = house.run("two", "--test", CPU_SLOTS="2")
    assert status == 0, err
    assert f"two: port {port} is used by one (pid {first.pid}); it uses port " in err
    used = [int(start["argv"][7]) for start in house.starts()]
    assert used[0] == port != used[1]
    first.kill()
    first.wait()
    until(lambda: not house.processes())
    assert house.run("two", "--test", CPU_SLOTS="2")[0] == 0
    assert int(house.starts()[2]["argv"][7]) == port


def test_two_servers_with_one_pinned_port_can_start_at_once(house: House) -> None:
    port = ports.free_port("127.0.0.1", None)
    house.model("one", port=port)
    house.model("two", port=port)
    both = [house.start(name, "--test", CPU_SLOTS="2") for name in ("one", "two")]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert port in [int(start["argv"][7]) for start in house.starts()]


def test_cluster_job_ignores_pinned_port_and_devices(
    monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    """Jobs on one node do not see each other's leases."""
    house.model("one", port=8000, cuda_devices=[3])
    monkeypatch.chdir(house.root)
    assert preparation.read_spec("one")["port"] == 8000
    monkeypatch.setenv("BENCHY_LAUNCHED", "slurm")
    spec = preparation.read_spec("one")
    assert (spec["port"], spec["cuda_devices"]) == (None, None)


@pytest.mark.parametrize(
    ("pinned", "hint"), [(False, "benchy picks another port"), (True, "end that process, or")]
)
def test_other_process_on_the_port_is_a_failure(pinned: bool, hint: str) -> None:
    with guardian_client.Guard() as guard, socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        end = endpoint.Endpoint("127.0.0.1", stranger.getsockname()[1], "key", guard.pid, pinned)
        one = server.Server(end, Path("/dev/null"), guard, "one", "test/one")
        with pytest.raises(Failure, match=f"is used by pid {os.getpid()}") as failure:
            one.identity(None)
        assert hint in str(failure.value)


ODD: list[tuple[object, bool]] = [
    ({}, False), (None, False), ("hello", False), ([1], True), ({"choices": []}, False),
    ({"choices": [{"text": "a"}]}, True), ({"choices": [{"text": "a"}], "usage": None}, True),
    ({"choices": [{"message": None}], "usage": {"prompt_tokens": 1}}, True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "chat"), ODD)
def test_malformed_answer_is_a_failure(
    answer: object, chat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.Server, "post", lambda *_: answer)
    with guardian_client.Guard() as guard:
        end = endpoint.Endpoint("127.0.0.1", 1, "key", guard.pid)
        one = server.Server(end, Path("/dev/null"), guard, "one", "test/one")
        with pytest.raises(Failure, match=r"one: /v1/.*completions sends a malformed answer"):
            one.sample_answer(chat)


@pytest.mark.parametrize(
    ("answered", "expected", "same"),
    [
        ("0.32.0+cpu", "0.32.0", True),
        ("0.10.0", "0.10", True),
        ("0.8.0", "0.8.0.post1", False),
        ("dev", "dev", True),
        ("", "0.8.0", False),
    ],
)
def test_releases_are_compared_by_public_version(answered: str, expected: str, same: bool) -> None:
    assert versions.same_public(answered, expected) is same


# Process to kill, signal, exit status of bin/serve. None: bin/serve itself is killed.
KILLS = [
    ("wrapper", signal.SIGINT, 130),
    ("wrapper", signal.SIGTERM, 143),
    ("wrapper", signal.SIGHUP, 129),
    ("wrapper", signal.SIGKILL, None),
    ("guardian", signal.SIGTERM, Died.STATUS),
    ("guardian", signal.SIGKILL, Died.STATUS),
    ("server", signal.SIGKILL, Died.STATUS),
    ("core", signal.SIGKILL, Died.STATUS),
    ("worker", signal.SIGKILL, Died.STATUS),
    ("command", signal.SIGKILL, 137),
    ("command", signal.SIGTERM, 143),
]


@pytest.mark.parametrize(("whom", "signum", "status"), KILLS)
def test_no_process_survives_a_signal(
    house: House, whom: str, signum: int, status: int | None
) -> None:
    process = house.start("one", "--", *SLEEP)
    assert process.stdout and process.stdout.readline() == "here\n"
    start = house.starts()[0]
    port = int(start["argv"][7])
    (guard,) = psutil.Process(process.pid).children()
    (command,) = [c for c in guard.children() if "time.sleep(120)" in c.cmdline()[-1]]
    assert port_open(port) and len(house.processes()) >= 5
    pids = {
        "wrapper": process.pid, "guardian": guard.pid, "server": start["pid"],
        "core": start["core"], "worker": start["worker"], "command": command.pid,
    }  # fmt: skip
    os.kill(pids[whom], signum)
    process.communicate(timeout=30)
    until(lambda: not house.processes())
    assert process.returncode == (status or -signum)
    assert not port_open(port)
    desk = leases.LeaseDirectory(leases.directory(house.env))
    assert not desk.holders(["cpu-0"])
    if status is not None:
        assert not list((house.root / "run").glob("one-*"))


def test_a_stubborn_server_is_killed_at_the_second_ctrl_c(house: House) -> None:
    process = house.start("one", "--", *SLEEP, STANDIN_FAIL="stubborn")
    assert process.stdout and process.stdout.readline() == "here\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - begun < 5
    until(lambda: not house.processes())


def test_two_models_take_turns_on_one_slot(house: House) -> None:
    house.model("two")
    stamp = "import time; print(time.time()); time.sleep(.5); print(time.time())"
    both = [house.start(m, "--", sys.executable, "-c", stamp) for m in ("one", "two")]
    spans = []
    errors = ""
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        spans.append([float(line) for line in out.split()])
        errors += err
    (_, first_end), (second_begin, _) = sorted(spans)
    assert first_end < second_begin
    assert errors.count("  WAIT    ") == 1
    assert "cpu-0 is used by" in errors or "is ahead in the queue" in errors


@pytest.mark.parametrize(
    ("line", "dtype"),
    [
        # vLLM 0.6.3, vLLM 0.32.0, a truncated log
        ("INFO llm_engine.py:237] Initializing an LLM engine (v0.6.3) with config: model='a/b', "
         "tokenizer='a/b', dtype=torch.bfloat16, max_seq_len=4096,", "bfloat16"),
        ("(EngineCore pid=2) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config:"
         " model='x', trust_remote_code=False, dtype=torch.float32, max_seq_len=1024,", "float32"),
        ("Initializing a V1 LLM engine (v0.32.0) with", None),
    ],
)  # fmt: skip
def test_dtype_is_read_from_the_engine_log(line: str, dtype: str | None) -> None:
    assert engine_log.dtype(f"before\n{line}\nafter dtype=other") == dtype
