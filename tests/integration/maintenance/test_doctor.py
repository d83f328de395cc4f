"""The findings of doctor, each on a simulated machine."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import specs
from benchy.cli import doctor as doctor_command
from benchy.core import paths
from benchy.devices import allocation, leases, waiting_line
from benchy.environments import index_check, inventory, usage_locks
from benchy.hub import access, tokens
from benchy.maintenance import doctor
from benchy.maintenance.doctor import ERROR, OK, WARNING, Finding
from benchy.process import logged_program
from hubstandin import Hub

SMI = """#!/bin/sh
case $1 in
  --query-gpu=*)
    echo '0, GPU-aaaa1111, 24564, 12, 550.54.15, NVIDIA GeForce RTX 4090'
    echo '1, GPU-bbbb2222, 24564, 9312, 550.54.15, NVIDIA GeForce RTX 4090' ;;
  --query-compute-apps=*) echo 'GPU-bbbb2222, 4242, 9300, /home/x/bin/python3' ;;
  *) echo '| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4     |' ;;
esac
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path / "leases"))
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name == "OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


def put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def cards(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "bin/nvidia-smi", SMI, 0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")


def needs(env: str, cuda: str) -> None:
    models = {"m": specs.model(asked=env, environment=env, harnesses=[])}
    put(paths.BUILD / "plan.json", json.dumps(specs.plan(models=models)))
    put(paths.lock(env), f"nvidia-cuda-runtime-cu12=={cuda} \\\n    --hash=sha256:00\n")


def test_gpus_are_listed_with_memory_driver_and_processes(cards: None) -> None:
    found = list(doctor.cards())
    assert found[0].what.endswith("RTX 4090: 12/24564 MiB used, driver 550.54.15, free")
    assert found[1].state == WARNING and "python3 (pid 4242, 9300 MiB)" in found[1].what


CUDA = [
    ("12.4.127", OK, "the driver supports CUDA 12.4 for vllm_x"),
    (
        "12.8.90",
        OK,
        "the driver supports CUDA 12.8 for vllm_x (by CUDA's minor version compatibility)",
    ),
    ("13.0.88", ERROR, "the driver supports CUDA 12.4, not CUDA 13.0 for vllm_x"),
]


@pytest.mark.parametrize(("version", "state", "what"), CUDA)
def test_driver_is_checked_against_the_cuda_of_environments(
    cards: None, version: str, state: str, what: str
) -> None:
    needs("vllm_x", version)
    (found,) = doctor.cuda()
    assert (found.state, found.what) == (state, what)


def test_hard_links_to_the_cache_are_tested(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.links(here / "cache" / "not there yet").state == OK
    assert sorted(p.name for p in here.iterdir()) == []

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert doctor.links(here / "cache").state == WARNING


@pytest.mark.parametrize("device", ["cpu-0", "port-8000"])
def test_leases_are_listed_with_their_holders(here: Path, device: str) -> None:
    assert not list(doctor.held_devices())
    desk = leases.LeaseDirectory(leases.directory())
    want = leases.LeaseRequest(1, (device,), {"model": "m", "pid": os.getpid(), "root": str(here)})
    held = waiting_line.acquire(desk, want, print, lambda: None)
    (found,) = doctor.held_devices()
    assert f"{device} is leased to m (pid {os.getpid()}, {here}) since" in found.what
    held.release()
    assert not list(doctor.held_devices())


def test_broken_and_unused_environments_are_found(here: Path) -> None:
    needs("vllm_x", "12.8.90")
    for env in ("vllm_x", "vllm_y"):
        put(paths.stamp(env), json.dumps({"lock": "1"}))
        put(paths.env_dir(env) / "bin/python", "#!/bin/sh\n", 0o755)
    (paths.env_dir("vllm_x") / "bin/python").unlink()
    put(here / "venvs/.building/vllm_x-999999999/x", "")
    put(here / "venvs/.building/vllm_y-1.old/x", "")
    with usage_locks.held("vllm_y"):  # its builder is alive
        found = {f.what.split()[0]: f for f in doctor.environments()}
    assert found["vllm_x"].state == WARNING and "is broken: its Python" in found["vllm_x"].what
    assert found["no"].what == "no config needs vllm_y"
    assert "1 unfinished builds" in found["1"].what


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub({"org/open": {"config.json": b"{}"}, "org/gated": {"config.json": b"{}"},
                "org/bare": {"model.gguf": b""}})  # fmt: skip
    made.gated["org/gated"] = "hf_good"
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.shutdown()
    made.server_close()


def test_access_reports_which_models_the_token_can_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["org/open", "org/gated", "org/bare", "org/none"]
    assert [(a.readable, a.gated) for a in access.access(names)] == [
        (True, False), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert [a.readable for a in access.access(names)] == [True, True, True, False]


def test_unreachable_hub_is_requested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert [a.status for a in access.access(["a/b"] * 50)] == [None]


def test_token_reports_its_source(here: Path) -> None:
    assert tokens.token({"HF_TOKEN": "t"}) == ("t", "HF_TOKEN")
    home = {"HF_HOME": str(here)}
    assert tokens.token(home) == ("", "")
    put(here / "token", "u\n")
    assert tokens.token(home) == ("u", str(here / "token"))


def test_index_reports_whether_it_has_upload_times(monkeypatch: pytest.MonkeyPatch) -> None:
    package = '[[packages]]\nname = "packaging"\nversion = "25.0"\n'
    dated = package + "wheels = [{ upload-time = 2025-04-19T11:48:57Z }]\n"
    said = {"all": logged_program.Done(0, package), "dated": logged_program.Done(0, dated)}

    def only(*kinds: str) -> None:
        def ask(self: object, requirement: str, *more: str) -> logged_program.Done:
            kind = "dated" if "--exclude-newer" in more else "all"
            return said[kind] if kind in kinds else logged_program.Done(1, "", ["error: dns error"])

        monkeypatch.setattr("benchy.environments.release_date.IndexQuery.__call__", ask)

    only("dated", "all")
    assert index_check.index() == index_check.Index("25.0", True)
    only("all")
    assert index_check.index() == index_check.Index("25.0", False)
    only()
    assert index_check.index() == index_check.Index("", False, "the network cannot be reached")


def test_json_output_and_exit_status_without_the_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PARTS", (doctor.programs, lambda: [Finding("x", ERROR, "bad")]))
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    assert doctor_command.main(["--format", "json"]) == 1
    out = capsys.readouterr().out
    assert "hf_planted" not in out
    assert {"about": "x", "state": "error", "what": "bad", "mend": ""} in json.loads(out)
    monkeypatch.setattr(doctor, "PARTS", (doctor.programs,))
    assert doctor_command.main([]) == 0 and "OK       Python 3" in capsys.readouterr().out


def test_slurm_partitions_and_failures_are_reported(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here / "bin/sinfo", "#!/bin/sh\necho 'gpu*|up|2|gpu:4|idle'\n", 0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    assert [f.what for f in doctor.slurm()] == ["Slurm gpu*: 2 nodes idle, up, gres gpu:4"]
    put(here / "bin/sinfo", "#!/bin/sh\nexit 1\n", 0o755)
    assert [f.state for f in doctor.slurm()] == [WARNING]
    monkeypatch.setenv("LAUNCHER", "slurm")
    assert [f.state for f in doctor.slurm()] == [ERROR]
    monkeypatch.setenv("PATH", str(here))
    (missing,) = doctor.slurm()
    assert missing.state == ERROR and "sinfo is missing" in missing.what


def test_login_node_needs_no_gpu(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER", "slurm")
    (none,) = doctor.cards()
    assert none.what == "no GPU here: the launcher slurm runs the servers"


def test_without_a_plan_no_environment_is_checked() -> None:
    assert inventory.users() == {} and not list(doctor.cuda())


def test_servers_of_benchy_are_not_foreign_programs(cards: None) -> None:
    held = allocation.desk().at_once(leases.LeaseRequest(1, ("gpu-GPU-bbbb2222",)))
    assert held
    assert [f.state for f in doctor.cards() if f.what.startswith("GPU 1")] == [OK]
    assert [f.what[-6:] for f in doctor.cards() if f.what.startswith("GPU ")] == [
        ", free",
        "leased",
    ]
    held.release()


def test_colors_depend_on_the_stream_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `make doctor > file`, stderr is a terminal and stdout is not."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    file, terminal = io.StringIO(), io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdout", file)
    monkeypatch.setattr(doctor, "PARTS", (lambda: [Finding("x", WARNING, "what")],))
    doctor_command.main([])
    assert file.getvalue() == "warning  what\n"
    monkeypatch.setattr("sys.stdout", terminal)
    doctor_command.main([])
    assert "\033[33m" in terminal.getvalue()
