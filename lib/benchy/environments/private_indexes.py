"""Package indexes that a configuration names, before those of the machine.

uv takes what may be said of a single index only from a uv.toml, so one is written for each run,
with what holds of the machine's own (uvconf.py); uv reads no other. Own indexes hold what somebody
chose to put there, mostly builds of their own: no cutoff holds for them. Most of them tell no
upload times either, and uv would pass over every file.

uv's rule for several indexes holds: the first that knows a name gives all of its releases, so that
nobody can put a newer one of the same name elsewhere. Where pip's settings name extra indexes, of
which pip takes the best, that rule would hide what is in the later ones: there uv goes on to them
if the first has nothing that fits (unsafe-first-match).
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
# Extra indexes, which have to come after one's own: what is in a variable comes before a uv.toml.
EXTRA = ("UV_INDEX", "UV_EXTRA_INDEX_URL")


@contextlib.contextmanager
def project(
    own: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """(what to give uv as --project, its environment variables) while a uv command runs.

    own: URLs or NAME=URL, the first is asked first. environ: the variables that uv would have had;
    those that name its configuration files are followed here. With neither own indexes nor
    settings nothing is written. Raises UsageError.
    """
    settled = {
        name: value for name, value in environ.items() if name not in environment_variables.UV_FILES
    }
    said = uv_settings.of_a_file(environ)
    if not own and not said:
        yield Path("/"), settled | {"UV_NO_CONFIG": "1"}
        return
    tables: list[str] = []
    if own:
        machine = [word for name in EXTRA for word in settled.pop(name, "").split()]
        settled["UV_PREVIEW_FEATURES"] = "index-exclude-newer"
        if machine and "UV_INDEX_STRATEGY" not in os.environ:
            settled["UV_INDEX_STRATEGY"] = "unsafe-first-match"
        tables = [*(_table(word, own=True) for word in own), *(_table(word) for word in machine)]
    with temporary_files.folder("index") as folder:
        path = folder / "uv.toml"
        path.touch(mode=0o600)  # the machine's indexes may carry passwords
        path.write_text(uv_settings.written(said, tables), encoding="utf-8")
        yield folder, settled | {"UV_CONFIG_FILE": str(path)}


def _table(word: str, own: bool = False) -> str:
    """One index as uv.toml has it. JSON's strings are TOML's."""
    named = NAMED.match(word)
    url = named[2] if named else word
    if "://" not in url:  # a path, relative to where the person is
        url = Path(url).expanduser().absolute().as_uri()
    lines = ["[[index]]", f"url = {json.dumps(url)}"]
    lines += [f"name = {json.dumps(named[1])}"] if named else []
    lines += ["exclude-newer = false"] if own else []
    return "\n".join(lines) + "\n"
