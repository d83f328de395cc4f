"""Versions of releases: canonical form and comparison.

The local part of a version, such as +cu118, names a build of the release. The metadata of an
installed package has it, so there it counts if it was requested (`matches`). What a running engine
reports may lack it (vLLM 0.10.2+cu118 reports 0.10.2), so it never counts there (`same_public`).
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version


def reached(version: str, since: str) -> bool:
    """Return whether a release is at least as new as another.

    Returns False if either is not a valid version.
    """
    try:
        return Version(version) >= Version(since)
    except InvalidVersion:
        return False


def matches(requested: str, actual: str) -> bool:
    """Return whether `actual`, the version of an installed package, is the requested release.

    A local part (+cpu) counts only if it was requested. Versions that cannot be parsed match if
    they are spelled the same.
    """
    try:
        requested_version, actual_version = Version(requested), Version(actual)
    except InvalidVersion:
        return requested == actual
    if not requested_version.local:
        actual_version = Version(actual_version.public)
    return requested_version == actual_version


def same_public(first: str, second: str) -> bool:
    """Return whether two versions are equal without their local parts.

    Compares a requested release with the one that a running engine reports. Versions that cannot be
    parsed are equal if they are spelled the same.
    """
    try:
        return Version(Version(first).public) == Version(Version(second).public)
    except InvalidVersion:
        return first == second


def normalized(text: str) -> str:
    """Return a version as names of environments spell it: "0.8" and "v0.8.0" become "0.8.0".

    Raises ValueError for text that is too long or not a version.
    """
    if len(text) > 64:  # it becomes a part of a directory's name
        raise ValueError("is too long for a version")
    try:
        version = Version(text)
    except InvalidVersion:
        raise ValueError("is not a version") from None
    release = [*version.release, 0, 0][: max(3, len(version.release))]
    return str(version).replace(version.base_version, ".".join(map(str, release)), 1)
