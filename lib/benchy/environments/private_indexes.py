"""Put the package indexes that a configuration names before those of the machine.

uv accepts settings of a single index only in a uv.toml. So a temporary one is written for each uv
command, together with the machine's own uv settings that apply (uv_settings.py); uv reads no other.
The cutoff does not apply to private indexes: their files, mostly local builds, are there on
purpose. Most of these indexes also report no upload times, so uv would skip every file.

uv's rule for several indexes applies: all releases of a package come from the first index that has
it, so nobody can publish a newer one of the same name elsewhere. pip instead takes the best release
of all indexes. If the machine's settings name extra indexes, uv therefore continues with them if
the first has no fitting release (unsafe-first-match).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchy.core import temporary_files
from benchy.environments import uv_settings
from benchy.process import environment_variables

NAMED = re.compile(r"^([A-Za-z0-9_-]+)=(.+)$")
# Variables come before uv.toml in uv, so these indexes are moved to the uv.toml, after the
# private ones.
EXTRA = ("UV_INDEX", "UV_EXTRA_INDEX_URL")


@contextlib.contextmanager
def project(
    own: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Provide (the folder for uv's --project, its environment variables) for one uv command.

    own: private indexes as URL or NAME=URL, in order of priority. environ: uv's variables; those
    that name its configuration files are evaluated here and removed. Writes nothing if there are
    neither private indexes nor settings. Raises UsageError.
    """
    variables = {
        name: value for name, value in environ.items() if name not in environment_variables.UV_FILES
    }
    configured = uv_settings.of_a_file(environ)
    if not own and not configured:
        yield Path("/"), variables | {"UV_NO_CONFIG": "1"}
        return
    tables: list[str] = []
    if own:
        machine = [word for name in EXTRA for word in variables.pop(name, "").split()]
        variables["UV_PREVIEW_FEATURES"] = "index-exclude-newer"
        if machine and "UV_INDEX_STRATEGY" not in os.environ:
            variables["UV_INDEX_STRATEGY"] = "unsafe-first-match"
        tables = [*(_table(word, own=True) for word in own), *(_table(word) for word in machine)]
    with temporary_files.folder("index") as folder:
        path = folder / "uv.toml"
        path.touch(mode=0o600)  # index URLs may contain passwords
        path.write_text(uv_settings.written(configured, tables), encoding="utf-8")
        yield folder, variables | {"UV_CONFIG_FILE": str(path)}


def _table(word: str, own: bool = False) -> str:
    """Return one index as a table of uv.toml. A JSON string is also a TOML string."""
    named = NAMED.match(word)
    url = named[2] if named else word
    if "://" not in url:  # a path, relative to the working directory
        url = Path(url).expanduser().absolute().as_uri()
    lines = ["[[index]]", f"url = {json.dumps(url)}"]
    lines += [f"name = {json.dumps(named[1])}"] if named else []
    lines += ["exclude-newer = false"] if own else []
    return "\n".join(lines) + "\n"
