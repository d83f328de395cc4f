"""Runs lm-evaluation-harness with corrections to its API client, and records what it does.

    ENV/bin/python lib/benchy/scripts/harness_wrapper.py SETTINGS.json -m lm_eval ARGUMENT…

Runs in the harness's own environment and imports nothing of benchy. SETTINGS.json: {"facts": path
of the file to append to, "gen_kwargs": those of benchy's task file, "request_fields": the field
names that this server accepts, null if not known, "server": [address, port], "guardian": pid}. A
connection to that server is used only after a check that a process under that guardian answers
(peer_check.py), in any release of the harness.

Facts are JSON lines, written one at a time, so that those of an interrupted run survive, as its
cache of answers does:

    {"kind": "client"}                                the corrections below are active
    {"kind": "truncated", "task", "doc", "request"}   the left end of a prompt was cut off
    {"kind": "null", "task", "doc"}                   the server gave no text
    {"kind": "blank", "task", "doc"}                  the text is only white space
    {"kind": "examples", "task"}                      its few-shot examples are observed
    {"kind": "leaked", "task", "doc"}                 a document is one of its own examples; doc is
                                                      its hash, as in the samples file
    {"kind": "sent", "gen_kwargs", "payload", …}      the first request with these arguments,
                                                      without its prompt; "head" and "tail" are the
                                                      first and last token ids of the prompt
    {"kind": "refused", "task", "what", "hint"}       the task is not evaluated; exit status REFUSED

Corrections, for lm_eval 0.4.12 and 0.4.13 (lm_eval/models/api_models.py, openai_completions.py,
api/model.py). A release with other code there runs unchanged and reports no facts.

- Generation arguments: aliases are converted to the harness's own names, and do_sample: false means
  temperature 0, as in the harness's in-process backends (models/utils.py, normalize_gen_kwargs).
  Arguments that neither the harness nor the server accepts are refused instead of dropped.
- All stop sequences are sent. For chat, the harness drops those after the fourth.
- For chat, an answer that gen_prefix begins is continued (continue_final_message). The harness lets
  the model begin a new turn.
- Special tokens: an end-of-sequence token that the tokenizer appends is removed, since it would
  separate the prompt from the answer. The server's tokenizer (tokenizer_backend: remote) adds the
  beginning-of-sequence token. Text for perplexity is encoded without special tokens, since the
  harness itself adds one in front.
- Windows of a perplexity task have no key in the cache of answers and are not stored in it.
- A choice that is longer than the context is scored in windows, as in perplexity tasks.
- A prompt and its answer may fill the context to the last token.
- Malformed answers are errors, which the harness retries and then fails with. An answer must hold
  one choice for each prompt, with a text or a log-probability for each token. The harness would sum
  only the log-probabilities that are present, and choose the likeliest even of values that are not
  numbers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from benchy.scripts.harness_arguments import REFUSED, TaskRefused
    from benchy.scripts.harness_clients import install
    from benchy.scripts.harness_observations import FactsFile
else:  # in the harness's environment, where benchy is not a package
    from harness_arguments import REFUSED, TaskRefused
    from harness_clients import install
    from harness_observations import FactsFile


def watch_server(settings: dict[str, Any]) -> None:
    """Check each connection to the server before it is used."""
    rooms = Path(__file__).parents[1]
    guard = _file(rooms / "process" / "guardian.py")
    peer = _file(rooms / "serving" / "peer_check.py")
    pid = settings["guardian"]
    sockets = _file(rooms / "serving" / "watched_sockets.py")
    sockets.watch(peer, *settings["server"], peer.OwnProcesses(lambda: guard.descendants(pid)))


def _file(path: Path) -> Any:
    """Load a file of benchy as a module, under a unique name."""
    spec = importlib.util.spec_from_file_location(f"_benchy_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(argv: list[str]) -> int:
    settings = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    watch_server(settings)
    sys.path[0] = ""  # as for `python -m lm_eval`; hides benchy's own modules
    sys.argv = ["lm_eval", *argv[3:]]  # drop "-m lm_eval", which is there for people who look at ps
    facts = FactsFile(settings["facts"])
    try:
        install(facts, settings["gen_kwargs"], settings["request_fields"])
    except (ImportError, AttributeError) as error:
        print(f"benchy: this harness runs unobserved: {error}", file=sys.stderr)
    try:
        runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
    except TaskRefused as refused:
        facts.write(kind="refused", task=refused.task, what=refused.what, hint=refused.hint)
        print(f"benchy: refused: {refused.what}", file=sys.stderr, flush=True)
        os._exit(REFUSED)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
