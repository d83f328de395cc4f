"""Tokens and keys that are planted come out nowhere: no file, no command line, no message."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

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
    """Looks at the processes of a tree while a make runs: command lines, keys of servers, and the
    hub's tokens that servers and harnesses of models have."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self.keys: dict[int, str] = {}
        self.tokens: set[tuple[str, str]] = set()  # (model's name, token) of a server or a harness

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
    """What a make says, its processes having been looked at all the while."""
    make = tree.start("-j4", "results", MODELS, *words, **PLANTED, **environ)
    while make.poll() is None:
        watch.look(tree)
    return ended(make).text


def files(tree: Tree) -> list[Path]:
    """All that a run writes: everything but what it is configured with and what it runs from."""
    tops = ("build", "logs", "results", "run", "venvs")
    found = [p for top in tops for p in (tree.root / top).rglob("*") if p.is_file()]
    return [p for p in found if "site-packages" not in p.parts]


def test_no_secret_comes_out(fresh: Tree) -> None:
    provider = fresh.root / "configs/providers/standin.yaml"
    provider.write_text(provider.read_text() + f"hf_token: {IN_A_FILE}\n")
    fresh.edit("models/two.yaml", "overrides: {", f"overrides: {{hf_token: {IN_A_CONFIG}, ")
    watch = Watch()
    before = os.umask(0o022)  # a usual one: what is private is made so, not left so
    try:
        said = watched(fresh, watch, CPU_SLOTS="2", STANDIN_HARNESS_SECONDS="0.5", V="1")
        for title in ("one/alpha", "two/alpha"):
            fresh.file(title).unlink()
        said += watched(fresh, watch, STANDIN_FAIL="gated")  # and what failures tell
        fresh.edit("models/one.yaml", "overrides: {}", "overrides: {vllm_version: '4.0.0'}")
        said += watched(fresh, watch)
    finally:
        os.umask(before)
    for program in ("standin_engine", "lm_eval"):  # each has its own, and the caller's has not
        for model, token in (("one", IN_A_FILE), ("two", IN_A_CONFIG)):
            seen = {said for name, said in watch.tokens if name == f"{program} {model}"}
            assert seen == {token}, (program, model)
    # A server's children are seen with its key too, before they are programs of their own.
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


def test_secrets_where_they_would_be_kept_are_refused(tree: Tree) -> None:
    """Before anything of them is written."""
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


def test_who_else_can_reach_a_server_is_said(tree: Tree) -> None:
    tree.file("one/alpha").unlink()
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {host: 0.0.0.0}")
    done = tree.results()
    assert done.status == 0, done.text
    assert done.text.count("listens on 0.0.0.0: others can reach it") == 1
    # An address is no reason to run the other task again.
    assert tree.ran() == ["one/alpha"]


def test_trust_is_given_by_the_config_alone_and_recorded(tree: Tree) -> None:
    assert "trust_remote_code" not in tree.result("one/alpha")["options"]
    assert not any("trust" in word for word in tree.result("one/alpha")["arguments"])
    tree.edit("models/one.yaml", "overrides: {}", "overrides: {trust_remote_code: true}")
    assert tree.results().status == 0
    assert tree.result("one/alpha")["options"]["trust_remote_code"] is True
    assert "--trust-remote-code" in tree.result("one/alpha")["arguments"]
