"""Apply uv's own configuration files, without the settings that would silently change a lock.

Users and images configure mirrors, wheels and certificates in uv.toml, in the home directory or in
/etc; these settings apply. Constraints, overrides, pre-releases and the like would choose other
packages without a trace in the lock; they are ignored. So uv does not read the files itself: benchy
passes it a file with the settings that apply. Files and their order are those of uv's
documentation, "Configuration files". A uv.toml or pyproject.toml in a parent folder is not read,
because it belongs to a project. Writes nothing.

Uses only the standard library, because the bootstrap imports it before tomli is installed. On a
Python 3.10 without pip, `simple` parses what such files usually contain.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchy.core.errors import UsageError
from benchy.environments import pip_settings
from benchy.process import environment_variables

Settings = dict[str, Any]

# Settings that apply: the sources of packages and Pythons, network, cache and concurrency.
HONOURED = frozenset(
    """
    index index-url extra-index-url no-index find-links index-strategy keyring-provider
    allow-insecure-host native-tls system-certs http-proxy https-proxy no-proxy offline
    cache-dir no-cache link-mode concurrent-downloads concurrent-builds concurrent-installs
    python-preference python-downloads python-install-mirror python-downloads-json-url
    exclude-newer
    """.split()  # noqa: SIM905
)
AS_VARIABLES = ("find-links", "exclude-newer")  # passed as variables, because benchy uses them too
# Keys of an index that apply. Its own cutoff is not among them; a configuration's `index` sets one.
OF_AN_INDEX = frozenset(
    "name url default explicit format authenticate ignore-error-codes cache-control".split()  # noqa: SIM905
)
# Settings that would choose other packages. They are ignored, and a note says so.
CHANGES = frozenset(
    """
    constraint-dependencies override-dependencies exclude-dependencies build-constraint-dependencies
    resolution prerelease prerelease-package fork-strategy dependency-metadata torch-backend
    exclude-newer-package no-build no-build-package no-binary no-binary-package no-deps
    config-settings config-settings-package no-build-isolation no-build-isolation-package
    extra-build-dependencies extra-build-variables no-emit-package verify-hashes only-binary
    no-sources no-sources-package python-version python-platform universal environments
    required-environments
    """.split()  # noqa: SIM905
)
# Variable → settings with the same meaning.
SAME = {
    "UV_DEFAULT_INDEX": ("index-url", "default"),
    "UV_INDEX": ("extra-index-url", "index"),
    "UV_INDEX_STRATEGY": ("index-strategy",),
    "UV_KEYRING_PROVIDER": ("keyring-provider",),
    "UV_INSECURE_HOST": ("allow-insecure-host",),
    "ALL_PROXY": ("http-proxy", "https-proxy"),
}


def files(environ: Mapping[str, str]) -> list[Path]:
    """Return the configuration files that uv would read outside of projects, strongest first."""
    if environ.get("UV_CONFIG_FILE"):
        return [Path(environ["UV_CONFIG_FILE"])]
    if pip_settings.true(environ.get("UV_NO_CONFIG", "")):
        return []
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/", ".config")
    paths = [Path(home, "uv", "uv.toml")]
    if not pip_settings.true(environ.get("UV_NO_SYSTEM_CONFIG", "")):
        shared = [*filter(None, (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")), "/etc"]
        system = [Path(folder, "uv", "uv.toml") for folder in shared]
        paths += [path for path in system if path.is_file()][:1]
    return paths


def settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of those files that apply.

    As in uv, lists are joined, and of other values the strongest wins. A value in [pip] overrides
    one outside of it. Raises UsageError.
    """
    merged: Settings = {}
    for path in files(environ):
        configured = read(path, named=bool(environ.get("UV_CONFIG_FILE")))
        pip = configured.get("pip")
        for layer in (pip if isinstance(pip, dict) else {}, configured):
            for key, value in layer.items():
                if key not in HONOURED:
                    continue
                mine = _placed(key, value, path.parent)
                if isinstance(mine, list) and isinstance(merged.get(key, []), list):
                    merged[key] = [*merged.get(key, []), *mine]
                else:
                    merged.setdefault(key, mine)
    return merged


def of_a_file(environ: Mapping[str, str]) -> Settings:
    """Return the settings to pass to uv in a file; `variables` contains the others."""
    return {key: v for key, v in settings(environ).items() if key not in AS_VARIABLES}


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv.

    pip's settings are added as variables of uv where neither uv's own variables nor its files have
    a value. Raises UsageError.
    """
    configured = settings(environ)
    files_too = {name: environ[name] for name in environment_variables.UV_FILES if name in environ}
    offered = pip_settings.uv_variables(environ)
    offered = {name: value for name, value in offered.items() if name not in same_as(configured)}
    out = environment_variables.for_uv(environ) | files_too | offered
    if links := configured.get("find-links"):
        more = [str(link).replace(",", "%2C") for link in links]
        out["UV_FIND_LINKS"] = ",".join(filter(None, [out.get("UV_FIND_LINKS", ""), *more]))
    if "exclude-newer" in configured and not environ.get("UV_EXCLUDE_NEWER"):
        out["UV_EXCLUDE_NEWER"] = str(configured["exclude-newer"])
    return out


def excluded_from_locks(environ: Mapping[str, str]) -> list[str]:
    """Return the names of ignored variables and settings that would choose other packages."""
    names = environment_variables.excluded_from_locks(environ)
    for path in files(environ):
        configured = read(path, named=False)
        pip = configured.get("pip")
        keys = {*configured, *(pip if isinstance(pip, dict) else ())}
        names += [f"{key} ({path})" for key in sorted(keys & CHANGES)]
    return names


def read(path: Path, named: bool) -> Settings:
    """Read one configuration file; {} if there is none.

    named: the user names the file in UV_CONFIG_FILE, so it must exist. Raises UsageError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        hint = "UV_CONFIG_FILE names it" if named else "UV_NO_CONFIG=1 ignores it"
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8", "fix it, or set UV_NO_CONFIG=1") from None
    try:
        return _toml(text)
    except ValueError as error:
        what = f"{path} cannot be read: {error}"
        raise UsageError(what, "fix it, or set UV_NO_CONFIG=1") from None


def _toml(text: str) -> Settings:
    for name in ("benchy.core.toml", "pip._vendor.tomli"):
        try:
            parsed: Settings = importlib.import_module(name).loads(text)
            return parsed
        except ImportError:
            continue
    return simple(text)


def simple(text: str) -> Settings:
    """Parse TOML whose values are also JSON: double-quoted strings, numbers, booleans and lists.

    Raises ValueError at the first other value.
    """
    out: Settings = {}
    table, waiting, begun = out, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not waiting and (not bare or bare.startswith("#")):
            continue
        if not waiting and (
            head := re.fullmatch(r"(\[{1,2})\s*([\w.-]+)\s*\]{1,2}\s*(#.*)?", bare)
        ):
            table = {}
            if head[1] == "[[":
                out.setdefault(head[2], []).append(table)
            else:
                out[head[2]] = table
            continue
        begun = begun if waiting else number
        waiting += line + "\n"
        key, equals, value = waiting.partition("=")
        try:
            if not equals:
                raise ValueError
            table[key.strip().strip('"')] = json.loads(re.sub(r",(\s*\])", r"\1", _plain(value)))
        except ValueError:
            if value.strip().startswith("[") and "]" not in value:
                continue  # a list over several lines
            what = f"line {begun}: this Python has no TOML parser, and benchy's own reads no more "
            raise ValueError(what + "than strings, numbers and lists of them") from None
        waiting = ""
    if waiting:
        raise ValueError(f"line {begun}: the list is not closed")
    return out


def _plain(value: str) -> str:
    """Return a value without its comments."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|#[^\n]*', lambda match: match[1] or "", value)


def written(configured: Settings, more: Sequence[str] = ()) -> str:
    """Return the text of a uv.toml. more: [[index]] tables to put before those of `configured`."""
    plain = {key: value for key, value in configured.items() if key != "index"}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    tables = ["[[index]]\n" + _rows(entry) for entry in configured.get("index", [])]
    return "\n".join([*lines, *more, *tables]) + "\n"


def same_as(configured: Settings) -> set[str]:
    """Return the variables that these settings make redundant."""
    keys = set(configured)
    if any(entry.get("default") for entry in configured.get("index", [])):
        keys.add("default")
        if all(entry.get("default") for entry in configured["index"]):
            keys.discard("index")
    return {name for name, words in SAME.items() if keys & set(words)}


def _rows(entry: Settings) -> str:
    return "\n".join(f"{key} = {_value(value)}" for key, value in entry.items()) + "\n"


def _value(value: Any) -> str:
    """Return a value as TOML: a string, number, boolean, date, list or table."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(str(value))  # a date


def _placed(key: str, value: Any, folder: Path) -> Any:
    """Return a setting for use in a file in another folder: relative paths become absolute."""
    if key == "index" and isinstance(value, list):
        return [
            {k: _placed("url", v, folder) if k == "url" else v for k, v in entry.items()
             if k in OF_AN_INDEX}
            for entry in value if isinstance(entry, dict)
        ]  # fmt: skip
    if key in ("extra-index-url", "find-links") and isinstance(value, list):
        return [_placed("url", url, folder) for url in value]
    if key in ("url", "index-url", "cache-dir") and isinstance(value, str) and "://" not in value:
        return str(folder / Path(value).expanduser())
    return value
