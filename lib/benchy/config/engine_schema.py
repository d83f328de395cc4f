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

    versions: Specifier = key(..., "releases that it mends", "lock")
    overrides: list[Requirement] = key([], "requirements that replace what anybody asks", "lock")
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    constraints: list[Requirement] = key([], "bounds on what is installed", "lock")
    python: Specifier | None = key(None, "Pythons that the release can have", "lock")
    variables: Variables = key({}, "environment variables of the server", "yes")
    why: str = key(..., "what goes wrong without it", "no")
    link: str = key("", "where that is told", "no")

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
    back: Release | None = key(None, "the first release that has them again", "no")
    use: list[Annotated[str, Field(pattern=OPTION)]] = key(
        [], "options that do their work since; none: they are to be left out", "no"
    )
    why: str = key("", "how their work is done now, or why nothing is lost", "no")


class Unsupported(Strict):
    """Options with which the answers would not be what the result says they are."""

    options: list[Annotated[str, Field(pattern=OPTION)]] = key(
        ..., "the options", "no", min_length=1
    )
    values: list[Any] = key([], "values that are refused; none: all but null and false", "no")
    why: str = key(..., "what would go wrong", "no")
    use: str = key(..., "what to do instead", "no")

    def refuses(self, value: Any) -> bool:
        """Return whether this value of one of the options is refused."""
        if self.values:
            return any(value == each and type(value) is type(each) for each in self.values)
        return value is not None and value is not False and value != []


class Engine(Strict):
    """A program with releases: an engine (vLLM) or a harness (lm-evaluation-harness)."""

    kind: Literal["engine", "harness"] = key("engine", "which of the two", "lock")
    title: str = key("", "its name in messages; absent: the package's", "no")
    package: Requirement = key(..., "its distribution on the index, with extras", "lock")
    module: Name = key(..., "what must import", "no")
    requirements: list[Requirement] = key([], "what its environment needs beside it", "lock")
    device: Literal["gpu", "cpu"] = key("gpu", "what a server of it runs on", "yes")
    main: bool = key(False, "with no release named, the main environment serves", "lock")
    default_version: Release | None = key(None, "the release where none is named", "lock")
    command: list[str] = key([], "arguments after the environment's python", "yes")
    nodes: list[str] = key(
        [],
        "arguments of a server over several nodes; Jinja, of nodes (how many), rank (from 0), "
        "address and port (of the first)",
        "no",
    )
    follower: list[str] = key(
        [], "in place of command on the nodes after the first; Jinja, of model", "no"
    )
    variables: Variables = key({}, "environment variables of the server", "yes")
    caps: Variables = key(
        {},
        "environment variables of the server that lift caps on requests: they admit a "
        "request that it would refuse, and change no answer",
        "no",
    )
    request_options: list[Annotated[str, Field(pattern=OPTION)]] = key(
        [],
        "names that a request to some release may have; a generation argument of another name is a "
        "mistake; none: not known",
        "no",
    )
    options: dict[str, Any] = key({}, "default options; one that a release lacks is left away")
    neutral: list[str] = key([], "options that cannot change an answer", "no")
    gone: list[Gone] = key([], "options that newer releases no longer have", "no")
    unsupported: list[Unsupported] = key([], "options that no model may set", "no")
    like: Name | None = key(
        None,
        "an engine with the same options: its `neutral`, `gone`, `unsupported`, `caps` and "
        "`request_options` hold here too",
        "no",
    )
    python: Specifier | None = key(None, "Pythons that its environments may have", "lock")
    cutoff: Cutoff = key("release", "packages as of: release, none, or a date", "lock")
    index: Indexes = key([], "package indexes asked before the machine's", "lock")
    slack_days: Annotated[int, Field(ge=0)] = key(7, "days after the release's own", "lock")
    torch_backend: Annotated[str, Field(pattern=r"^[a-z0-9.]+$")] | None = key(
        None, "uv's torch backend: auto, cpu, cu128 …", "lock"
    )
    drop: list[Name] = key([], "distributions that are never installed", "lock")
    repairs: list[Repair] = key([], "what mends ranges of releases", "lock")

    def gone_options(self) -> dict[str, Gone]:
        """Return option → its entry in `gone`."""
        return {option: each for each in self.gone for option in each.options}
