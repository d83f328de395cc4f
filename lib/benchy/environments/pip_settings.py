"""Translate a machine's pip settings into settings of uv.

Users, images and clusters configure mirrors, wheels and certificates for pip, and uv ignores pip's
settings. Reads PIP_* variables and pip's configuration files; writes nothing. Order and names are
those of pip's documentation, "Configuration", weakest first: global files, user files, the site
file, the file that PIP_CONFIG_FILE names, then variables. Section [install] overrides [global].
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchy.core import knobs
from benchy.core.paths import ROOT

SECTIONS = ("global", "install")
# Settings that say where packages come from and how to reach that place. The others say how or
# where pip installs, or what it refuses; they are meant for the user's own environments.
SOURCES = frozenset({
    "index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "cert", "client-cert",
    "proxy", "timeout", "default-timeout", "retries", "resume-retries", "keyring-provider",
    "uploaded-prior-to", "use-feature", "use-deprecated", "cache-dir", "no-cache-dir", "no-input",
})  # fmt: skip


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that pip would read, weakest first, whether they exist or not."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:  # pip's documented way to say "no files at all"
        return []
    home = Path(environ.get("HOME") or Path.home())
    system = [Path(d) / "pip" for d in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if d]
    files = [*(folder / "pip.conf" for folder in system), Path("/etc/pip.conf")]
    if not (named and Path(named).exists()):
        config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    # benchy's own .venv has no pip.conf; users edit the one of its base Python.
    files += [Path(prefix) / "pip.conf" for prefix in dict.fromkeys((sys.base_prefix, sys.prefix))]
    return [*files, Path(named)] if named else files


def pip_settings(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> dict[str, str]:
    """Return every pip setting with its strongest value ({"find-links": "…"}), without empty ones.

    Skips files that cannot be read or parsed: pip itself reports them, and another tool's broken
    file is no reason to stop. With a wheelhouse, adds its folders to find-links and sets no-index.
    files: as in `uv_variables`.
    """
    sections: dict[str, dict[str, str]] = {name: {} for name in SECTIONS}
    for file in config_files(environ) if files is None else files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for name in SECTIONS:
            if parser.has_section(name):
                sections[name].update({_key(k): v.strip() for k, v in parser.items(name)})
    wheels_dir = wheelhouse(environ)
    variables = {_key(k[4:]): v.strip() for k, v in environ.items() if k.startswith("PIP_")}
    merged: dict[str, str] = {}
    for layer in (*(sections[name] for name in SECTIONS), variables):
        merged.update({key: value for key, value in layer.items() if value})
    if wheels_dir:
        links = [merged.get("find-links", ""), *(path.as_uri() for path in folders(wheels_dir))]
        merged |= {"no-index": "1", "find-links": " ".join(filter(None, links))}
    return merged


def pip_variables(
    environ: Mapping[str, str], files: Iterable[Path] | None = None
) -> dict[str, str]:
    """Return the complete environment for benchy's own calls of pip.

    Of pip's settings it has only SOURCES. Others, such as PIP_USER, PIP_REQUIRE_VIRTUALENV or
    `target` in a pip.conf, would make pip refuse or install elsewhere. files: as in `uv_variables`.
    """
    out = {name: value for name, value in environ.items() if not name.startswith("PIP_")}
    out["PIP_CONFIG_FILE"] = os.devnull
    for key, value in pip_settings(environ, files).items():
        if key in SOURCES:
            out[f"PIP_{key.upper().replace('-', '_')}"] = value
    return out


def offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether OFFLINE=1 forbids network access.

    Raises UsageError if its value means neither on nor off.
    """
    return knobs.on("OFFLINE", environ)


def wheelhouse(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the wheelhouse to install from instead of an index; None to use the index.

    It is the folder that WHEELHOUSE names, or wheelhouse/ if that exists and OFFLINE=1. `make
    wheelhouse` fills it.
    """
    named = environ.get("WHEELHOUSE", "")
    if named:
        return (ROOT / Path(named).expanduser()).resolve()
    own = ROOT / "wheelhouse"
    return own if offline(environ) and own.is_dir() else None


def folders(wheels_dir: Path) -> list[Path]:
    """Return a wheelhouse's folders: itself, and one per kind of local build (local-cpu)."""
    return [wheels_dir, *sorted(path for path in wheels_dir.glob("local-*") if path.is_dir())]


def uv_variables(
    environ: Mapping[str, str], files: Iterable[Path] | None = None, cwd: Path | None = None
) -> dict[str, str]:
    """Return the variables that make uv behave as pip would, without those set in `environ`.

    files: pip's configuration files, weakest first (default: those that pip reads). cwd: the base
    of relative paths (default: the working directory, as in pip). UV_FIND_LINKS is returned even
    if it is set, to add a wheelhouse to it.
    """
    pip = pip_settings(environ, files)
    base = cwd or Path.cwd()
    out: dict[str, str] = {}

    def offer(name: str, value: str, *rivals: str) -> None:
        if value and not any(environ.get(known) for known in (name, *rivals)):
            out[name] = value

    if not true(pip.get("no-index", "")):
        offer("UV_DEFAULT_INDEX", _index(pip.get("index-url", ""), base), "UV_INDEX_URL")
        extra = [_index(word, base) for word in pip.get("extra-index-url", "").split()]
        offer("UV_INDEX", " ".join(extra), "UV_EXTRA_INDEX_URL")
        if "UV_INDEX" in out:
            # uv stops at the first index that has a package; pip takes the best release of all.
            offer("UV_INDEX_STRATEGY", "unsafe-best-match")
    links = (_link(word, base) for word in pip.get("find-links", "").split())
    # uv separates links by commas, pip by white space.
    offer("UV_FIND_LINKS", ",".join(link for link in links if link))
    wheels_dir = wheelhouse(environ)
    if wheels_dir and environ.get("UV_FIND_LINKS"):
        here = [_link(folder.as_uri(), base) for folder in folders(wheels_dir)]
        out["UV_FIND_LINKS"] = ",".join([environ["UV_FIND_LINKS"], *here])
    offer("UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    offer("UV_HTTP_TIMEOUT", _seconds(pip.get("timeout") or pip.get("default-timeout", "")))
    offer("UV_EXCLUDE_NEWER", pip.get("uploaded-prior-to", ""))
    offer("UV_KEYRING_PROVIDER", "subprocess" if _keyring(pip) else "")
    offer("SSL_CERT_FILE", _path(pip.get("cert", ""), base))
    offer("SSL_CLIENT_CERT", _path(pip.get("client-cert", ""), base))
    proxy = pip.get("proxy", "")
    offer("ALL_PROXY", proxy, "all_proxy", "HTTPS_PROXY", "https_proxy")
    return out


def uv_arguments(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> list[str]:
    """Return --no-index for `uv pip` if pip's settings have it; uv has no variable for it."""
    return ["--no-index"] if true(pip_settings(environ, files).get("no-index", "")) else []


def _key(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def true(value: str) -> bool:
    """Return whether a switch of pip or uv is on."""
    return value.lower() in ("1", "y", "yes", "t", "true", "on")


def _keyring(pip: Mapping[str, str]) -> bool:
    # "import" and "auto" mean a keyring inside pip's own Python, which uv cannot use.
    return pip.get("keyring-provider") == "subprocess"


def _seconds(value: str) -> str:
    """Convert a timeout of pip (a float) to whole seconds for uv; "" if it is not a number."""
    try:
        return str(max(1, round(float(value)))) if value else ""
    except (ValueError, OverflowError):
        return ""


def _path(value: str, base: Path) -> str:
    return str(base / Path(value).expanduser()) if value else ""


def _index(value: str, base: Path) -> str:
    """Return an index as a URL, because uv takes a bare word for the name of an index."""
    if not value or "://" in value:
        return value
    return (base / Path(value).expanduser()).resolve().as_uri()


def _link(value: str, base: Path) -> str:
    """Return one place of find-links in uv's form; "" for a path that does not exist.

    pip skips a missing folder; uv stops. A path with a comma becomes a URL, because uv separates
    places by commas.
    """
    url = urlsplit(value)
    if url.scheme in ("http", "https"):
        return value.replace(",", "%2C")
    path = Path(unquote(url.path)) if url.scheme == "file" else base / Path(value).expanduser()
    if not path.exists():
        return ""
    return path.resolve().as_uri().replace(",", "%2C") if "," in str(path) else str(path)
