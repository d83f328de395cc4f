"""Tests that the stand-in engine and harness behave as other tests expect.

Real uv installs their wheels offline, from the folder that wheels.py fills.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

import wheels
from benchy.config import loader, schema
from benchy.evaluation import harness_output as written

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-of-this-test"


def find_uv() -> str:
    """Return uv from $UV, .uv/bin or PATH. Fail if there is none, rather than skip the tests."""
    places = (os.environ.get("UV"), str(ROOT / ".uv" / "bin" / "uv"), shutil.which("uv"))
    for place in places:
        if place and Path(place).is_file():
            return place
    raise AssertionError("no uv: `make bootstrap` installs it, or name it in UV")


def uv(*words: str | Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_", "VIRTUAL_ENV"))}
    command = [find_uv(), *map(str, words)]
    return subprocess.run(command, env=env, text=True, capture_output=True, check=False)


def install(folder: Path, links: Path, *requirements: str) -> subprocess.CompletedProcess[str]:
    made = uv("venv", "--quiet", "--python", sys.executable, folder)
    assert made.returncode == 0, made.stderr
    return uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", "--no-index",
              "--find-links", links, *requirements)  # fmt: skip


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    broken = ("3.0.0", "4.0.0", "5.0.0")
    wheels.build(folder)
    wheels.build(folder, {"standin-engine": broken})
    return folder


@pytest.fixture(scope="module")
def python(links: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with engine 1.1.0 and the newest harness."""
    folder = tmp_path_factory.mktemp("env") / "v"
    done = install(folder, links, "standin-engine==1.1.0", "lm_eval[api]==0.0.2")
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


class Server:
    """A running stand-in server. It logs the ids of its three processes when it starts."""

    def __init__(self, python: Path, folder: Path, *words: str, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.starts = folder / "starts.jsonl"
        env = {**os.environ, "VLLM_API_KEY": KEY, "STANDIN_LOG_FILE": str(self.starts), **variables}
        command = [
            python, "-m", "standin_engine", "--model", "acme/one", "--served-model-name", "one",
            "--host", "127.0.0.1", "--port", self.port, "--max-model-len", "64", *words,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], env=env, stderr=log, start_new_session=True
            )

    def ready(self) -> Server:
        def healthy() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return requests.get(f"{self.url}/health", timeout=5).ok
            except requests.ConnectionError:
                return False

        wait_for(healthy)
        return self

    def start(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.starts.read_text().splitlines()[0])
        return found

    def children(self) -> list[int]:
        return [self.start()["core"], self.start()["worker"]]

    def post(self, path: str, body: dict[str, Any], key: str = KEY) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(self.url + path, json=body, headers=headers, timeout=10)

    def completion(self, prompt: Any, **wishes: Any) -> Any:
        answer = self.post("/v1/completions", {"model": "one", "prompt": prompt, **wishes})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]

    def kill(self) -> None:
        """Kill the remaining processes, each by its own id."""
        pids = self.children() if self.starts.exists() else []
        for pid in (self.process.pid, *pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


Start = Callable[..., Server]


@pytest.fixture
def serve(python: Path, tmp_path: Path) -> Iterator[Start]:
    servers: list[Server] = []

    def start(*words: str, **variables: str) -> Server:
        servers.append(Server(python, tmp_path, *words, **variables))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def server(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(python, tmp_path_factory.mktemp("server"))
    yield running.ready()
    running.kill()


def wait_for(check: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# Wheels


def test_wheels_of_the_same_source_have_the_same_bytes(tmp_path: Path) -> None:
    first, second = (wheels.build(tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        "standin_engine-1.0.0-py3-none-any.whl", "standin_engine-1.1.0-py3-none-any.whl",
        "standin_engine-2.0.0-py3-none-any.whl", "lm_eval-0.0.1-py3-none-any.whl",
        "lm_eval-0.0.2-py3-none-any.whl",
    ]  # fmt: skip
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_wheel_record_lists_every_file(links: Path) -> None:
    with zipfile.ZipFile(links / "standin_engine-2.0.0-py3-none-any.whl") as archive:
        lines = archive.read("standin_engine-2.0.0.dist-info/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in lines} == set(archive.namelist())


def test_uv_locks_the_engine_with_hashes(links: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("standin-engine==1.0.0\n")
    done = uv("pip", "compile", "--generate-hashes", "--no-index", "--find-links", links,
              "--no-header", tmp_path / "in.txt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "standin-engine==1.0.0" in done.stdout and "--hash=sha256:" in done.stdout


@pytest.mark.parametrize(
    ("version", "flag", "expected"),
    [
        ("1.0.0", "--task", True), ("1.0.0", "--runner", False),
        ("1.1.0", "--task", False), ("1.1.0", "--runner", True),
        ("1.1.0", "--hf-overrides", False), ("2.0.0", "--hf-overrides", True),
        ("1.0.0", "--max-model-len", True), ("2.0.0", "--generation-config", True),
    ],
)  # fmt: skip
def test_options_differ_between_releases(
    links: Path, tmp_path: Path, version: str, flag: str, expected: bool
) -> None:
    assert install(tmp_path / "v", links, f"standin-engine=={version}").returncode == 0
    code = (
        "import standin_engine as s; p = s.make_arg_parser(); "
        "print(s.__version__, *sorted(o for a in p._actions for o in a.option_strings))"
    )
    said = subprocess.run(
        [tmp_path / "v" / "bin" / "python", "-c", code], text=True, capture_output=True, check=True
    ).stdout.split()
    assert said[0] == version
    assert (flag in said) is expected


def test_broken_releases_fail_to_install_or_import(links: Path, tmp_path: Path) -> None:
    missing = install(tmp_path / "4", links, "standin-engine==4.0.0")
    assert missing.returncode != 0 and "standin-gone-from-the-index" in missing.stderr
    assert install(tmp_path / "3", links, "standin-engine==3.0.0").returncode == 0
    imported = subprocess.run(
        [tmp_path / "3" / "bin" / "python", "-c", "import standin_engine"],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert imported.returncode == 1 and "undefined symbol" in imported.stderr


def test_release_5_reports_another_version(links: Path, tmp_path: Path) -> None:
    assert install(tmp_path / "5", links, "standin-engine==5.0.0").returncode == 0
    running = Server(tmp_path / "5" / "bin" / "python", tmp_path)
    try:
        said = requests.get(f"{running.ready().url}/version", timeout=5).json()
    finally:
        running.kill()
    assert said == {"version": "4.9.9"}


# Server


def test_server_reports_its_version_and_model(server: Server) -> None:
    assert requests.get(f"{server.url}/version", timeout=5).json() == {"version": "1.1.0"}
    headers = {"Authorization": f"Bearer {KEY}"}
    models = requests.get(f"{server.url}/v1/models", headers=headers, timeout=5).json()["data"]
    assert [(m["id"], m["root"], m["max_model_len"]) for m in models] == [("one", "acme/one", 64)]


@pytest.mark.parametrize("key", ["", "wrong"])
def test_server_requires_the_key(server: Server, key: str) -> None:
    answer = server.post("/v1/completions", {"model": "one", "prompt": "x"}, key)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


def test_echo_returns_logprobs_of_the_prompt(server: Server) -> None:
    wish = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    choice = server.completion("hola ñ mar", **wish)
    found = choice["logprobs"]
    assert found["tokens"][:3] == ["hola", " ñ", " mar"] and len(found["tokens"]) == 4
    assert found["text_offset"] == [0, 4, 6, 10]
    assert choice["text"] == "".join(found["tokens"])
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    for token, value, top in list(
        zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True)
    )[1:]:
        assert value < 0 and top[token] == value and max(top.values()) >= value
    assert choice == server.completion("hola ñ mar", **wish)


def test_greedy_tokens_have_the_highest_logprobs(server: Server) -> None:
    text = server.completion("un cuento", temperature=0, max_tokens=6)["text"]
    found = server.completion(f"un cuento{text}", echo=True, logprobs=1, max_tokens=1)["logprobs"]
    made = slice(2, 2 + len(text.split()))
    assert made.stop > 2
    for value, top in zip(found["token_logprobs"][made], found["top_logprobs"][made], strict=True):
        assert value == max(top.values())


def test_server_accepts_several_prompts_and_token_ids(server: Server) -> None:
    body = {"model": "one", "prompt": ["a b", "c d"], "max_tokens": 2, "temperature": 0}
    answer = server.post("/v1/completions", body).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["prompt_tokens"] == 4
    ids = server.completion([1, 2, 3], echo=True, logprobs=1, max_tokens=1)["logprobs"]
    assert len(ids["token_logprobs"]) >= 3


def test_server_obeys_stop_and_answers_chat_requests(server: Server) -> None:
    whole = server.completion("un cuento", temperature=0, max_tokens=6)["text"]
    stop = whole.split()[-1]
    cut = server.completion("un cuento", temperature=0, max_tokens=6, stop=[stop])
    assert cut["text"] == whole[: whole.index(stop)] and cut["finish_reason"] == "stop"
    body = {"model": "one", "messages": [{"role": "user", "content": "hola"}], "max_tokens": 5}
    message = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]
    assert message["role"] == "assistant" and isinstance(message["content"], str)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"model": "other", "prompt": "x"}, 404, "does not exist"),
        ({"model": "one", "prompt": "x " * 70}, 400, "maximum context length is 64"),
        ({"model": "one", "prompt": "x", "logprobs": 99}, 400, "greater than max allowed"),
    ],
)
def test_server_refuses_invalid_requests(
    server: Server, body: dict[str, Any], code: int, words: str
) -> None:
    answer = server.post("/v1/completions", body)
    assert answer.status_code == code
    assert words in answer.json()["error"]["message"]


# Processes


def test_children_outlive_a_killed_server(serve: Start) -> None:
    server = serve().ready()
    core, worker = server.children()
    assert psutil.Process(worker).ppid() == core
    assert os.getsid(core) == core != os.getsid(server.process.pid)
    server.process.kill()
    server.process.wait()
    time.sleep(0.3)
    assert alive(core) and alive(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_processes(serve: Start, number: signal.Signals) -> None:
    server = serve().ready()
    server.process.send_signal(number)
    assert server.process.wait(10) == 0
    assert not any(map(alive, server.children()))


@pytest.mark.parametrize("victim", [0, 1])
def test_server_exits_when_an_engine_process_dies(serve: Start, victim: int) -> None:
    server = serve().ready()
    os.kill(server.children()[victim], signal.SIGKILL)
    assert server.process.wait(10) == 1
    assert "EngineDeadError" in server.log.read_text()


def test_stubborn_processes_ignore_sigterm(serve: Start) -> None:
    server = serve(STANDIN_FAIL="stubborn").ready()
    for pid in (server.process.pid, *server.children()):
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    assert all(map(alive, (server.process.pid, *server.children())))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("start", "AssertionError"), ("oom", "torch.OutOfMemoryError: CUDA out of memory"),
        ("gated", "gated repo"), ("arch", "are not supported for now"),
        ("disk", "[Errno 28] No space left on device"),
    ],
)  # fmt: skip
def test_a_failed_start_logs_its_cause_and_leaves_no_process(
    serve: Start, fault: str, words: str
) -> None:
    server = serve(STANDIN_FAIL=fault)
    assert server.process.wait(20) == 1
    said = server.log.read_text()
    assert words in said and "Engine core initialization failed" in said
    assert not any(map(alive, server.children()))


def test_a_context_longer_than_the_models_is_refused(serve: Start) -> None:
    server = serve("--max-model-len", "99999")
    assert server.process.wait(20) == 1
    assert "is greater than the derived max_model_len" in server.log.read_text()


def test_a_fault_affects_only_matching_models(serve: Start) -> None:
    serve(STANDIN_FAIL="start", STANDIN_FAIL_MODEL="t*").ready()


def test_a_hanging_server_is_never_ready(serve: Start) -> None:
    server = serve(STANDIN_FAIL="hang")
    wait_for(server.starts.exists)
    time.sleep(0.5)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/health", timeout=2)
    assert server.process.poll() is None


def test_server_dies_after_n_requests(serve: Start) -> None:
    server = serve(STANDIN_FAIL="die_after_2_requests").ready()
    body = {"model": "one", "prompt": "hola"}
    assert [server.post("/v1/completions", body).status_code for _ in range(2)] == [200, 200]
    with suppress(requests.ConnectionError):  # the server may exit before it answers
        assert server.post("/v1/completions", body).status_code == 500
    assert server.process.wait(10) == 1


def test_start_takes_the_requested_time_and_is_logged(serve: Start) -> None:
    before = time.monotonic()
    server = serve(STANDIN_START_SECONDS="1", CUDA_VISIBLE_DEVICES="3").ready()
    assert time.monotonic() - before >= 1
    start = server.start()
    assert (start["event"], start["model"], start["version"]) == ("start", "one", "1.1.0")
    assert start["CUDA_VISIBLE_DEVICES"] == "3" and KEY not in json.dumps(start)
    assert "Loading weights took" in server.log.read_text()


# Harness


def evaluate(
    python: Path, server: Server, output: Path, tasks: str = "alpha,beta", *words: str,
    chat: bool = False, **variables: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    path = "/v1/chat/completions" if chat else "/v1/completions"
    args = {"model": "one", "base_url": server.url + path, "num_concurrent": 4, "max_length": 64}
    return subprocess.run(
        [python, "-m", "lm_eval", "--model", f"local-{'chat-' if chat else ''}completions",
         "--model_args", json.dumps(args), f"--tasks={tasks}", "--seed=1234",
         f"--output_path={output}", "--log_samples", "--cache_requests", "true", *words],
        env={**os.environ, "OPENAI_API_KEY": KEY, **variables},
        text=True, capture_output=True, check=False,
    )  # fmt: skip


def results(output: Path) -> Any:
    (path,) = output.rglob("results_*.json")
    return json.loads(path.read_text())


def test_harness_writes_what_lm_eval_writes(python: Path, server: Server, tmp_path: Path) -> None:
    done = evaluate(python, server, tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert evaluate(python, server, tmp_path / "b").returncode == 0
    data = results(tmp_path / "a")
    assert data["results"] == results(tmp_path / "b")["results"]
    assert set(data["results"]) == {"alpha", "beta"}
    assert 0 <= data["results"]["alpha"]["acc,none"] <= 1
    assert data["lm_eval_version"] == "0.0.2"
    left = written.read_output(tmp_path / "a", Path("log"))
    assert left.samples == {"alpha": 4, "beta": 4} and left.requests == 2 * 4 * 4


def test_harness_supports_limit_and_chat_but_no_choices_over_chat(
    python: Path, server: Server, tmp_path: Path
) -> None:
    assert evaluate(python, server, tmp_path / "a", "alpha", "--limit=2").returncode == 0
    assert results(tmp_path / "a")["n-samples"] == {"alpha": {"original": 4, "effective": 2}}
    assert evaluate(python, server, tmp_path / "b", "alpha", chat=True).returncode == 0
    assert "acc,none" not in results(tmp_path / "b")["results"]["alpha"]
    refused = evaluate(python, server, tmp_path / "c", "alpha_choice", chat=True)
    assert refused.returncode == 1
    assert "Loglikelihood is not supported for chat completions" in refused.stderr


@pytest.mark.parametrize(
    ("fault", "status", "wrote"),
    [("exit", 1, False), ("kill", -signal.SIGKILL, False), ("empty", 0, False), ("nan", 0, True)],
)
def test_harness_faults_affect_only_matching_tasks(
    python: Path, server: Server, tmp_path: Path, fault: str, status: int, wrote: bool
) -> None:
    done = evaluate(python, server, tmp_path, STANDIN_HARNESS_FAIL=fault)
    assert done.returncode == status
    assert bool(list(tmp_path.rglob("results_*.json"))) is wrote
    if wrote:
        value = results(tmp_path)["results"]["alpha"]["acc,none"]
        assert value != value
    other = evaluate(python, server, tmp_path / "x", STANDIN_HARNESS_FAIL=fault,
                     STANDIN_HARNESS_FAIL_TASK="gamma")  # fmt: skip
    assert other.returncode == 0


def test_harness_takes_the_requested_time(python: Path, server: Server, tmp_path: Path) -> None:
    before = time.monotonic()
    assert evaluate(python, server, tmp_path, STANDIN_HARNESS_SECONDS="1").returncode == 0
    assert time.monotonic() - before >= 1


def test_harness_fails_without_the_key(python: Path, server: Server, tmp_path: Path) -> None:
    done = evaluate(python, server, tmp_path, OPENAI_API_KEY="wrong")
    assert done.returncode == 1 and "401" in done.stderr


# Configurations


def test_configs_of_the_build_tests_are_valid(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "build" / "configs", tmp_path / "configs")
    house = loader.load(tmp_path)
    assert [model.name for model in house.models] == ["five", "four", "one", "six", "three", "two"]
    assert {model.name: model.gpus for model in house.models if model.engine.device == "gpu"} == {
        "five": 1, "six": 2,
    }  # fmt: skip


TEMPLATES = ROOT / "configs" / "templates"


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_templates_show_every_key(path: Path) -> None:
    kind = schema.FILES[path.stem.split("-")[0]]
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    kind.model_validate(data)
    if path.stem != "model-cpu":  # refers to model-gpu for the rest
        assert set(kind.model_fields) <= set(data)


@pytest.mark.parametrize("name", ["provider", "task"])
def test_templates_show_the_defaults(name: str) -> None:
    kind = schema.FILES[name]
    data = yaml.safe_load((TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8"))
    shown, plain = kind.model_validate(data), kind.model_validate(
        {key: data[key] for key, field in kind.model_fields.items() if field.is_required()}
    )  # fmt: skip
    assert shown == plain
