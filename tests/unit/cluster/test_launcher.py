"""Tests of the commands and variables that a launcher builds from its file.

tests/slurm tests it with real Slurm.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.cluster import job_folder, launcher, multi_node
from benchy.cluster.launcher import JobLauncher
from benchy.config import launcher_schema
from benchy.core.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def slurm() -> JobLauncher:
    return launcher.load("slurm")


WORDS = [
    ({}, 2, ["--gres=gpu:2", "--cpus-per-task=8"]),
    ({"cpus_per_gpu": None}, 2, ["--gres=gpu:2"]),
    ({"gpu_option": "gpus"}, 2, ["--gpus=2", "--cpus-per-task=8"]),
    ({"gpu_type": "a100"}, 4, ["--gres=gpu:a100:4", "--cpus-per-task=16"]),
    ({"gpu_type": "a100", "gpu_option": "gpus"}, 4, ["--gpus=a100:4", "--cpus-per-task=16"]),
    ({"cpus_per_gpu": 8, "cpus": 2}, 2, ["--gres=gpu:2", "--cpus-per-task=16"]),
    ({"cpus_per_gpu": 8, "cpus": 2}, 0, ["--cpus-per-task=2"]),
    ({}, 0, []),
    ({"partition": "p", "account": "a", "qos": "q", "time": "1-0", "memory": "8G",
      "constraint": "c&d", "extra": ["--exclude=n7"]}, 0,
     ["--partition=p", "--account=a", "--qos=q", "--time=1-0", "--mem=8G", "--constraint=c&d",
      "--exclude=n7"]),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "gpus", "expected"), WORDS)
def test_srun_options_follow_the_resources(
    slurm: JobLauncher, asked: dict[str, Any], gpus: int, expected: list[str]
) -> None:
    argv = slurm.command("m@1.0", specs.server(gpus=gpus, resources=asked), ["bin/serve", "m@1.0"])
    fixed = [
        "srun", "--quiet", "--export=ALL", "--input=none", "--quit-on-interrupt", "--nodes=1",
        "--ntasks=1", "--job-name=benchy-m@1.0", f"--comment={slurm.mark}:m@1.0",
    ]  # fmt: skip
    assert argv == [*fixed, *expected, "bin/serve", "m@1.0"]


OVER = [
    ({}, ["--gres=gpu:8", "--cpus-per-task=32"]),
    (
        {"gpu_option": "gpus", "gpu_type": "h100"},
        ["--gpus-per-node=h100:8", "--cpus-per-task=32"],
    ),
    ({"cpus_per_gpu": 2}, ["--gres=gpu:8", "--cpus-per-task=16"]),
]


@pytest.mark.parametrize(("asked", "expected"), OVER)
def test_srun_options_of_a_multi_node_job(
    slurm: JobLauncher, asked: dict[str, Any], expected: list[str]
) -> None:
    spec = specs.server(gpus=16, resources=asked, nodes={"count": 2, "words": [], "follower": []})
    argv = slurm.command("m", spec, ["bin/serve", "m"])
    assert argv[5:10] == [
        "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--wait=60",
    ]  # fmt: skip
    assert argv[12:] == [*expected, "bin/serve", "m"]
    one, two = (slurm.environ("m", spec) for _ in "12")
    assert (
        one[multi_node.MEETING] != two[multi_node.MEETING]
        and one[multi_node.RANK] == "SLURM_PROCID"
    )
    assert multi_node.MEETING not in slurm.environ("m", specs.server(gpus=16, resources=asked))


def test_each_job_has_its_own_lease_directory(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slurm.environ("a", {}) == {launcher.LAUNCHED: "slurm", job_folder.LEASES: "1"}
    monkeypatch.setenv(job_folder.LEASES, "1")
    monkeypatch.setenv("BENCHY_LEASES", "before")
    with job_folder.leased("a"):
        folder = Path(os.environ["BENCHY_LEASES"])
        assert folder.is_dir() and folder.is_absolute() and job_folder.LEASES not in os.environ
    assert not folder.exists()


def test_variables_of_an_outer_slurm_job_are_removed(slurm: JobLauncher) -> None:
    given = {
        "PATH": "p", "SLURM_CONF": "c", "SLURM_ACCOUNT": "a", "SLURM_JOB_ID": "7",
        "SLURM_EXPORT_ENV": "NONE", "SLURMD_NODENAME": "n",
    }  # fmt: skip
    kept = slurm.without_job_variables(given)
    assert sorted(kept) == ["PATH", "SLURMD_NODENAME", "SLURM_ACCOUNT", "SLURM_CONF"]


def test_scratch_comes_from_node_scratch_and_not_from_scratch(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many sites set $SCRATCH to a folder that all nodes share."""
    monkeypatch.setenv("SCRATCH", "/shared")
    assert slurm.scratch({}) == ""
    monkeypatch.setenv("NODE_SCRATCH", "$TMPDIR")
    assert slurm.scratch({"resources": {"scratch": "/x"}}) == "$TMPDIR"


def test_launcher_file_can_name_another_wrapper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs/launchers"
    folder.mkdir(parents=True)
    (folder / "site.yaml").write_text(
        'command: [site-run, "--cards={{ gpus }}", "{% if time %}-t{{ time }}{% endif %}", --]\n'
    )
    site = launcher.load("site")
    spec = specs.server(gpus=2, resources={"time": "9"})
    assert site.command("m", spec, ["x"]) == ["site-run", "--cards=2", "-t9", "--", "x"]
    assert (
        site.queue.running("m") and site.queue.ask() == []
    )  # without a queue command, a job counts as running


MISTAKES = [
    ("command: [srun, '{{ nothing }}']", "'{{ nothing }}': 'nothing' is undefined"),
    ("command: [srun, '{% if %}']", "configs/launchers/site.yaml: '{% if %}'"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_invalid_template_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/launchers").mkdir(parents=True)
    (tmp_path / "configs/launchers/site.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        launcher.load("site").command("m", {}, [])
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["slrum", "../config", "a b", ""])
def test_unknown_launcher_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="there is no launcher"):
        launcher.load(name)


def test_unknown_keys_of_a_launcher_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/launchers").mkdir(parents=True)
    (tmp_path / "configs/launchers/site.yaml").write_text("command: [a]\nretry: 3\n")
    with pytest.raises(ConfigError, match=r"site.yaml:2: retry: unknown key"):
        launcher.load("site")


@pytest.mark.parametrize("value", ["a b", "a\nb", "", " "])
def test_resource_must_be_one_word(value: str) -> None:
    with pytest.raises(ValueError, match="partition"):
        launcher_schema.Resources(partition=value)
