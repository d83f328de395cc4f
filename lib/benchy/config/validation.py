"""Validates plain data against the schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from benchy.config.field_types import Strict
from benchy.config.messages import mistake, without_consequences
from benchy.config.yaml_file import Document, Key
from benchy.core.errors import Mistake

T = TypeVar("T")
Kind = TypeVar("Kind", bound=Strict)


@dataclass(frozen=True)
class Checked(Generic[T]):
    """A value, and the mistakes that were found on the way to it."""

    value: T
    mistakes: Sequence[Mistake] = ()


def validated(
    kind: type[Kind], data: Mapping[str, Any], document: Document, at: Key = ()
) -> Checked[Kind | None]:
    """Return the data as `kind`, or None with its mistakes.

    document: where the data was written. at: its path there.
    """
    try:
        return Checked(kind.model_validate(data))
    except ValidationError as error:
        details = without_consequences(error.errors(include_url=False, include_context=True))
        return Checked(None, [mistake(kind, detail, document, at) for detail in details])


def salvaged(
    kind: type[Kind], data: Mapping[str, Any], instead: Mapping[str, Any] | None = None
) -> Kind | None:
    """Return the data without its wrong keys as `kind`, so that the other keys can be checked too.

    Return None if the data is not valid without them. instead: values that replace required keys.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        remaining = copy.deepcopy(dict(data))
        for detail in error.errors(include_url=False, include_context=False):
            _delete(remaining, detail["loc"])
    try:
        return kind.model_validate({**(instead or {}), **remaining})
    except ValidationError:
        return None


def _delete(data: Any, location: Sequence[str | int]) -> bool:
    """Delete the innermost existing key of a location; return whether there was one."""
    if not location or not isinstance(data, dict) or location[0] not in data:
        return False
    if not _delete(data[location[0]], location[1:]):
        del data[location[0]]
    return True
