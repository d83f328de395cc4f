"""Tests of which of the caller's variables reach uv, engines, the harness and benchy itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchy.core.errors import UsageError
from benchy.environments import pip_settings, private_indexes, resolver, uv, uv_settings
from benchy.process import environment_variables
from index import wheel

ROOT = Path(__file__).resolve().parents[3]
GROUPS = ("UV_HONOURED", "UV_IDENTITY", "UV_FILES", "UV_CHANGES", "UV_FOREIGN")


# --- uv's variables


def test_each_uv_variable_is_in_one_group() -> None:
    seen: dict[str, str] = {}
    for group in GROUPS:
        for name in getattr(environment_variables, group):
            assert name not in seen, f"{name}: {seen.get(name)} and {group}"
            seen[name] = group
    assert len(seen) > 150


def test_every_variable_in_uv_help_is_in_the_table() -> None:
    """Variables of a newer uv are withheld until they are added to the table."""
    known = {name for group in GROUPS for name in getattr(environment_variables, group)}
    for command in ("pip compile", "pip sync", "pip install", "venv", "export", "python install"):
        done = subprocess.run(
            [uv.find(), "help", *command.split()], capture_output=True, text=True, check=True
        )
        told = set(re.findall(r"\bUV_[A-Z0-9_]+(?==)", done.stdout))
        assert told, command
        assert not told - known, (
            f"uv {command} reads variables that lib/benchy/process/environment_variables.py lacks"
        )


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        ("UV_DEFAULT_INDEX", True), ("UV_INDEX_CORP_PASSWORD", True), ("UV_CACHE_DIR", True),
        ("UV_EXCLUDE_NEWER", True), ("SSL_CERT_FILE", True), ("HTTPS_PROXY", True),
        ("NETRC", True), ("PATH", True), ("PYTHON", True),
        ("UV_CONSTRAINT", False), ("UV_NO_VERIFY_HASHES", False), ("UV_PROJECT", False),
        ("UV_OF_A_NEWER_UV", False), ("UV_INDEX_CORP", False), ("UV", False),
        ("PYTHONPATH", False), ("PYTHONHOME", False), ("VIRTUAL_ENV", False),
        ("CONDA_PREFIX", False), ("__PYVENV_LAUNCHER__", False),
    ],
)  # fmt: skip
def test_reaches_uv_filters_variables(name: str, reaches: bool) -> None:
    assert environment_variables.reaches_uv(name) is reaches


# --- uv.toml files, read by benchy and by uv itself


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels for three packages, and empty configuration and cache directories."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version, needs in (
        ("app", "1.0", ["dep"]), ("dep", "1.0", []), ("dep", "2.0", []), ("dep", "3.0rc1", []),
        ("sub", "1.0", []),
    ):  # fmt: skip
        file = wheels / f"{name}-{version}-py3-none-any.whl"
        file.write_bytes(wheel(name, version, ">=3.8", needs))
    (tmp_path / "config/uv").mkdir(parents=True)
    (tmp_path / "c.txt").write_text("dep<2\n")
    (tmp_path / "nothing.txt").write_text("dep\n")
    return tmp_path


def compiled(machine: Path) -> str:
    """Return what uv resolves for `app`, run as benchy runs it."""
    words = ["compile", "-", "--no-header", "--no-annotate", "--python", sys.executable]
    done = uv.run(uv.pip(words), machine / "log", stdin="app\n")
    assert done.status == 0, done.stderr
    return " ".join(done.stdout.split())


NONESUCH = "/nonesuch/file"
ATTACKS = [
    {"UV_CONSTRAINT": "{here}/c.txt"}, {"UV_OVERRIDE": "{here}/c.txt"},
    {"UV_EXCLUDE": "{here}/nothing.txt"}, {"UV_RESOLUTION": "lowest"}, {"UV_PRERELEASE": "allow"},
    {"UV_BUILD_CONSTRAINT": NONESUCH}, {"UV_CONSTRAINT": NONESUCH}, {"UV_NO_BINARY": "1"},
    {"UV_PROJECT": NONESUCH}, {"UV_WORKING_DIR": NONESUCH}, {"UV_PYTHON": NONESUCH},
    {"UV_NO_CONFIG": "1"}, {"UV_ISOLATED": "nonsense"}, {"UV_PREVIEW_FEATURES": "nonsense"},
    {"PYTHONHOME": NONESUCH}, {"VIRTUAL_ENV": NONESUCH}, {"CONDA_PREFIX": NONESUCH},
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: " ".join(each))
def test_no_variable_changes_what_is_resolved(
    machine: Path, monkeypatch: pytest.MonkeyPatch, attack: dict[str, str]
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(machine / "wheels"))
    for name, value in attack.items():
        monkeypatch.setenv(name, value.format(here=machine))
    assert compiled(machine) == "app==1.0 dep==2.0"


FILES = [
    'constraint-dependencies = ["dep<2"]', 'override-dependencies = ["dep==1.0"]',
    'exclude-dependencies = ["dep"]', 'resolution = "lowest"', 'prerelease = "allow"',
    "no-binary = true", 'no-binary-package = ["dep"]', '[pip]\nresolution = "lowest"',
    "[pip]\nno-deps = true", '[pip]\nno-emit-package = ["dep"]',
    '[pip]\noutput-file = "{here}/out"', 'required-version = "==0.1"', "bogus = 1",
    '[[dependency-metadata]]\nname = "app"\nrequires-dist = ["sub"]',
]  # fmt: skip


@pytest.mark.parametrize("where", ["config/uv/uv.toml", "etc/uv/uv.toml", "named.toml"])
def test_uv_toml_contributes_find_links_but_does_not_change_resolution(
    machine: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    file = machine / where
    file.parent.mkdir(parents=True, exist_ok=True)
    if where == "named.toml":
        monkeypatch.setenv("UV_CONFIG_FILE", str(file))
    for text in FILES if where.startswith("config") else FILES[:2]:
        links = f'find-links = ["{machine}/wheels"]\n'
        file.write_text(links + text.format(here=machine) + "\n")
        assert compiled(machine) == "app==1.0 dep==2.0", text
    assert not (machine / "out").exists()


def test_uv_settings_of_a_parent_folder_are_ignored(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(machine / "wheels"))
    (machine / "below").mkdir()
    monkeypatch.chdir(machine / "below")
    for name, text in (
        ("uv.toml", 'constraint-dependencies = ["dep<2"]\n'),
        ("pyproject.toml", '[tool.uv]\nconstraint-dependencies = ["dep<2"]\n'),
    ):
        (machine / name).write_text(text)
        assert compiled(machine) == "app==1.0 dep==2.0"


def test_uv_toml_files_are_merged_as_uv_merges_them(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, system = machine / "config/uv/uv.toml", machine / "etc/uv/uv.toml"
    system.parent.mkdir(parents=True)
    user.write_text(
        'cache-dir = "kept"\nexclude-newer = "2026-01-01"\n[pip]\nfind-links = ["mine"]\n'
        '[[index]]\nname = "a"\nurl = "https://a/simple"\nexclude-newer = false\n'
    )
    system.write_text(
        'cache-dir = "/other"\nfind-links = ["/theirs"]\nprerelease = "allow"\n'
        '[[index]]\nurl = "https://b/simple"\ndefault = true\n'
    )
    said = uv_settings.settings(os.environ)
    assert said["cache-dir"] == str(machine / "config/uv/kept")
    assert said["find-links"] == [str(machine / "config/uv/mine"), "/theirs"]
    assert said["index"] == [
        {"name": "a", "url": "https://a/simple"},
        {"url": "https://b/simple", "default": True},
    ]
    assert uv_settings.excluded_from_locks(os.environ) == [f"prerelease ({system})"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip/simple")
    monkeypatch.delenv("PIP_NO_INDEX")
    given = uv_settings.variables(os.environ)
    assert "UV_DEFAULT_INDEX" not in given, "uv's own word comes before pip's"
    assert given["UV_EXCLUDE_NEWER"] == "2026-01-01"
    assert given["UV_FIND_LINKS"] == f"{machine}/config/uv/mine,/theirs"
    monkeypatch.setenv("UV_NO_SYSTEM_CONFIG", "1")
    assert uv_settings.settings(os.environ)["find-links"] == [str(machine / "config/uv/mine")]
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    assert uv_settings.settings(os.environ) == {}
    assert uv_settings.variables(os.environ)["UV_DEFAULT_INDEX"] == "https://pip/simple"


def test_generated_uv_toml_is_private_and_deleted_afterwards(machine: Path) -> None:
    (machine / "config/uv/uv.toml").write_text('[[index]]\nurl = "https://u:secret@a/simple"\n')
    with private_indexes.project((), dict(os.environ)) as (_, settled):
        file = Path(settled["UV_CONFIG_FILE"])
        assert file.stat().st_mode & 0o077 == 0
        assert "u:secret@a" in file.read_text()
    assert not file.exists()


@pytest.mark.parametrize("text", ["x = [", "no equals", '[[index]\nurl = "x"', "\xff\xfe"])
def test_unreadable_uv_toml_is_named_in_the_error(machine: Path, text: str) -> None:
    (machine / "config/uv/uv.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"uv\.toml"):
        uv_settings.settings(os.environ)


def test_missing_uv_config_file_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CONFIG_FILE", NONESUCH)
    with pytest.raises(UsageError, match="No such file"):
        uv.variables()


SIMPLE = [
    'index-url = "https://a/simple"  # ours\n', "# nothing\n\n", 'offline = true\n[pip]\nx = 3\n',
    'find-links = [\n  "/a",  # one\n  "/b#c",\n]\nno-index = false\n',
    '[[index]]\nname = "a"\nurl = "https://a"\n[[index]]\nurl = "https://b"\ndefault = true\n',
]  # fmt: skip


@pytest.mark.parametrize("text", SIMPLE)
def test_simple_toml_reader_agrees_with_tomllib(text: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    assert uv_settings.simple(text) == tomllib.loads(text)


@pytest.mark.parametrize("text", ["a = 2026-01-01", "a = 'x'", "a = [\n1", "a", '[a]\nb = """c"""'])
def test_simple_toml_reader_rejects_other_toml_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"line [12]: "):
        uv_settings.simple(text)


# --- the machine's cutoff is part of a lock


@pytest.mark.parametrize(
    ("said", "machine", "same"),
    [
        ({"cutoff": "2025-01-01T00:00:00Z"}, "", True),
        ({"cutoff": "2025-01-01T00:00:00Z"}, "2026-01-01", True),
        ({"cutoff": "2025-01-01T00:00:00Z"}, "2024-01-01", False),
        ({"cutoff": None}, "2024-01-01", False),
        ({"cutoff": None, "machine_cutoff": "2024-01-01"}, "2024-01-01", True),
        ({"cutoff": None, "machine_cutoff": "2024-01-01"}, "2024-02-01", False),
        ({"cutoff": None, "machine_cutoff": "2024-01-01"}, "", False),
        ({"cutoff": "2025-01-01T00:00:00Z", "machine_cutoff": "7 days"}, "7 days", True),
    ],
)
def test_lock_is_reused_only_under_the_same_effective_cutoff(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], machine: str, same: bool
) -> None:
    monkeypatch.setenv("UV_EXCLUDE_NEWER", machine)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setattr(pip_settings, "pip_settings", lambda *rest: {})
    assert resolver._same_machine(said) is same


# --- engines, the harness


@pytest.mark.parametrize(
    ("name", "engine", "harness"),
    [
        ("PATH", True, True), ("LD_LIBRARY_PATH", True, True), ("HF_HOME", True, True),
        ("CUDA_HOME", True, True), ("OMP_NUM_THREADS", True, True),
        ("HF_ALLOW_CODE_EVAL", True, True),
        ("VLLM_LOGGING_LEVEL", True, False), ("VLLM_CACHE_ROOT", True, False),
        ("VLLM_RPC_TIMEOUT", True, False), ("VLLM_CPU_OMP_THREADS_BIND", True, False),
        ("VLLM_ATTENTION_BACKEND", True, False), ("VLLM_USE_MODELSCOPE", True, False),
        ("VLLM_PLUGINS", True, False), ("VLLM_USE_V1", True, False),
        ("VLLM_BATCH_INVARIANT", True, False), ("VLLM_MODEL_REDIRECT_PATH", True, False),
        ("VLLM_OF_A_NEWER_RELEASE", True, False), ("VLLM_API_KEY", False, False),
        ("PYTHONPATH", False, False), ("PYTHONOPTIMIZE", False, False),
        ("PYTHONHASHSEED", False, False), ("PYTHONUSERBASE", False, False),
        ("VIRTUAL_ENV", False, False), ("BENCHY_KEY", False, False), ("MAKEFLAGS", False, False),
        ("OPENAI_API_KEY", True, False), ("HF_DATASETS_TRUST_REMOTE_CODE", True, False),
        ("LM_HARNESS_CACHE_PATH", True, False),
    ],
)  # fmt: skip
def test_engine_and_harness_get_only_their_variables(
    name: str, engine: bool, harness: bool
) -> None:
    assert (name in environment_variables.for_engine({name: "x"})) is engine
    assert (name in environment_variables.for_harness({name: "x"})) is harness


def test_variables_that_can_change_an_answer_are_noted() -> None:
    environ = dict.fromkeys(("VLLM_USE_V1", "VLLM_API_KEY", "VLLM_LOGGING_LEVEL", "PATH"), "1")
    assert list(environment_variables.unplanned(environ)) == ["VLLM_USE_V1"]
    assert not environment_variables.noted("PATH")
    assert environment_variables.noted("LD_PRELOAD") and environment_variables.noted(
        "CUBLAS_WORKSPACE_CONFIG"
    )


# --- benchy's own Python


HOSTILE = [
    {"PYTHONSAFEPATH": "1"}, {"PYTHONINSPECT": "1"}, {"PYTHONHOME": NONESUCH},
    {"PYTHONPATH": "{here}/evil"}, {"PYTHONHASHSEED": "x"}, {"PYTHONUTF8": "x"},
    {"PYTHONMALLOC": "x"}, {"PYTHONPLATLIBDIR": "x"}, {"PYTHONTRACEMALLOC": "x"},
    {"PYTHONVERBOSE": "1"}, {"PYTHONWARNINGS": "error"}, {"PYTHONEXECUTABLE": NONESUCH},
    {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"},
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda each: " ".join(each))
def test_no_python_variable_reaches_benchy(tmp_path: Path, hostile: dict[str, str]) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/yaml.py").write_text("raise SystemExit('evil')\n")
    given = {name: value.format(here=tmp_path) for name, value in hostile.items()}
    environ = {**os.environ, **given, "BENCHY_GIVEN": "MODELL", "BENCHY_GOALS": "results"}
    done = subprocess.run(
        [ROOT / "bin/knobs"], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: MODELL: there is no such knob")
    assert len(done.stderr.splitlines()) == 2, done.stderr
    script = "import sys; sys.exit(0)"
    words = [sys.executable, "-I", "-c", script]
    assert subprocess.run(words, env=environ).returncode == 0


def test_engine_python_has_no_user_site(tmp_path: Path) -> None:
    """Otherwise an engine would import packages from `pip install --user`."""
    code = "import json, site, sys; print(json.dumps([site.ENABLE_USER_SITE, sys.flags.optimize]))"
    done = uv.run(["venv", "--no-project", str(tmp_path / "env")], tmp_path / "log")
    assert done.status == 0, done.stderr
    environ = environment_variables.for_engine(
        {**os.environ, "PYTHONUSERBASE": "/x", "PYTHONOPTIMIZE": "2"}
    )
    asked = subprocess.run(
        [tmp_path / "env/bin/python", "-c", code], env=environ, capture_output=True, check=True
    )
    assert json.loads(asked.stdout) == [False, 0]


def test_launch_script_unsets_pythonexecutable() -> None:
    """PYTHONEXECUTABLE changes sys.executable even under -I."""
    begins = (ROOT / "lib/launch").read_text().partition("\nhere=")[0]
    script = f"{begins}\n{sys.executable} -I -c 'import sys; print(sys.executable)'"
    environ = {**os.environ, "PYTHONEXECUTABLE": NONESUCH}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True)
    assert done.stdout.strip() == sys.executable
