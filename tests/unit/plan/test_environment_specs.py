"""Tests of environment names: two sets of packages never share a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchy.config import schema
from benchy.core import hashing
from benchy.core.errors import UsageError
from benchy.plan import environment_specs
from benchy.plan.environment_specs import Source, environment_spec
from benchy.plan.plan import Plan

ENGINE = schema.Engine(package="vllm", module="vllm", main=True, python=">=3.9")
# The fields of a spec that decide what is installed.
DECIDES = (
    *("package", "version", "requirements", "overrides", "constraints", "python", "cutoff"),
    *("torch_backend", "index"),
)
VERSIONS = ("0.8.5", "0.8.5.1", "0.8.5+1", "1!0.8.5", "0.8.5.post1", "0.8.5+post1", "0.8.5a1")
PACKAGES = ("flash-attn", "flash-attn==2.7", "accelerate", "x @ https://host/x.whl")
INDEXES = ("https://host/simple", "https://host/nightly", "own=https://host/simple")
SOURCES = (
    *("git+https://host/vllm@main", "git+https://host/vllm@v0.8.5", "git+https://host/other@main"),
    *("https://host/a/vllm-1.0-py3-none-any.whl", "https://host/b/vllm-1.0-py3-none-any.whl"),
)


def optional(*values: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


WISHES = st.fixed_dictionaries(
    {
        "vllm_version": optional(*VERSIONS),
        "transformers_version": optional("4.51.3", "4.51.3+x", "4.51.3.1"),
        "extra_packages": st.lists(st.sampled_from(PACKAGES), max_size=2),
        "python": optional("3.11", ">=3.11", "3.11.4"),
        "cutoff": optional("none", "release", "2025-04-01"),
        "torch_backend": optional("auto", "cpu", "cu128"),
        "index": st.lists(st.sampled_from(INDEXES), max_size=2) | st.sampled_from(INDEXES),
        "engine_source": optional(*SOURCES),
    }
)


def made(wishes: dict[str, Any]) -> environment_specs.Spec:
    serving = schema.Provider(**wishes)
    version, elsewhere = serving.vllm_version, None
    if serving.engine_source:
        elsewhere = environment_specs.engine_source(serving.engine_source, Path("/"))
    return environment_spec(
        "vllm", ENGINE, version if elsewhere else version or "0.9.0", serving, "x.yaml:1", elsewhere
    )


def decided(spec: environment_specs.Spec) -> str:
    return hashing.canonical([spec.get(key) for key in DECIDES])


@settings(max_examples=400, deadline=None)
@given(WISHES, WISHES)
def test_two_sets_of_packages_never_share_a_directory(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    a, b = made(one), made(other)
    assert (a["env"] == b["env"]) <= (decided(a) == decided(b)), (a, b)
    assert a["env"].startswith("vllm_")


@settings(max_examples=200, deadline=None)
@given(WISHES, st.sampled_from(sorted(schema.Provider.model_fields)), st.data())
def test_specs_that_differ_in_one_key_never_share_a_directory(
    wishes: dict[str, Any], key: str, data: st.DataObject
) -> None:
    """Random pairs rarely differ in one key alone, so this test builds such pairs."""
    if key not in wishes:
        return
    other = {**wishes, key: data.draw(WISHES)[key]}
    a, b = made(wishes), made(other)
    assert (a["env"] == b["env"]) <= (decided(a) == decided(b)), (a, b)


NAMES = [
    ("a release", {"vllm_version": "0.8.5"}, "vllm_0_8_5"),
    ("with the engine's own cutoff", {"vllm_version": "0.8.5", "cutoff": "release"}, "vllm_0_8_5"),
    ("with transformers", {"vllm_version": "0.8.5", "transformers_version": "4.51.3"},
     "vllm_0_8_5_transformers_4_51_3"),
]  # fmt: skip


@pytest.mark.parametrize(("wishes", "name"), [row[1:] for row in NAMES], ids=[r[0] for r in NAMES])
def test_environments_of_plain_releases_have_plain_names(wishes: dict[str, Any], name: str) -> None:
    assert made(wishes)["env"] == name


def test_a_local_wheel_is_identified_by_its_content(tmp_path: Path) -> None:
    wheels = [tmp_path / folder / "vllm-1.0-py3-none-any.whl" for folder in "abc"]
    for wheel, held in zip(wheels, (b"1", b"1", b"2"), strict=True):
        wheel.parent.mkdir()
        wheel.write_bytes(held)
    a, b, c = (environment_specs.engine_source(str(wheel), Path("/")) for wheel in wheels)
    assert a.tag == b.tag != c.tag
    assert a.tag.startswith("wheel_")
    assert a.url == wheels[0].as_uri()
    asked = Plan()
    for source in (a, b):  # the same wheel in two folders
        asked.add(environment_spec("vllm", ENGINE, None, None, "x.yaml:1", source))
    assert len(asked.environments) == 1


def test_a_source_without_a_release_has_no_cutoff_and_no_repairs() -> None:
    repair = schema.Repair(versions="<1", overrides=["a==1"], why="x")
    engine = ENGINE.model_copy(update={"repairs": [repair]})
    source = Source("git+https://host/vllm@main", "git_1")
    free = environment_spec("vllm", engine, None, None, "x", source)
    assert (free["version"], free["cutoff"], free["overrides"]) == (None, "none", [])
    assert free["requirements"] == ["vllm @ git+https://host/vllm@main"]
    bound = environment_spec("vllm", engine, "0.8.5", None, "x", source)
    assert (bound["version"], bound["cutoff"]) == ("0.8.5", "release")
    assert bound["overrides"] == ["a==1"]
    assert bound["env"] != free["env"]


def test_two_environments_of_one_name_are_refused() -> None:
    """Two engine names with two releases can produce the same environment name."""
    asked = Plan()
    asked.add(environment_spec("a", ENGINE, "0.8.0.0", None, "a.yaml:1"))
    with pytest.raises(UsageError, match=r"a\.yaml:1 and b\.yaml:2 request different sets"):
        asked.add(environment_spec("a_0", ENGINE, "8.0.0", None, "b.yaml:2"))
