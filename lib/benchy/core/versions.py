"""Versions of releases: their canonical form, and which of them count as equal."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version


def reached(version: str, since: str) -> bool:
    """Is a release at least as new as another? One that is no version is not known to be."""
    try:
        return Version(version) >= Version(since)
    except InvalidVersion:
        return False


def matches(asked: str, found: str) -> bool:
    """Is what was found the release asked for? A local part (+cpu) counts only if it was asked for.
    Versions that can't be parsed match where they are spelled alike."""
    try:
        one, other = Version(asked), Version(found)
    except InvalidVersion:
        return asked == found
    return one == other if one.local else one == Version(other.public)


def same_public(one: str, other: str) -> bool:
    """Are these one release, however it was built? Local parts do not count."""
    try:
        return Version(Version(one).public) == Version(Version(other).public)
    except InvalidVersion:
        return one == other


def canonical(text: str) -> str:
    """A release as its environment's name spells it: "0.8" and "v0.8.0" are both "0.8.0"."""
    if len(text) > 64:  # it becomes a part of a directory's name
        raise ValueError("is too long for a version")
    try:
        version = Version(text)
    except InvalidVersion:
        raise ValueError("is not a version") from None
    release = [*version.release, 0, 0][: max(3, len(version.release))]
    return str(version).replace(version.base_version, ".".join(map(str, release)), 1)
