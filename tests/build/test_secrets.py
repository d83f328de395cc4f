"""Planted tokens and keys appear nowhere: in no file, no command line and no message."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest

from trees import MODELS, Tree, ended

PLANTED = {
    "HF_TOKEN": "hf_PlantedInTheEnvironment",
    "PIP_INDEX_URL": "https://user:PlantedInPip@127.0.0.1:9/simple",
    "UV_INDEX_PRIVATE_PASSWORD": "PlantedForAnIndex",
}
IN_A_FILE = "hf_PlantedInAProvider"
IN_A_CONFIG = "hf_PlantedInAConfig"
WORDS = ("PlantedIn", "PlantedFor")


class Watch:
    """Inspects the processes of a tree while make runs.

    Records command lines, the keys of servers, and the hub tokens of servers and harnesses.
    """

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self.keys: dict[int, str] = {}
        self.tokens: set[tuple[str, str]] = set()  # ("PROGRAM MODEL", token)

    def look(self, tree: Tree) -> None:
        for pid, words in tree.processes().items():
            self.lines.add(words)
            self.look_for_token(pid, words)
            if "-m standin_engine" in words and pid not in self.keys:
                with contextlib.suppress(OSError):
                    environ = Path(f"/proc/{pid}/environ").read_bytes()
                    found = re.search(rb"VLLM_API_KEY=([^\0]+)", environ)
                    if found:
                        self.keys[pid] = found[1].decode()

    def look_for_token(self, pid: int, words: str) -> None:
        program = re.search(r"-m (standin_engine|lm_eval)\b", words)
        model = re.search(r"acme/(\w+)", words)
        with contextlib.suppress(OSError):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            found = re.search(rb"(?:^|\0)HF_TOKEN=([^\0]+)", environ)
            if program and model and found:
                self.tokens.add((f"{program[1]} {model[1]}", found[1].decode()))


def watched(tree: Tree, watch: Watch, *words: str, **environ: str) -> str:
    """Run make results, inspect its processes until it ends, and return its output."""
    make = tree.start("-j4", "results", MODELS, *words, **PLANTED, **environ)
    while make.poll() is None:
        watch.look(tree)
    return ended(make).text


def files(tree: Tree) -> list[Path]:
    """Return all files that a run writes, without the packages that it installs."""
    tops = ("build", "logs", "results", "run", "venvs")
    found = [p for top in tops for p in (tree.root / top).rglob("*") if p.is_file()]
    return [p for p in found if "site-packages" not in p.parts]


@pytest.mark.slow
def test_secrets_appear_in_no_output_file_or_command_line(fresh: Tree) -> None:
    provider = fresh.root / "configs/providers/standin.yaml"
    provider.write_text(provider.read_text() + f"hf_token: {IN_A_FILE}\n")
    fresh.edit("models/two.yaml", "overrides: {", f"overrides: {{hf_token: {IN_A_CONFIG}, ")
    watch = Watch()
    before = os.umask(0o022)  # a common umask, which makes no file private
    try:
        said = watched(fresh, watch, CPU_SLOTS="2", STANDIN_HARNESS_SECONDS="0.5", V="1")
        for title in ("one/alpha", "two/alpha"):
            fresh.file(title).unlink()
        said += watched(fresh, watch, STANDIN_FAIL="gated")  # error messages
        fresh.edit("models/one.yaml", "overrides: {}", "overrides: {vllm_version: '4.0.0'}")
        said += watched(fresh, watch)
    finally:
        os.umask(before)
    for program in ("standin_engine", "lm_eval"):  # the model's token, not the caller's
        for model, token in (("one", IN_A_FILE), ("two", IN_A_CONFIG)):
            seen = {said for name, said in watch.tokens if name == f"{program} {model}"}
            assert seen == {token}, (program, model)
    # Forked children have the server's command line and key until they exec: count servers only.
    starts = [e["pid"] for e in fresh.events() if e["event"] == "start"]
    keys = [watch.keys[pid] for pid in starts if pid in watch.keys]
    assert len(keys) >= 4 and len(set(keys)) == len(keys), "a key of its own for each server"
    secret = (*WORDS, *keys)
    assert [word for word in secret if word in said] == []
    assert [line for line in watch.lines if any(word in line for word in secret)] == []
    written = files(fresh)
    assert {"results.json", "server.json", "lock"} - {p.name for p in written} <= {"server.json"}
    telling = []
    for path in written:
        content = path.read_bytes()
        telling += [(path, word) for word in secret if word.encode() in content]
    assert telling == []
    open_ = [
        path
        for top in ("logs", "run")
        for path in (fresh.root / top).rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077
    ]
    assert open_ == [], "logs and run files are for their owner"


def test_secrets_that_would_be_stored_are_rejected(tree: Tree) -> None:
    """They are rejected before any of them is written to a file."""
    tree.edit(
        "models/one.yaml",
        "  overrides: {}",
        "  overrides:\n    engine_env:\n      TOKENIZERS_PARALLELISM: 'false'\n"
        "      HF_TOKEN: hf_PlantedInAConfig\n      MY_API_KEY: hf_PlantedInAConfig",
    )
    tree.edit("models/two.yaml", "overrides: {", "overrides: {api_key: hf_PlantedInAConfig, ")
    done = tree.results()
    assert done.status == 2, done.text
    for place in (
        "models/one.yaml:8: vllm.overrides.engine_env.HF_TOKEN: ",
        "models/one.yaml:9: vllm.overrides.engine_env.MY_API_KEY: ",
        "models/two.yaml:5: vllm.overrides.api_key: ",
    ):
        assert place in done.text, done.text
    assert "TOKENIZERS" not in done.text
    for name in ("hf_token", "api-key"):
        knob = tree.make("eval", "CONFIG=configs/models/three.yaml", f"SET={name}=hf_PlantedInSet")
        assert knob.status == 2 and f"SET: {name} is a secret" in knob.text, knob.text
    assert "Planted" not in done.text
    telling = [path for path in files(tree) if b"Planted" in path.read_bytes()]
    assert telling == []


def test_server_that_others_can_reach_is_reported(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {host: 0.0.0.0}")
    done = tree.results()
    assert done.status == 0, done.text
    assert done.text.count("listens on 0.0.0.0: other machines can connect") == 1
    # Another address does not make the other task stale.
    assert tree.ran() == ["one/alpha"]


def test_trust_remote_code_is_off_unless_a_config_sets_it_and_is_recorded(tree: Tree) -> None:
    assert "trust_remote_code" not in tree.result("one/alpha")["options"]
    assert not any("trust" in word for word in tree.result("one/alpha")["arguments"])
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {trust_remote_code: true}")
    assert tree.results().status == 0
    assert tree.result("one/alpha")["options"]["trust_remote_code"] is True
    assert "--trust-remote-code" in tree.result("one/alpha")["arguments"]
