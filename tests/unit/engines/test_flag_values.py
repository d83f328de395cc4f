"""Tests of values as the text that a flag takes, for each type of flag."""

from __future__ import annotations

from typing import Any

import pytest

from benchy.engines import flag_values
from benchy.engines.release_flags import BadOption

# (type of the flag, option, mapping, text)
MAPPINGS: list[tuple[str, str, dict[str, Any], str]] = [
    ("loads", "hf_overrides", {"b": "á", "a": True}, '{"a":true,"b":"á"}'),
    ("nullable_kvs", "limit_mm_per_prompt", {"image": 1, "video": 0}, "image=1,video=0"),
    ("<lambda>", "override_neuron_config", {"a": "b", "c": 1}, "a:b,c:1"),
    ("from_cli", "compilation_config", {"level": 3}, '{"level":3}'),
    ("from_cli", "compilation_config", {"a": True, "b": None}, "{'a': True, 'b': None}"),
    ("from_cli", "kv_transfer_config", {"a": True}, '{"a":true}'),
]


@pytest.mark.parametrize(("kind", "option", "value", "text"), MAPPINGS)
def test_mappings_are_written_as_the_type_of_the_flag_requires(
    kind: str, option: str, value: dict[str, Any], text: str
) -> None:
    assert flag_values.mapping(option, value, {"type": kind}, "vLLM") == text


# (type of the flag, accepted values, refused values)
SCALARS: list[tuple[str, list[Any], list[Any]]] = [
    ("int", [1, "-1", "8"], ["8k", 1.5, "x"]),
    ("float", [1, 0.9, "1e-3"], ["nan", "inf", "x"]),
    ("human_readable_int", ["32k", "1.5k", "2M", 8], ["auto", "1.5K", "8 k"]),
    ("human_readable_int_or_auto", ["32k", "auto"], ["automatic"]),
    ("loads", ['{"a": 1}', "[1]", 1], ["{a: 1}"]),
    ("parse_dataclass", ['{"a": 1}'], ["[1]", 1]),
    ("str", ["--port=1", 1], ["a\nb", "a\0b"]),
]


@pytest.mark.parametrize(("kind", "accepted", "refused"), SCALARS)
def test_values_are_checked_against_the_type_of_the_flag(
    kind: str, accepted: list[Any], refused: list[Any]
) -> None:
    for value in accepted:
        assert flag_values.scalar(value, {"type": kind}) == str(value)
    for value in refused:
        with pytest.raises(BadOption):
            flag_values.scalar(value, {"type": kind})


# (the flag, hint)
HINTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "str", "choices": ["a", 1]}, "write one of a, 1"),
    ({"type": "human_readable_int"}, "write a whole number, such as 4096, 32k or 32K"),
    ({"type": "float"}, "write a number"),
    ({"type": None}, "write a text"),
]


@pytest.mark.parametrize(("about", "hint"), HINTS)
def test_hints_name_the_values_of_a_flag(about: dict[str, Any], hint: str) -> None:
    assert flag_values.hint(about) == hint
