"""Tests of environment names: two sets of packages never share a directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchy.config import engine_schema, provider_schema
from benchy.core import hashing
from benchy.core.errors import UsageError
from benchy.core.specs import EnvironmentRequest
from benchy.plan import environment_specs
from benchy.plan.environment_specs import PackageSource, ReleaseRequest, environment_spec
from benchy.plan.plan import Plan

ENGINE = engine_schema.Engine(package="vllm", module="vllm", main=True, python=">=3.9")
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


def made(wishes: dict[str, Any]) -> EnvironmentRequest:
    serving = provider_schema.Provider(**wishes)
    version, elsewhere = serving.vllm_version, None
    if serving.engine_source:
        elsewhere = environment_specs.engine_source(serving.engine_source, Path("/"))
    version = version if elsewhere else version or "0.9.0"
    return environment_spec(ReleaseRequest("vllm", ENGINE, version, "x.yaml:1", serving, elsewhere))


def decided(spec: EnvironmentRequest) -> str:
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
@given(WISHES, st.sampled_from(sorted(provider_schema.Provider.model_fields)), st.data())
def test_specs_that_differ_in_one_key_never_share_a_directory(
    wishes: dict[str, Any], key: str, data: st.DataObject
) -> None:
    """Random pairs rarely differ in one key alone, so this test builds such pairs."""
    if key not in wishes:
        return
    other = {**wishes, key: data.draw(WISHES)[key]}
    a, b = made(wishes), made(other)
    assert (a["env"] == b["env"]) <= (decided(a) == decided(b)), (a, b)


REPAIR = engine_schema.Repair(
    versions="<0.9", overrides=["numpy<2"], drop=["xformers"], constraints=["outlines<1"],
    python="<3.13", variables={"VLLM_X": "1"}, why="it does not start", link="https://host/issue",
)  # fmt: skip
HARNESS = engine_schema.Engine(
    kind="harness", package="lm_eval[api]", module="lm_eval", slack_days=0
)
COMPLETE = engine_schema.Engine(
    package="vllm", module="vllm", python=">=3.9", requirements=["hf-transfer"], drop=["pynvml"],
    torch_backend="cpu", cutoff="none", index=["https://host/own"], repairs=[REPAIR],
)  # fmt: skip
GIT = PackageSource("git+https://host/vllm@main", "git_1")
CHECKOUT = PackageSource("file:///src/vllm", "path_1", {"path": "/src/vllm", "content": "5"})
# The spec of a release without variations.
PLAIN: dict[str, Any] = {
    "env": "vllm_0_9_0", "kind": "engine", "name": "vllm", "package": "vllm", "version": "0.9.0",
    "requirements": ["vllm==0.9.0"], "overrides": [], "constraints": [], "python": ">=3.9",
    "cutoff": "release", "slack_days": 7, "torch_backend": None, "variables": {}, "module": "vllm",
    "repairs": [], "source": "x.yaml:1",
}  # fmt: skip
# (provider settings, other fields of the request, differences from PLAIN). The hashes in names are
# literal, because a changed name orphans every user's environment.
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a release": ({}, {}, {}),
    "the engine's own cutoff": ({"cutoff": "release"}, {}, {}),
    "a cutoff": ({"cutoff": "2025-04-01"}, {}, {
        "env": "vllm_0_9_0_x9b91e3d6", "cutoff": "2025-04-01",
    }),
    "a local release": ({}, {"version": "0.9.0+1"}, {
        "env": "vllm_0_9_0_1_xfe04523b", "version": "0.9.0+1", "requirements": ["vllm==0.9.0+1"],
    }),
    "transformers": ({"transformers_version": "4.51.3"}, {}, {
        "env": "vllm_0_9_0_transformers_4_51_3", "requirements": ["vllm==0.9.0", "transformers"],
        "overrides": ["transformers==4.51.3"],
    }),
    "a minor release of Python": ({"python": "3.11"}, {}, {
        "env": "vllm_0_9_0_x3d301920", "python": ">=3.9,==3.11.*",
    }),
    "a patch release of Python": ({"python": "3.11.4"}, {}, {
        "env": "vllm_0_9_0_xded53a30", "python": ">=3.9,==3.11.4",
    }),
    "a range of Pythons": ({"python": "<3.12"}, {}, {
        "env": "vllm_0_9_0_x810c7dde", "python": ">=3.9,<3.12",
    }),
    "packages": ({"extra_packages": ["x"]}, {"extra": ("y==1",)}, {
        "env": "vllm_0_9_0_xd6d56cfd", "requirements": ["vllm==0.9.0", "x", "y==1"],
    }),
    "a torch backend": ({"torch_backend": "cu128"}, {}, {
        "env": "vllm_0_9_0_x65b60c30", "torch_backend": "cu128",
    }),
    "an index": ({"index": ["https://host/a"]}, {}, {
        "env": "vllm_0_9_0_x0aa7a52a", "index": ["https://host/a"],
    }),
    "git": ({}, {"version": None, "elsewhere": GIT}, {
        "env": "vllm_git_1", "version": None, "cutoff": "none",
        "requirements": ["vllm @ git+https://host/vllm@main"],
    }),
    "git at a release": ({}, {"elsewhere": GIT}, {
        "env": "vllm_git_1_x950a21f7", "requirements": ["vllm @ git+https://host/vllm@main"],
    }),
    "a checkout": ({}, {"version": None, "elsewhere": CHECKOUT}, {
        "env": "vllm_path_1", "version": None, "cutoff": "none",
        "requirements": ["vllm @ file:///src/vllm"], "checkout": CHECKOUT.checkout,
    }),
    "a harness": ({}, {"engine_name": "lm_eval", "engine": HARNESS, "version": "0.4.9"}, {
        "env": "lm_eval_0_4_9", "kind": "harness", "name": "lm_eval",
        "package": "lm_eval", "version": "0.4.9",
        "module": "lm_eval", "requirements": ["lm_eval[api]==0.4.9"], "python": None,
        "slack_days": 0,
    }),
    "an engine with settings": ({}, {"engine": COMPLETE}, {
        "env": "vllm_0_9_0", "requirements": ["vllm==0.9.0", "hf-transfer"], "cutoff": "none",
        "overrides": ["pynvml ; python_version < '3'"], "torch_backend": "cpu",
        "index": ["https://host/own"],
    }),
    "a repaired release": ({"transformers_version": "4.45.2"}, {
        "engine": COMPLETE, "version": "0.8.5",
    }, {
        "env": "vllm_0_8_5_transformers_4_45_2", "version": "0.8.5",
        "requirements": ["vllm==0.8.5", "hf-transfer", "transformers"],
        "overrides": [
            "numpy<2", "pynvml ; python_version < '3'", "xformers ; python_version < '3'",
            "transformers==4.45.2",
        ],
        "constraints": ["outlines<1"], "python": ">=3.9,<3.13", "cutoff": "none",
        "torch_backend": "cpu", "variables": {"VLLM_X": "1"}, "index": ["https://host/own"],
        "repairs": [{
            "why": "it does not start", "link": "https://host/issue", "versions": "<0.9",
        }],
    }),
}  # fmt: skip


@pytest.mark.parametrize(("provider", "changes", "differences"), SPECS.values(), ids=SPECS.keys())
def test_environment_spec_combines_engine_provider_and_request(
    provider: dict[str, Any], changes: dict[str, Any], differences: dict[str, Any]
) -> None:
    serving = provider_schema.Provider(**provider)
    request = replace(ReleaseRequest("vllm", ENGINE, "0.9.0", "x.yaml:1", serving), **changes)
    assert environment_spec(request) == {**PLAIN, **differences}


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
        request = ReleaseRequest("vllm", ENGINE, None, "x.yaml:1", elsewhere=source)
        asked.add(environment_spec(request))
    assert len(asked.environments) == 1


def test_a_source_without_a_release_has_no_cutoff_and_no_repairs() -> None:
    repair = engine_schema.Repair(versions="<1", overrides=["a==1"], why="x")
    engine = ENGINE.model_copy(update={"repairs": [repair]})
    source = PackageSource("git+https://host/vllm@main", "git_1")
    free = environment_spec(ReleaseRequest("vllm", engine, None, "x", elsewhere=source))
    assert (free["version"], free["cutoff"], free["overrides"]) == (None, "none", [])
    assert free["requirements"] == ["vllm @ git+https://host/vllm@main"]
    bound = environment_spec(ReleaseRequest("vllm", engine, "0.8.5", "x", elsewhere=source))
    assert (bound["version"], bound["cutoff"]) == ("0.8.5", "release")
    assert bound["overrides"] == ["a==1"]
    assert bound["env"] != free["env"]


def test_two_environments_of_one_name_are_refused() -> None:
    """Two engine names with two releases can produce the same environment name."""
    asked = Plan()
    asked.add(environment_spec(ReleaseRequest("a", ENGINE, "0.8.0.0", "a.yaml:1")))
    with pytest.raises(UsageError, match=r"a\.yaml:1 and b\.yaml:2 request different sets"):
        asked.add(environment_spec(ReleaseRequest("a_0", ENGINE, "8.0.0", "b.yaml:2")))
