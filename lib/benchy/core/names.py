"""The names that people give by naming files, and what they mean.

Light: a run that finds nothing to do reads no schema for them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Of a config, a task, a provider, an engine: what Make, a shell and a file system all carry.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
MOST = 200  # characters: files are kept by it, a file system takes 255, and `.json.1234` is added
AT = "@"  # between a config's name and its cell's; in no name of a file
QUICKSTART = "quickstart"  # a model like any other, but it joins `results` only when named

# What holds a secret, by its name: HF_TOKEN, OPENAI_API_KEY, AWS_ACCESS_KEY_ID. Not what only
# counts or names such things (MAX_TOKENS, TOKENIZERS_PARALLELISM, HF_TOKEN_PATH).
SECRET = re.compile(
    r"(?:^|_)(?:TOKEN|KEY|PASS|AUTH)$|APIKEY|ACCESS_KEY|PASSW|PASSPHRASE|SECRET|CREDENTIAL", re.I
)
# Folders of configs/ that hold no models.
NO_MODELS = frozenset({"providers", "engines", "tasks", "templates", "locks", "launchers"})


def secret(name: str) -> bool:
    """Does a variable or an option of this name hold what nobody else may see?"""
    return bool(SECRET.search(name.replace("-", "_")))


def good(name: str) -> bool:
    """Can a file give this name?"""
    return bool(re.fullmatch(NAME.strip("^$"), name)) and len(name) <= MOST


def config_of(model: str) -> str:
    """The name of the config that a model's name comes from: m@0.10.2 → m."""
    return model.partition(AT)[0]


def near(word: str, known: Iterable[str]) -> str:
    """The known word nearest to one, or ""."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""
