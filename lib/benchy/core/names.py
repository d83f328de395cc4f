"""Rules for names: of configs, tasks, providers and engines, and of variables with secrets.

This module is small so that a run with nothing to do does not have to load the schema.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Names of configs, tasks, providers and engines: valid for Make, shells and file systems.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
MOST = 200  # characters; file systems allow 255, and file names add an ending such as `.json.1234`
AT = "@"  # separates a config's name from its matrix cell; not allowed in file names
QUICKSTART = "quickstart"  # `results` includes this model only if MODELS names it

# Names of secrets: HF_TOKEN, OPENAI_API_KEY, AWS_ACCESS_KEY_ID. Names that only count or locate
# such things do not match (MAX_TOKENS, TOKENIZERS_PARALLELISM, HF_TOKEN_PATH).
SECRET = re.compile(
    r"(?:^|_)(?:TOKEN|KEY|PASS|AUTH)$|APIKEY|ACCESS_KEY|PASSW|PASSPHRASE|SECRET|CREDENTIAL", re.I
)
# Directories of configs/ without models.
NO_MODELS = frozenset({"providers", "engines", "tasks", "templates", "locks", "launchers"})


def secret(name: str) -> bool:
    """Return whether a variable or option of this name holds a secret."""
    return bool(SECRET.search(name.replace("-", "_")))


def good(name: str) -> bool:
    """Return whether a file may have this name."""
    return bool(re.fullmatch(NAME.strip("^$"), name)) and len(name) <= MOST


def config_of(model: str) -> str:
    """Return the name of a model's config: m@0.10.2 → m."""
    return model.partition(AT)[0]


def near(word: str, known: Iterable[str]) -> str:
    """Return the known word most similar to `word`, or ""."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else ""
