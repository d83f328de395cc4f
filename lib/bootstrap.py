"""Install uv and .venv on a machine that has only Python and a package index.

It uses only the standard library, because it runs before anything is installed. `bootstrap.py
[GROUP]` adds a dependency group of pyproject.toml (`dev`).

It installs the packages of uv.lock, by hash, from the index that this machine's pip settings name.
`uv sync` would use the addresses in the lock, which a machine behind a mirror cannot reach.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I excludes the script's directory

from benchy.cli import entry as entry_command
from benchy.core.errors import Failure
from benchy.environments import link_mode, pip_settings, private_indexes, uv_settings

ROOT = Path(__file__).resolve().parent.parent
UV_MINIMUM = (0, 9)  # as in pyproject.toml: [tool.uv] required-version
UV_REQUIREMENT = "uv>=0.9"


def uv_version(uv: str) -> tuple[int, ...] | None:
    """Return the version of a uv executable, e.g. (0, 13, 9); None if it does not run."""
    try:
        out = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = out.stdout.split()
    if out.returncode or len(words) < 2:
        return None
    return tuple(int(part) for part in words[1].split(".") if part.isdigit())


def find_uv() -> str | None:
    own = ROOT / ".uv" / "bin" / "uv"
    for uv in (os.environ.get("UV"), str(own), shutil.which("uv")):
        if uv and (uv_version(uv) or (0,)) >= UV_MINIMUM:
            return uv
    return None


def install_uv() -> str:
    """Install uv into .uv/ and return its path.

    Use this Python's pip, or download from the index if there is no pip. Raise Failure if neither
    works.
    """
    print("  UV      installing uv into .uv", file=sys.stderr, flush=True)
    aside = ROOT / ".uv.new"
    shutil.rmtree(aside, ignore_errors=True)
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    sources = pip_settings.pip_variables(os.environ)
    probe = subprocess.run([*pip[:4], "--version"], env=sources, capture_output=True)
    has_pip = not probe.returncode
    if has_pip:
        done = subprocess.run(
            [*pip, "--target", str(aside), UV_REQUIREMENT],
            env=sources, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise Failure(
                "uv cannot be installed from this machine's package index",
                "check that `pip install uv` works, or install uv yourself",
                lines=done.stderr.splitlines()[-4:],
            )
    else:
        download_uv(aside)
    final = ROOT / ".uv"
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    return str(final / "bin" / "uv")


def download_uv(target: Path) -> None:
    """Unpack uv's wheel into target/bin, for a Python without pip and ensurepip, as on Debian.

    The wheel contains a single program and needs no installer. The index is that of pip's settings,
    read as JSON (PEP 691). Raise Failure if it has no fitting wheel, or if the hash is wrong.
    """
    index = uv_settings.variables(os.environ).get("UV_DEFAULT_INDEX") or default_index()
    url = index.rstrip("/") + "/uv/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(url, headers=accept)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as page:  # noqa: S310
            files = json.load(page)["files"]
    except (OSError, ValueError, KeyError) as error:
        raise Failure(
            f"this Python has no pip, and uv cannot be downloaded: {error}",
            "install python3-pip, or uv itself, and run it again",
        ) from None
    libc = "musllinux" if not platform.libc_ver()[0] else "manylinux"
    fitting = [
        f
        for f in files
        if f["filename"].endswith(f"{platform.machine()}.whl")
        and libc in f["filename"]
        and not f.get("yanked")
        and f["filename"].split("-")[1].replace(".", "").isdigit()
    ]
    if not fitting:
        raise Failure(
            f"the package index has no uv for {platform.machine()}",
            "install python3-pip or uv itself, and run it again",
        )
    best = max(fitting, key=lambda f: tuple(map(int, f["filename"].split("-")[1].split("."))))
    address = urllib.parse.urljoin(url, best["url"])
    with urllib.request.urlopen(address, timeout=300) as reply:  # noqa: S310
        content = reply.read()
    expected = best.get("hashes", {}).get("sha256")
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise Failure("the downloaded uv does not match the hash in the index", "try again")
    (target / "bin").mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        for name in wheel.namelist():
            if name.endswith("/scripts/uv"):
                (target / "bin" / "uv").write_bytes(wheel.read(name))
                (target / "bin" / "uv").chmod(0o755)


def default_index() -> str:
    """Return the index that uv.lock records; no other file of the repository names an index.

    Reads single lines, because Python 3.10 has no TOML parser. Raise Failure if it records none.
    """
    for line in (ROOT / "uv.lock").read_text().splitlines():
        if line.startswith('source = { registry = "'):
            return line.split('"')[1]
    raise Failure("uv.lock contains no index", "restore uv.lock from git")


def uv_run(uv: str, *args: str) -> None:
    env = {**uv_settings.variables(os.environ), **link_mode.forced(os.environ)}
    # The lock has every version and hash, so a cutoff set on the machine could only hide them.
    env.pop("UV_EXCLUDE_NEWER", None)
    more = pip_settings.uv_arguments(os.environ) if args[0] == "pip" else []
    with private_indexes.project((), env) as (_, environ):
        done = subprocess.run(
            [uv, *(["--offline"] if pip_settings.offline() else []), *args, *more],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode:
        raise Failure(
            f"uv {args[0]} {args[1] if len(args) > 1 else ''} failed",
            "fix the error that uv reports above, and run it again",
            lines=done.stdout.splitlines()[-12:],
        )


def make_venv(uv: str, group: str | None) -> None:
    venv = ROOT / ".venv"
    python = venv / "bin" / "python"
    works = (
        python.exists()
        and not subprocess.run([python, "-I", "-c", ""], capture_output=True).returncode
        and not link_mode.broken(venv, mixed=True)
    )
    if link_mode.forced(os.environ):
        print(f"  NOTE    {link_mode.NOTE}", file=sys.stderr)
    target = venv
    if not works:
        target = ROOT / ".venv.new"
        shutil.rmtree(target, ignore_errors=True)
        base = getattr(sys, "_base_executable", sys.executable)
        uv_run(
            uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", base, str(target)
        )
    requirements = ROOT / "build" / f"requirements{'-' + group if group else ''}.txt"
    requirements.parent.mkdir(exist_ok=True)
    extra = ["--group", group] if group else []
    uv_run(
        uv,
        "export",
        "--quiet",
        "--frozen",
        "--no-default-groups",
        *extra,
        "--no-emit-project",
        "--output-file",
        str(requirements),
    )
    # install, not sync: once a config needs it, the newest vLLM is in the same environment.
    uv_run(
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--compile-bytecode",
        "--python",
        str(target / "bin" / "python"),
        "--requirements",
        str(requirements),
    )
    if target != venv:
        shutil.rmtree(venv, ignore_errors=True)
        target.rename(venv)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/bootstrap", description="make uv and .venv")
    parser.add_argument("group", nargs="?", help="a dependency group to add, such as dev")
    args = parser.parse_args(argv)
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".bootstrap").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # of two makes at once, the second finds it done
        done = ROOT / ".venv" / (".tools" if args.group is None else f".{args.group}")
        inputs = [ROOT / "uv.lock", ROOT / "pyproject.toml"]
        if done.exists() and all(done.stat().st_mtime >= f.stat().st_mtime for f in inputs):
            return 0
        print(f"  VENV    .venv{' (' + args.group + ')' if args.group else ''}", file=sys.stderr)
        make_venv(find_uv() or install_uv(), args.group)
        done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(entry_command.run(main))
