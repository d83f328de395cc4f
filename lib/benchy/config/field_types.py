"""Types of configuration fields, with their checks.

A field's `affects` says whether a change of it can change an answer: "yes" re-runs results, "no"
never does, "lock" does if the change alters what is installed. Engine options that are not fields
count as "yes", unless their engine's file lists them under `neutral`.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from benchy.core import versions
from benchy.core.names import NAME, secret


def key(
    default: Any, about: str, affects: Literal["yes", "no", "lock"] = "yes", **more: Any
) -> Any:
    """Return a documented field. A required field has the default `...`."""
    return Field(default, description=about, json_schema_extra={"affects": affects}, **more)


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and does not convert values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


OPTION = r"^[a-z][a-z0-9_]*$"
# A requirement may contain spaces, markers and URLs: it is passed as one argument or one line of a
# file. It must not contain a line break (the next line would be a second requirement) or start with
# a dash (uv would read it as an option).
REQUIREMENT = r"^[A-Za-z0-9][^\r\n]*$"


class Unfit(ValueError):
    """A value that does not fit its field: what is wrong and what to write instead."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def _release(text: str) -> str:
    try:
        return versions.normalized(text)
    except ValueError as error:
        raise Unfit(str(error), 'write a release such as "0.8.5" or "0.8.5.post1"') from None


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        if re.fullmatch(r"3\.\d+(\.\d+)?", text):
            return text
        raise Unfit("is not a version specifier, such as >=0.8.0,<0.8.3") from None
    return text


def _cutoff(text: str) -> str:
    if text in ("release", "none"):
        return text
    form = r"(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d)?(\.\d+)?Z?"
    parts = re.fullmatch(form, text, re.ASCII)
    with contextlib.suppress(ValueError):  # no such date
        if parts and bool(parts[2]) == text.endswith("Z") and (parts[2] or not parts[3]):
            datetime.fromisoformat(parts[1] + (parts[2] or ""))
            return text
    raise Unfit("is not release, none, or a date such as 2026-09-05")


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Unfit("is not a name of an environment variable")
    if secret(name):
        raise Unfit(
            "has the name of a secret, and would be written to specs and results",
            "set it in the environment of make, which the server inherits; for the hub's token, "
            "hf_token in the provider works too",
        )
    return name


def _public(url: str) -> None:
    """Raise Unfit if a URL carries a password or token, which would end up in logs and locks."""
    parts = urlsplit(url.removeprefix("git+"))
    if parts.password or (parts.username and parts.scheme != "ssh"):
        raise Unfit(
            "contains credentials, which would be written to locks and logs",
            "remove them from the URL; uv reads them from ~/.netrc, a keyring or, for "
            "NAME=https://… here, in UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD",
        )


def _git_url(text: str) -> str:
    _public(text)
    return text


def _requirement(text: str) -> str:
    _, at, url = text.partition("@")
    if at and "://" in url:
        _public(url.strip())
    return text


def _index(text: str) -> str:
    url = re.sub(r"^[A-Za-z0-9_-]+=", "", text)
    if not re.fullmatch(r"(https?|file)://\S+", url):
        raise Unfit(
            "is not a package index", "write its URL, https://host/simple, or NAME=https://…"
        )
    _public(url)
    return text


def _source(text: str) -> str:
    path = text.partition("#")[0].partition("?")[0]
    git = re.fullmatch(
        r"git\+(https?|ssh|file)://([^\s@/]*@)?[^\s@]*/[^\s@]+@[^\s@#]+(#\S+)?", text
    )
    url = re.match(r"https?://", text)
    if not (git or (path.endswith(".whl") and (url or "://" not in text) and "\n" not in text)):
        raise Unfit(
            "is neither a git revision nor a wheel",
            "write git+https://host/repository@REVISION, or the URL or path of a .whl file",
        )
    if git or url:
        _public(text)
    return text


Release = Annotated[str, AfterValidator(_release)]
Specifier = Annotated[str, AfterValidator(_specifier)]
Cutoff = Annotated[str, AfterValidator(_cutoff)]
Name = Annotated[str, Field(pattern=NAME)]
Requirement = Annotated[str, Field(pattern=REQUIREMENT), AfterValidator(_requirement)]
Indexes = Annotated[
    list[Annotated[str, AfterValidator(_index)]],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value,
        json_schema_input_type=str | list[str],
    ),
]
GitUrl = Annotated[str, Field(pattern=r"^(https|ssh|file)://\S+$"), AfterValidator(_git_url)]
Source = Annotated[str, AfterValidator(_source)]
Variables = dict[Annotated[str, AfterValidator(_variable)], str]
Size = Annotated[int, Field(ge=1)]
Word = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f]+$")]  # exactly one argument
# An index, or a UUID (or its beginning) as `nvidia-smi -L` prints it; older drivers print
# MIG-GPU-…/1/0.
_GPU = r"([0-9]{1,6}|(GPU|MIG)-[0-9A-Za-z/-]{1,80})"
Devices = Annotated[str, Field(pattern=rf"^({_GPU}(, ?{_GPU})*)?$")]
Device = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=rf"^{_GPU}$")]
