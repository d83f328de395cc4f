"""Check each model's options against the release that it pins, before anything starts.

Reads flags.json of the release's environment if that is built, else docs/options.json if it has the
release, else the list of removed options (`gone` in the engine's file). Mistakes that these do not
reveal are reported by bin/serve, in the same words, when the environment is built and before it
takes a device. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchy.config.written import Written
from benchy.core import files, paths, versions
from benchy.core.errors import ConfigError, Mistake
from benchy.core.specs import ServerSpec
from benchy.core.text import listed
from benchy.engines import command_line, option_table, release_flags, unavailable_options
from benchy.environments import lock_file


def release(
    spec: ServerSpec, version: str, flags: release_flags.Flags
) -> release_flags.EngineRelease:
    """Return the release that serves a model, for messages and for its arguments."""

    def added_in(option: str) -> str:
        tables = option_table.read(option_table.FILE)  # only read to explain a mistake
        return option_table.added_in(tables, spec["engine"], version, release_flags.flag_of(option))

    return release_flags.EngineRelease(
        f"{spec['title']} {version}".strip(), flags, spec["gone"], added_in
    )


def arguments(spec: ServerSpec, engine_release: release_flags.EngineRelease) -> list[str]:
    """Return the model's options as arguments of a release. Raises ConfigError."""
    return command_line.arguments(
        spec["options"], engine_release, defaults=spec["defaults"], written=written(spec)
    )


def written(spec: ServerSpec) -> Written:
    """Return where the options of a server were written."""
    return Written(spec["source"], spec["origin"], spec["keys"])


class FlagsCache:
    """The flags of releases, cached."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._built: dict[str, tuple[str, release_flags.Flags]] = {}
        self._tables: option_table.Tables | None = None
        self._released: dict[tuple[str, str], release_flags.Flags] = {}

    def built(self, env: str) -> tuple[str, release_flags.Flags]:
        """Return (installed release, flags) of an environment; ("", {}) if it is not built."""
        if env not in self._built:
            folder = self.root / paths.env_dir(env)
            is_built = (self.root / paths.stamp(env)).exists()
            check = files.read_json(folder / "check.json") if is_built else {}
            version = str(check.get("version", ""))
            self._built[env] = version, files.read_json(folder / "flags.json") if version else {}
        return self._built[env]

    def current(self, env: str) -> bool:
        """Return whether an environment is built from its current lock.

        A git revision may have moved since the build.
        """
        stamp = files.read_json(self.root / paths.stamp(env))
        return bool(stamp) and stamp.get("lock") == lock_file.digest(self.root / paths.lock(env))

    def released(self, engine_name: str, version: str) -> release_flags.Flags:
        """Return the flags of an engine's release from docs/options.json; {} if it lacks them."""
        if self._tables is None:
            self._tables = option_table.read(self.root / option_table.FILE)
        key = engine_name, version
        if key not in self._released:
            self._released[key] = option_table.flags(self._tables, *key)
        return self._released[key]

    def flags(
        self, engine_name: str, env: str, version: str | None
    ) -> tuple[str, release_flags.Flags]:
        """Return (release, flags) that an environment has or will have; {} for unknown flags."""
        installed, flags = self.built(env)
        if flags and (versions.matches(version, installed) if version else self.current(env)):
            return installed, flags
        # Extra packages may add choices that the release alone does not have.
        if version and env in (paths.MAIN, paths.env_name(engine_name, version)):
            return version, self.released(engine_name, version)
        return version or "", {}


def mistakes(specs: Iterable[ServerSpec], known: FlagsCache) -> list[Mistake]:
    """Return every option of every server that its release lacks or would not accept.

    A model that falls back to the main environment is checked against its own release. If the
    fallback lacks an option, only that model stops, when it starts.
    """
    affected: dict[Mistake, list[ServerSpec]] = {}
    for spec in specs:
        version, flags = known.flags(spec["engine"], *requested(spec))
        for mistake in _server_mistakes(spec, version, flags):
            affected.setdefault(mistake, []).append(spec)
    return sorted(_concerning(mistake, servers) for mistake, servers in affected.items())


def requested(spec: ServerSpec) -> tuple[str, str | None]:
    """Return the environment and the release that a model requests, whatever serves it."""
    if fallback := spec["fallback"]:
        return fallback["environment"], fallback["version"]
    return spec["environment"], spec["release"]


def _server_mistakes(spec: ServerSpec, version: str, flags: release_flags.Flags) -> list[Mistake]:
    engine_release = release(spec, version, flags)
    if not flags:
        return unavailable_options.removed(spec["options"], version, engine_release, written(spec))
    try:
        arguments(spec, engine_release)
    except ConfigError as error:
        return error.mistakes
    return []


def _concerning(mistake: Mistake, specs: list[ServerSpec]) -> Mistake:
    """Return a mistake, with the models' names if it is in a file that they share."""
    if all(spec["source"] == mistake.file for spec in specs):
        return mistake
    names = [spec["model"] for spec in specs]
    return replace(mistake, what=f"{mistake.what}; needed by {listed(names)}")


def refuse(specs: Iterable[ServerSpec]) -> None:
    """Raise ConfigError with all mistakes, if any, for environments in the working directory."""
    if problems := mistakes(specs, FlagsCache()):
        raise ConfigError(problems)
