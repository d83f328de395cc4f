"""bin/wheelhouse: collect every file that the locks name in one folder, for machines without a
network and in case an index deletes files.

Reads the locks of all environments that the last plan needs (missing locks are resolved first),
uv.lock for benchy's own packages, and the index, through pip. Writes to DIR (wheelhouse/): the
files and locks/<env>.lock. Local builds such as torch 2.13.0+cpu go to local-cpu/, as installers
would prefer them to the plain builds. Files with the right hash are not fetched again.

OFFLINE=1 installs from wheelhouse/, WHEELHOUSE=DIR from another folder (see pip_settings.py).
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.core import files, paths, temporary_files, toml
from benchy.core.errors import Failure, UsageError
from benchy.core.hashing import sha256
from benchy.display.messages import say
from benchy.display.units import human
from benchy.environments import builder, interpreters, inventory, lock_file, uv
from benchy.environments.environment_spec import BuildSpec
from benchy.environments.lock_file import Package

SUMS = ".sums.json"  # file → [size, mtime in ns, sha256]: hashing 10 GB takes a minute
LOG = paths.LOGS / "wheelhouse.log"
BUILD_DEFAULT = ("setuptools", "wheel")  # PEP 518: build requirements of a project that names none


@dataclass
class Wheelhouse:
    """The folder, and the file of each SHA-256. sums: digest → path in the folder."""

    folder: Path
    sums: dict[str, str] = field(default_factory=dict)

    def hash_files(self) -> None:
        """Hash every file in the folder; files that did not change are not read again."""
        book = self.folder / SUMS
        known: dict[str, Any] = files.read_json(book)
        now = {}
        for path in sorted(
            p for p in self.folder.rglob("*") if p.suffix in (".whl", ".gz", ".zip")
        ):
            name, about = str(path.relative_to(self.folder)), path.stat()
            before = known.get(name, [])
            if before[:2] != [about.st_size, about.st_mtime_ns]:
                before = [about.st_size, about.st_mtime_ns, sha256(path)]
            now[name] = before
        self.sums = {entry[2]: name for name, entry in now.items()}
        files.replace(book, json.dumps(now, indent=1, sort_keys=True) + "\n")

    def has(self, package: Package) -> bool:
        return any(digest.removeprefix("sha256:") in self.sums for digest in package.hashes)

    def path(self, package: Package) -> Path | None:
        for digest in package.hashes:
            name = self.sums.get(digest.removeprefix("sha256:"))
            if name:
                return self.folder / name
        return None

    def keep(self, files: Iterable[Path]) -> None:
        """Move downloaded files into the folder, local builds into the folder of their label."""
        for file in files:
            label = re.match(r"[^-]+-[^-+]+\+([A-Za-z]+[A-Za-z0-9.]*)", file.name)
            folder = self.folder / f"local-{label[1]}" if label else self.folder
            folder.mkdir(parents=True, exist_ok=True)
            with temporary_files.replacing(folder / file.name) as aside:
                shutil.move(file, aside)


def download(wheelhouse: Wheelhouse, python: str, arguments: Sequence[str], label: str) -> None:
    """Fetch files for a Python with pip, as uv has no download command. Raises Failure."""
    wheelhouse.folder.mkdir(parents=True, exist_ok=True)
    folder = temporary_files.aside(wheelhouse.folder / "fetching")  # on the same file system
    folder.mkdir()
    try:
        pip = ["python", "-m", "pip", "download", "--disable-pip-version-check", "-d", str(folder)]
        run = ["run", "--no-project", "--isolated", "--python", python, "--with", "pip"]
        done = uv.run([*run, *pip, "--progress-bar", "off", *arguments], LOG, label)
        if done.status:
            raise uv.failure(done, f"{label}: some files could not be downloaded", LOG)
        wheelhouse.keep(folder.iterdir())
    finally:
        temporary_files.remove(folder)
    wheelhouse.hash_files()


def fetch(
    wheelhouse: Wheelhouse,
    packages: Sequence[Package],
    python: str,
    label: str,
    index: Sequence[str] = (),
) -> int:
    """Fetch the missing files of packages, and the build requirements of source distributions.

    Args:
        wheelhouse: Receives the files.
        packages: The packages of a lock.
        python: The interpreter to fetch for.
        label: Name for messages.
        index: Additional indexes of a config. Their order does not matter, as hashes decide.

    Returns:
        How many packages were fetched.

    Raises:
        Failure: A file could not be fetched.
    """
    missing = [p for p in packages if p.hashes and not p.elsewhere and not wheelhouse.has(p)]
    if missing:
        lines = [f"{p} {' '.join(f'--hash={digest}' for digest in p.hashes)}" for p in missing]
        own = [f"--extra-index-url={re.sub(r'^[A-Za-z0-9_-]+=', '', url)}" for url in index]
        with temporary_files.folder("wheelhouse") as folder:
            file = folder / "wanted.txt"
            file.write_text("\n".join(lines) + "\n")
            pinned = ["--no-deps", "--require-hashes", "-r", str(file)]
            download(wheelhouse, python, [*own, *pinned], label)
    needs = sorted({need for p in packages for need in build_needs(wheelhouse.path(p))})
    if needs:
        download(wheelhouse, python, needs, f"{label}: build requirements")
    return len(missing)


def build_needs(file: Path | None) -> list[str]:
    """Return the build requirements of a source distribution (PEP 518), [] for a wheel."""
    if file is None or not file.name.endswith(".tar.gz"):
        return []
    with tarfile.open(file) as archive:
        for member in archive:
            if re.fullmatch(r"[^/]+/pyproject\.toml", member.name):
                content = archive.extractfile(member)
                text = content.read().decode(errors="replace") if content else ""
                with contextlib.suppress(ValueError):  # not valid TOML
                    requires = toml.loads(text).get("build-system", {}).get("requires")
                    return list(BUILD_DEFAULT if requires is None else requires)
    return list(BUILD_DEFAULT)


def own_packages() -> list[Package]:
    """Return benchy's own packages from uv.lock. Raises Failure."""
    options = ["--frozen", "--no-default-groups", "--no-emit-project", "--no-header"]
    done = uv.run(["export", *options, "--offline", "--project", str(paths.ROOT)], LOG)
    if done.status:
        raise uv.failure(done, "uv.lock can't be exported", LOG)
    with temporary_files.folder("wheelhouse") as folder:
        file = folder / "own.lock"
        file.write_text(done.stdout)
        return lock_file.packages(file)


def requested_environments(globs: Sequence[str]) -> list[str]:
    """Return the environments of the models that match `globs`; without globs, all of them.

    Raises UsageError if there is no plan, or no model matches.
    """
    planned = inventory.planned()
    if not planned:
        raise UsageError("there is no plan of the environments", inventory.PLAN_FIRST)
    users = inventory.users()
    if not globs:
        return sorted(planned)
    envs = [e for e, models in users.items() if any(fnmatch.filter(models, g) for g in globs)]
    if not envs:
        raise UsageError(f"no model is named {' '.join(globs)}", "`make plan` lists them", "MODELS")
    return sorted(set(envs) & set(planned))


def collect(wheelhouse: Wheelhouse, environments: Sequence[str]) -> None:
    """Collect the files of benchy and of each environment.

    Raises Failure at the end if an environment could not be collected.
    """
    wheelhouse.folder.mkdir(parents=True, exist_ok=True)
    wheelhouse.hash_files()
    _, here = next(interpreters.pythons(None, LOG))
    version = uv.run(["--version"], LOG).stdout.split()[1]
    if not list(wheelhouse.folder.glob(f"uv-{version}-*.whl")):
        download(wheelhouse, here, ["--no-deps", f"uv=={version}"], "uv")
    report(wheelhouse, "benchy", fetch(wheelhouse, own_packages(), here, "benchy"))
    failed = []
    for env in environments:
        spec = BuildSpec.read(env)
        try:
            builder.ensure_lock(spec)
            header = lock_file.header(paths.lock(env))
            _, python = next(interpreters.pythons(header.get("python"), LOG))
            packages = lock_file.packages(paths.lock(env))
            report(wheelhouse, env, fetch(wheelhouse, packages, python, env, spec.index))
        except Failure as error:
            failed.append(env)
            print(error)
            continue
        for package in packages:
            if package.elsewhere or not package.hashes:  # uv fetches a URL only from there
                say("WARNING", f"{env}: {package} is not from an index, so the wheelhouse lacks it")
        target = wheelhouse.folder / "locks" / f"{env}.lock"
        files.replace(target, paths.lock(env).read_text(encoding="utf-8"))
    if failed:
        raise Failure(
            f"not collected: {', '.join(failed)}", "fix the cause and run the command again", LOG
        )


def report(wheelhouse: Wheelhouse, name: str, count: int) -> None:
    total = human(inventory.measure(wheelhouse.folder).all)
    say("WHEELS", f"{name}: {f'{count} fetched' if count else 'all there'} ({total} in all)")
