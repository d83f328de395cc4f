"""Tests of the translation of pip's settings into uv's: precedence, separators, paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.environments import pip_settings


def variables(tmp_path: Path, environ: dict[str, str], *texts: str) -> dict[str, str]:
    """Return uv_variables with `texts` as configuration files, by increasing precedence."""
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"pip{number}.conf")
        files[-1].write_text(text, encoding="utf-8")
    return pip_settings.uv_variables(environ, files, cwd=tmp_path)


BEST = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
A, B = "https://a.example/simple", "https://b.example/simple"

TABLE: list[tuple[str, dict[str, str], list[str], dict[str, str]]] = [
    ("nothing set", {}, [], {}),
    ("a variable", {"PIP_INDEX_URL": A}, [], {"UV_DEFAULT_INDEX": A}),
    ("a file", {}, [f"[global]\nindex-url = {A}\n"], {"UV_DEFAULT_INDEX": A}),
    ("underscores in a file", {}, [f"[global]\nindex_url = {A}\n"], {"UV_DEFAULT_INDEX": A}),
    ("[install] before [global], even of a stronger file", {},
     [f"[install]\nindex-url = {A}\n", f"[global]\nindex-url = {B}\n"], {"UV_DEFAULT_INDEX": A}),
    ("the later file", {}, [f"[global]\nindex-url = {A}\n", f"[global]\nindex-url = {B}\n"],
     {"UV_DEFAULT_INDEX": B}),
    ("a variable before a file", {"PIP_INDEX_URL": B}, [f"[install]\nindex-url = {A}\n"],
     {"UV_DEFAULT_INDEX": B}),
    ("an empty variable says nothing", {"PIP_INDEX_URL": ""}, [f"[global]\nindex-url = {A}\n"],
     {"UV_DEFAULT_INDEX": A}),
    ("other sections say nothing", {}, [f"[download]\nindex-url = {A}\n"], {}),
    ("several indexes over lines and spaces", {},
     [f"[global]\nextra-index-url =\n    {A}\n    {B}\n"], {"UV_INDEX": f"{A} {B}", **BEST}),
    ("UV_DEFAULT_INDEX wins", {"UV_DEFAULT_INDEX": B, "PIP_INDEX_URL": A}, [], {}),
    ("uv's old name wins too", {"UV_INDEX_URL": B, "PIP_INDEX_URL": A}, [], {}),
    ("UV_INDEX wins, and no strategy is forced on it",
     {"UV_INDEX": B, "PIP_EXTRA_INDEX_URL": A}, [], {}),
    ("the person's own strategy",
     {"UV_INDEX_STRATEGY": "first-index", "PIP_EXTRA_INDEX_URL": A}, [], {"UV_INDEX": A}),
    ("no-index hides indexes", {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": A}, [], {}),
    ("no-index = false does not", {"PIP_INDEX_URL": A}, ["[global]\nno-index = false\n"],
     {"UV_DEFAULT_INDEX": A}),
    ("trusted hosts", {"PIP_TRUSTED_HOST": "a:8080\n b"}, [], {"UV_INSECURE_HOST": "a:8080 b"}),
    ("timeout", {"PIP_TIMEOUT": "12.6"}, [], {"UV_HTTP_TIMEOUT": "13"}),
    ("default-timeout", {"PIP_DEFAULT_TIMEOUT": "180"}, [], {"UV_HTTP_TIMEOUT": "180"}),
    ("a timeout that is none", {"PIP_TIMEOUT": "soon"}, [], {}),
    ("cutoff", {"PIP_UPLOADED_PRIOR_TO": "2026-01-01"}, [], {"UV_EXCLUDE_NEWER": "2026-01-01"}),
    ("certificates", {"PIP_CERT": "/x/ca.pem"}, [], {"SSL_CERT_FILE": "/x/ca.pem"}),
    ("certificates of the machine win",
     {"PIP_CERT": "/x/ca.pem", "SSL_CERT_FILE": "/y/ca.pem"}, [], {}),
    ("keyring", {"PIP_KEYRING_PROVIDER": "subprocess"}, [],
     {"UV_KEYRING_PROVIDER": "subprocess"}),
    ("a broken file is passed over", {}, ["no section\n", f"[global]\nindex-url = {A}\n"],
     {"UV_DEFAULT_INDEX": A}),
    ("a percent sign is only a percent sign", {}, ["[global]\nindex-url = https://a%40b:c@h/s\n"],
     {"UV_DEFAULT_INDEX": "https://a%40b:c@h/s"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "texts", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_pip_settings_become_uv_variables(
    tmp_path: Path, environ: dict[str, str], texts: list[str], expected: dict[str, str]
) -> None:
    assert variables(tmp_path, environ, *texts) == expected


def test_find_links_become_absolute_paths_joined_with_commas(tmp_path: Path) -> None:
    for name in ("wheels", "more", "sp ace", "com,ma"):
        (tmp_path / name).mkdir()
    comma = (tmp_path / "com,ma").as_uri()
    links = f"wheels {tmp_path}/more gone file://{tmp_path}/sp%20ace {comma} https://h/w,x"
    found = variables(tmp_path, {"PIP_FIND_LINKS": links})["UV_FIND_LINKS"]
    assert found == ",".join([
        f"{tmp_path}/wheels", f"{tmp_path}/more", f"{tmp_path}/sp ace",
        f"file://{tmp_path}/com%2Cma", "https://h/w%2Cx",
    ])  # fmt: skip


def test_index_in_a_folder_becomes_a_url(tmp_path: Path) -> None:
    found = variables(tmp_path, {"PIP_INDEX_URL": "mirror/simple"})
    assert found == {"UV_DEFAULT_INDEX": (tmp_path.resolve() / "mirror/simple").as_uri()}


def test_no_index_becomes_an_argument(tmp_path: Path) -> None:
    assert pip_settings.uv_arguments({"PIP_NO_INDEX": "true"}, []) == ["--no-index"]
    assert pip_settings.uv_arguments({}, []) == []


def test_pip_variables_keep_only_settings_of_package_sources(tmp_path: Path) -> None:
    """Settings of how or where to install are meant for the user's own environments."""
    conf = tmp_path / "pip.conf"
    conf.write_text(
        f"[global]\nuser = true\nrequire-virtualenv = true\nindex-url = {A}\nno-binary = :all:\n"
        "[install]\ntarget = /x\nroot = /y\nreport = /z\n"
    )
    refusing = ("USER", "REQUIRE_VIRTUALENV", "PREFIX", "ROOT", "DRY_RUN", "NO_DEPS", "PYTHON")
    environ = {"HOME": "/h", "PIP_CERT": "/c.pem", "PIP_EXTRA_INDEX_URL": B, "PIP_USE_FEATURE": "x"}
    found = pip_settings.pip_variables(environ | {f"PIP_{name}": "1" for name in refusing}, [conf])
    assert found == {
        "HOME": "/h", "PIP_CONFIG_FILE": "/dev/null", "PIP_CERT": "/c.pem", "PIP_INDEX_URL": A,
        "PIP_EXTRA_INDEX_URL": B, "PIP_USE_FEATURE": "x",
    }  # fmt: skip


def test_config_files_are_ordered_by_increasing_precedence(tmp_path: Path) -> None:
    home = {"HOME": "/home/u", "XDG_CONFIG_DIRS": "/x:/y"}
    names = [str(path) for path in pip_settings.config_files(home)]
    expected = ["/x/pip/pip.conf", "/y/pip/pip.conf", "/etc/pip.conf",
                "/home/u/.pip/pip.conf", "/home/u/.config/pip/pip.conf"]  # fmt: skip
    assert names[:5] == expected
    named = tmp_path / "my.conf"
    named.write_text("")
    with_named = [
        str(p) for p in pip_settings.config_files({**home, "PIP_CONFIG_FILE": str(named)})
    ]
    assert with_named[-1] == str(named)
    assert "/home/u/.pip/pip.conf" not in with_named, "pip reads no user files beside a named one"
    assert pip_settings.config_files({**home, "PIP_CONFIG_FILE": "/dev/null"}) == []
