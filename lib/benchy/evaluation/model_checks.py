"""Checks a model's files before a device is taken.

Finds a directory without a model or with only an adapter, a missing tokenizer, and a chat template
that is missing or broken. Reads a local directory, or the hub's files once bin/fetch has downloaded
them. template_facts.py loads the chat template in the engine's environment; its answer is cached as
those of harness_questions.py are.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path

from benchy.core import hashing, paths
from benchy.core.errors import Mistake
from benchy.core.specs import ServerSpec, read_fetched
from benchy.environments import health
from benchy.evaluation import environment_questions, provenance
from benchy.plan import origins
from benchy.process import environment_variables
from benchy.serving import preparation

SCRIPT = paths.SCRIPTS / "template_facts.py"
# A model's directory has one of these: Hugging Face's, Mistral's, llama.cpp's.
MODELS = ("config.json", "params.json", "*.gguf")
MODES = (
    None,
    "auto",
    "hf",
    "slow",
)  # values of tokenizer_mode with which transformers loads the tokenizer
OWN_TOKENIZERS = ("*tekken*", "tokenizer.model.v*", "*.gguf", "tok*.tok.json")


def mistakes(server: ServerSpec, env: Mapping[str, str] | None) -> list[Mistake]:
    """Return everything wrong with a model's files.

    `server` is its server spec. `env` are the variables for a script in the engine's environment;
    None uses only cached answers.
    """
    folder = files_of(server)
    if folder is None or server["make"]:
        return []
    problems = _folder(server, folder)
    if not problems and server["chat"]:
        problems = _chat(server, folder, env)
    return problems


def passed(server: ServerSpec) -> bool:
    """Return whether a model's files have passed these checks before. Runs nothing."""
    folder = files_of(server)
    if mistakes(server, None):
        return False
    if folder is None or not server["chat"] or server["make"]:
        return True
    if not _has_template_to_check(server, folder):
        return True
    return _question(server, folder).path.is_file()


def files_of(server: ServerSpec) -> Path | None:
    """Return the directory of a model's files, or None if they are not on this machine."""
    if server["path"]:
        path = Path(server["path"])
        return path if path.is_dir() else None
    try:
        note = read_fetched(server["model"])
        known = preparation.fetched(server) != preparation.NOT_FETCHED
        folder = Path(note["folder"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder and folder.is_dir() else None


def _folder(server: ServerSpec, folder: Path) -> list[Mistake]:
    if any(any(folder.glob(name)) for name in MODELS):
        return []
    if server["options"].get("hf_config_path"):
        return []
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        what = f"{folder} contains no model: no {', '.join(MODELS)}"
        return [_wrong(server, "model.name", what, "write the directory of a complete model")]
    try:
        base = str(json.loads(adapter.read_bytes()).get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        base = ""
    onto = f"its base model {base}" if base else "its base model"
    what = f"{folder} contains only an adapter (adapter_config.json), not a model"
    return [
        _wrong(server, "model.name", what, f"merge it into {onto}, and write the merged directory")
    ]


def _chat(server: ServerSpec, folder: Path, env: Mapping[str, str] | None) -> list[Mistake]:
    """Return what is wrong for a chat endpoint, which needs a tokenizer and a chat template."""
    options = server["options"]
    if options.get("tokenizer_mode") not in MODES or options.get("skip_tokenizer_init"):
        return []
    tokenizer = options.get("tokenizer")
    if not tokenizer and not environment_questions.has_tokenizer(folder):
        what = f"{folder} has no tokenizer"
        return [_wrong(server, "model.name", what, "set tokenizer in its overrides")]
    if not _has_template_to_check(server, folder):
        return []
    if env is not None:
        env = environment_variables.for_engine(env)
    environment = server["environment"]
    python = preparation.EngineEnvironment(environment, paths.env_dir(environment)).python
    facts = environment_questions.ask(python, SCRIPT, _question(server, folder), env)
    given = options.get("chat_template")
    key = "chat_template" if given else "use_chat_completions"
    if facts.get("template") == "broken":
        what = f"its chat template can't be read: {facts['why']}"
        return [_wrong(server, key, what, "write chat_template: PATH of a valid template")]
    separate = any((folder / n).is_file() for n in ("chat_template.json", "chat_template.jinja"))
    if facts.get("template") == "none" and not separate:
        hint = "write chat_template: PATH in its overrides, or remove use_chat_completions"
        return [_wrong(server, key, f"{tokenizer or folder} has no chat template", hint)]
    return []


def _has_template_to_check(server: ServerSpec, folder: Path) -> bool:
    """Return whether to run a script about the chat template in the engine's environment.

    Not for tokenizers that transformers does not load, and not before the environment is built.
    """
    if server["options"].get("tokenizer_mode") not in MODES:
        return False
    own = any(any(folder.glob(name)) for name in OWN_TOKENIZERS)
    return not own and health.intact(server["environment"])


def _question(server: ServerSpec, folder: Path) -> environment_questions.Question:
    options, environment = server["options"], server["environment"]
    tokenizer = str(options.get("tokenizer") or folder)
    subject = {
        "name": str(folder),
        "tokenizer": tokenizer,
        "revision": options.get("tokenizer_revision"),
        "trust_remote_code": server["trust_remote_code"],
        "text": template(server)[0],
    }
    files = [environment_questions.small_files(Path(path)) for path in (folder, tokenizer)]
    made_from = [
        hashing.sha256(SCRIPT), environment, *provenance.made_by(environment), subject, files,
    ]  # fmt: skip
    path = environment_questions.FOLDER / f"{hashing.digest(made_from)[:32]}.json"
    return environment_questions.Question("template", subject, path)


def template(server: ServerSpec) -> tuple[str | None, str]:
    """Return the server's chat template (None for the model's own) and its source.

    As in vLLM, the option chat_template is a file or the template itself.
    """
    named = server["options"].get("chat_template")
    if not named:
        return None, "the model's"
    path = paths.home(str(named))
    if path.is_file():
        return path.read_text(encoding="utf-8"), str(named)
    return codecs.decode(str(named), "unicode_escape"), "the option chat_template"


def _wrong(server: ServerSpec, key: str, what: str, hint: str) -> Mistake:
    """Return a mistake in a model's config. `key` is a key of the config or an option."""
    field = {"use_chat_completions": "chat", "chat_template": "options.chat_template"}.get(key, key)
    where = origins.place(server["where"], field)
    file, _, line = where.partition(", ")[0].rpartition(":")
    shown = f"vllm.overrides.{key}" if key == "chat_template" else key
    if not line.isdecimal():
        return Mistake(server["source"], 0, shown, what, hint)
    return Mistake(file, int(line), shown, what, hint)
