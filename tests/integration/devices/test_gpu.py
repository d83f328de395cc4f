"""Tests of GPUs, with a fake nvidia-smi that prints rows in the real form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core.errors import Failure, UsageError
from benchy.core.specs import ServerSpec
from benchy.devices import allocation, gpu, leases, waiting_line
from benchy.maintenance import doctor
from benchy.run import machine

SMI = """#!/bin/sh
case $1 in
  --query-gpu=*) cat <<'ROWS'
0, GPU-aaaa1111, 24564, 12, 550.54.15, NVIDIA GeForce RTX 4090
1, GPU-bbbb2222, 24564, 9312, 550.54.15, NVIDIA GeForce RTX 4090
2, GPU-cccc3333, [N/A], [N/A], 580.65.06, NVIDIA GB10
3, GPU-dddd4444, 143771, 5000, 580.65.06, NVIDIA H200
ROWS
  ;;
  --query-compute-apps=*) cat <<'ROWS'
GPU-aaaa1111, 77, 4, /usr/bin/gnome-shell
GPU-bbbb2222, 4242, 9300, /home/x/bin/python3
ROWS
  ;;
esac
"""


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[gpu.Gpu]:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return gpu.gpus()


def test_gpus_are_read_from_nvidia_smi(cards: list[gpu.Gpu]) -> None:
    assert cards[0] == gpu.Gpu(0, "GPU-aaaa1111", "NVIDIA GeForce RTX 4090", 24564, 12, "550.54.15")
    assert [card.total for card in cards] == [24564, 24564, 0, 143771]


def on_gpus(**changes: Any) -> ServerSpec:
    return specs.server(**{"model": "m", "device": "gpu", "gpus": 2} | changes)


def broken_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "PATIENCE", 0.2)
    monkeypatch.setenv("BENCHY_LEASES", str(folder / "leases"))


def test_machine_without_nvidia_smi_or_driver_has_no_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.gpus() == []
    assert gpu.fits(on_gpus()) == "needs 2 GPUs, this machine has none"
    broken_smi(tmp_path, monkeypatch, "echo 'the driver is not loaded'; exit 9")
    assert gpu.gpus() == []
    assert gpu.fits(on_gpus()) == (
        "needs 2 GPUs, this machine has none that it can use: "
        "nvidia-smi failed: the driver is not loaded"
    )


BROKEN = [
    ("exec sleep 100", "nvidia-smi does not answer within 0.2 s"),
    ("echo 'GPU is lost' >&2; exit 15", "nvidia-smi failed: GPU is lost"),
    ("exit 15", "nvidia-smi failed: status 15"),
]


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_broken_driver_is_not_taken_for_a_machine_without_gpus(
    cards: list[gpu.Gpu],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    text: str,
    expected: str,
) -> None:
    broken_smi(tmp_path, monkeypatch, text)
    for query in (gpu.gpus, lambda: gpu.slices(cards), lambda: gpu.strangers(cards)):
        with pytest.raises(Failure) as failure:
            query()
        assert failure.value.what == expected
    assert gpu.fits(on_gpus()) == f"needs 2 GPUs, {expected}"
    assert [f.what for f in doctor.cards() if f.state == doctor.ERROR] == [expected]
    specs_of = {"big": on_gpus(), "small": specs.server()}
    monkeypatch.setattr(machine, "read_server", specs_of.__getitem__)
    assert machine.refuse_unfit(list(specs_of)) == ["small"]
    assert expected in capfd.readouterr().err
    assert machine.devices() == machine.Devices(0, "GPU")
    # A model on the CPU runs: no program outside benchy holds a CPU slot.
    waiting_line.acquire(
        allocation.desk(), allocation.need(specs.server()).want, print, lambda: None
    ).release()


def test_strangers_returns_foreign_programs_on_cards(cards: list[gpu.Gpu]) -> None:
    assert gpu.strangers(cards) == {
        "GPU-bbbb2222": "python3 (pid 4242, 9300 MiB)",
        "GPU-dddd4444": "a process that is not visible here (5000 MiB)",
    }


VISIBLE = [
    (None, [0, 1, 2, 3]),
    ("2,0", [2, 0]),
    ("GPU-bbbb,3", [1, 3]),
    ("", []),
    ("0,-1,2", [0]),
    ("0,9,1", [0]),
    (" 1 , 1", [1]),
]


@pytest.mark.parametrize(("given", "left"), VISIBLE)
def test_cuda_visible_devices_selects_cards(
    cards: list[gpu.Gpu], given: str | None, left: list[int]
) -> None:
    env = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert [card.index for card in gpu.visible(cards, env)] == left


FITS = [
    ({"device": "cpu", "gpus": 0}, {}, None),
    ({"device": "gpu", "gpus": 4}, {}, None),
    ({"device": "gpu", "gpus": 5}, {}, "needs 5 GPUs, this machine has only 4"),
    ({"gpus": 2}, {"CUDA_VISIBLE_DEVICES": "1"},
     "needs 2 GPUs, CUDA_VISIBLE_DEVICES=1 leaves 1 GPU"),
    ({"gpus": 1, "cuda_devices": ["9"]}, {}, "is pinned to GPU 9, this machine has 0 to 3"),
    ({"gpus": 1, "cuda_devices": ["3"]}, {"CUDA_VISIBLE_DEVICES": "0,1"},
     "is pinned to GPU 3, CUDA_VISIBLE_DEVICES=0,1 leaves 0, 1"),
    ({"gpus": 2, "cuda_devices": ["1"]}, {}, "needs 2 GPUs, its cuda_devices name 1"),
    ({"gpus": 1, "cuda_devices": ["GPU-cccc"]}, {}, None),
    ({"gpus": 1, "cuda_devices": ["GPU-9999"]}, {},
     "is pinned to GPU-9999, which matches no GPUs of this machine (nvidia-smi -L)"),
    ({"gpus": 2, "cuda_devices": [0, "GPU-aaaa"]}, {},
     "names a GPU twice in cuda_devices: 0, GPU-aaaa"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "env", "reason"), FITS)
def test_fits_returns_why_a_model_cannot_run(
    cards: list[gpu.Gpu], spec: dict[str, Any], env: dict[str, str], reason: str | None
) -> None:
    assert gpu.fits(on_gpus(**spec), cards, env) == reason


def test_pool_returns_pinned_cards_in_their_order(cards: list[gpu.Gpu]) -> None:
    spec = on_gpus(cuda_devices=["3", "GPU-aaaa"])
    assert [card.index for card in gpu.pool(spec, cards, {})] == [3, 0]
    with pytest.raises(Failure, match="m needs 9 GPUs"):
        gpu.pool(on_gpus(gpus=9), cards, {})


def test_busy_policy_reads_gpu_busy() -> None:
    assert gpu.busy_policy({}) == "wait" and gpu.busy_policy({"GPU_BUSY": "skip"}) == "skip"
    with pytest.raises(UsageError, match="GPU_BUSY=maybe"):
        gpu.busy_policy({"GPU_BUSY": "maybe"})


MIG = """#!/bin/sh
if [ "$1" = -L ]; then cat <<'ROWS'
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa1111)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111-aa)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222-bb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb2222)
ROWS
fi
"""


def test_mig_slices_are_selected_and_pinned_like_cards(
    cards: list[gpu.Gpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(MIG)
    env = {"CUDA_VISIBLE_DEVICES": "MIG-2222-bb,MIG-1111-aa,GPU-bbbb"}
    seen = gpu.visible(cards, env)
    assert [card.cuda for card in seen] == ["MIG-2222-bb", "MIG-1111-aa", "1"]
    assert [card.index for card in seen] == [0, 0, 1]
    assert gpu.visible(cards, {"CUDA_VISIBLE_DEVICES": "MIG-9999"}) == []
    assert gpu.fits(on_gpus(gpus=1), cards, env) is None
    pinned = on_gpus(gpus=1, cuda_devices=["MIG-2222"])
    assert [card.cuda for card in gpu.pool(pinned, cards, {})] == ["MIG-2222-bb"]
    assert [card.cuda for card in gpu.pool(pinned, cards, env)] == ["MIG-2222-bb"]
    both = on_gpus(gpus=1, cuda_devices=[1, "MIG-2222"])
    assert [card.cuda for card in gpu.pool(both, cards, {})] == ["1", "MIG-2222-bb"]
    gone = {"CUDA_VISIBLE_DEVICES": "1"}
    why = "is pinned to MIG-2222, CUDA_VISIBLE_DEVICES=1 leaves 1"
    assert gpu.fits(pinned, cards, gone) == why
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1111-aa")
    need = allocation.need(on_gpus(gpus=1), cards)
    assert need.names == {"gpu-MIG-1111-aa": "MIG-1111-aa"}


def test_gpu_that_another_make_has_leased_is_not_foreign(
    cards: list[gpu.Gpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With GPU_BUSY=skip, benchy still waits for a GPU that the user's other `make` has leased."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("GPU_BUSY", "skip")
    held = waiting_line.acquire(
        allocation.desk(), leases.LeaseRequest(1, ("gpu-GPU-bbbb2222",)), print, lambda: None
    )
    spec = on_gpus(gpus=3)
    assert list(allocation.need(spec, cards).names.values()) == ["0", "1", "2"]
    with pytest.raises(Failure, match="m needs 4 GPUs; with GPU_BUSY=skip, other programs leave 3"):
        allocation.need(on_gpus(gpus=4), cards)
    held.release()


def test_need_lists_the_devices_that_a_server_may_use(
    cards: list[gpu.Gpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path / "leases"))
    need = allocation.need(on_gpus(cuda_devices=[3, 0]), cards)
    assert (need.want.count, list(need.names.values())) == (2, ["3", "0"])
    spec = on_gpus()
    assert list(allocation.need(spec, cards).names.values()) == ["0", "1", "2", "3"]
    monkeypatch.setenv("GPU_BUSY", "skip")  # 1 and 3 are busy
    assert list(allocation.need(spec, cards).names.values()) == ["0", "2"]
    with pytest.raises(Failure, match=r"m needs 3 GPUs; with GPU_BUSY=skip.*pid 4242"):
        allocation.need(on_gpus(gpus=3), cards)
    for given in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        with pytest.raises(Failure, match="leaves no GPUs"):
            allocation.need(spec, cards)
    monkeypatch.setenv("CPU_SLOTS", "2")
    assert allocation.need(specs.server()).want.pool == ("cpu-0", "cpu-1")
    monkeypatch.setenv("CPU_SLOTS", "many")
    with pytest.raises(UsageError, match="CPU_SLOTS=many"):
        allocation.need(specs.server())
