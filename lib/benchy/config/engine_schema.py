"""The keys of configs/engines/NAME.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field

from benchy.config.field_types import (
    OPTION,
    Cutoff,
    Indexes,
    Name,
    Release,
    Requirement,
    Specifier,
    Strict,
    Variables,
    key,
)


class Repair(Strict):
    """Changes that make the environments of a range of releases work."""

    versions: Specifier = key(..., "releases to repair", "lock")
    overrides: list[Requirement] = key(
        [], "requirements that replace all others for the same distribution", "lock"
    )
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    constraints: list[Requirement] = key([], "bounds on the versions that are installed", "lock")
    python: Specifier | None = key(
        None, "Pythons that these releases can have; absent: the engine's", "lock"
    )
    variables: Variables = key({}, "environment variables of the server", "yes")
    why: str = key(..., "what goes wrong without the repair", "no")
    link: str = key("", "URL of the source", "no")

    def holds(self, version: str) -> bool:
        """Return whether a release needs this repair."""
        try:
            return SpecifierSet(self.versions, prereleases=True).contains(Version(version))
        except InvalidVersion:
            return False


class Gone(Strict):
    """Options that newer releases of the engine no longer have, and their replacements."""

    options: list[Annotated[str, Field(pattern=OPTION)]] = key(
        ..., "the options", "no", min_length=1
    )
    since: Release = key(..., "the first release without them", "no")
    back: Release | None = key(None, "the first release that has them again, if any", "no")
    use: list[Annotated[str, Field(pattern=OPTION)]] = key(
        [], "options that replace them; none: leave them out", "no"
    )
    why: str = key("", "how to use the replacement, or why none is needed", "no")


class Unsupported(Strict):
    """Options that no model may set, because the result would not describe its answers."""

    options: list[Annotated[str, Field(pattern=OPTION)]] = key(
        ..., "the options", "no", min_length=1
    )
    values: list[Any] = key([], "values to refuse; none: all except null and false", "no")
    why: str = key(..., "what would go wrong", "no")
    use: str = key(..., "what to do instead", "no")

    def refuses(self, value: Any) -> bool:
        """Return whether this value of one of the options is refused."""
        if self.values:
            return any(value == refused and type(value) is type(refused) for refused in self.values)
        return value is not None and value is not False and value != []


class Engine(Strict):
    """A program with releases: an engine (vLLM) or a harness (lm-evaluation-harness)."""

    kind: Literal["engine", "harness"] = key("engine", "engine or harness", "lock")
    title: str = key("", "name in messages; absent: the name of the package", "no")
    package: Requirement = key(..., "distribution on the index, with extras", "lock")
    module: Name = key(..., "Python module that must import", "no")
    requirements: list[Requirement] = key(
        [], "more requirements to install in its environment", "lock"
    )
    device: Literal["gpu", "cpu"] = key("gpu", "device that a server uses", "yes")
    main: bool = key(
        False, "true: models that name no release use the main environment, .venv", "lock"
    )
    default_version: Release | None = key(
        None, "release for models and tasks that name none", "lock"
    )
    command: list[str] = key(
        [], "arguments after the environment's python that start a server", "yes"
    )
    nodes: list[str] = key(
        [],
        "more arguments for a server over several nodes; Jinja templates of nodes (their number), "
        "rank (from 0), address and port (of the first node)",
        "no",
    )
    follower: list[str] = key(
        [], "replaces command on every node but the first; Jinja templates of model", "no"
    )
    variables: Variables = key({}, "environment variables of the server", "yes")
    caps: Variables = key(
        {},
        "environment variables that raise the server's limits on requests; they change no answer",
        "no",
    )
    request_options: list[Annotated[str, Field(pattern=OPTION)]] = key(
        [],
        "fields that requests to any release can have; a generation argument with another name is "
        "an error; none: names are not checked",
        "no",
    )
    options: dict[str, Any] = key({}, "default options; a release that lacks one does not get it")
    neutral: list[str] = key([], "options that cannot change an answer", "no")
    gone: list[Gone] = key([], "options that newer releases no longer have", "no")
    unsupported: list[Unsupported] = key([], "options that no model may set", "no")
    like: Name | None = key(
        None,
        "an engine with the same options; its `neutral`, `gone`, `unsupported`, `caps` and "
        "`request_options` apply here too",
        "no",
    )
    python: Specifier | None = key(None, "Pythons that its environments can have", "lock")
    cutoff: Cutoff = key(
        "release",
        "date as of which packages are resolved: release, none (today), or a date",
        "lock",
    )
    index: Indexes = key([], "package indexes to query before the machine's", "lock")
    slack_days: Annotated[int, Field(ge=0)] = key(
        7, "days after the release's own day, for cutoff: release", "lock"
    )
    torch_backend: Annotated[str, Field(pattern=r"^[a-z0-9.]+$")] | None = key(
        None, "uv's torch backend: auto, cpu, cu128 …", "lock"
    )
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    repairs: list[Repair] = key([], "changes that make ranges of releases work", "lock")

    def gone_options(self) -> dict[str, Gone]:
        """Return option → its entry in `gone`."""
        return {option: entry for entry in self.gone for option in entry.options}
