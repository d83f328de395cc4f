"""The phases of one server's life: start, ready, verified, and the command that uses it.

Imports the HTTP client, so bin/serve imports this module only after its wait for a device.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchy.cluster import job_folder
from benchy.core import paths, temporary_files
from benchy.core.errors import Failure
from benchy.core.specs import ServerRecord
from benchy.display import activity
from benchy.display.messages import say
from benchy.display.progress import Step
from benchy.environments import health
from benchy.serving import engine_log, engine_variables
from benchy.serving.endpoint import Endpoint
from benchy.serving.preparation import TAG, PreparedServer
from benchy.serving.server import Server


@dataclass(frozen=True)
class Start:
    """How the engine was started.

    Attributes:
        argv: Its command line.
        variables: Its environment variables.
        time: When it was started, in UTC.
        seconds_to_ready: Seconds until it was ready.
    """

    argv: list[str]
    variables: Mapping[str, str]
    time: datetime.datetime
    seconds_to_ready: float


@dataclass(frozen=True)
class Answers:
    """The answers of a verified server.

    Attributes:
        version: Its release.
        context: Its max_model_len in tokens.
        logprobs: The log-probabilities of a sentence.
        text: The answer to a sample request, or None if it was not sent.
    """

    version: str
    context: int
    logprobs: list[float]
    text: str | None


@dataclass(frozen=True)
class Session:
    """One server from its start to the end of the command that uses it.

    Each phase can end the session:

        start    Failure: the engine cannot be started
        ready    Failure: the engine ends, another process answers, or startup_timeout is over
        verify   Failure: another release or model, no API key, no log-probabilities, or a chat
                 template without effect
        test     exit status 0. Only without a command, and the last phase then
        command  Failure: the command cannot be started
                 Died: the server dies before the command ends
                 exit status of the command, or 128 + N if signal N killed it

    Attributes:
        prepared: The server's spec, environment and arguments.
        server: The server, not yet started.
        devices: Its devices in the form of CUDA_VISIBLE_DEVICES; [] on a CPU.
        step: Progress, for other commands to see.
        joining: Further arguments of the engine, for a server over several nodes.
    """

    prepared: PreparedServer
    server: Server
    devices: Sequence[str]
    step: Step
    joining: Sequence[str] = ()

    def run(self, command: Sequence[str]) -> int:
        """Go through the phases. Return the exit status.

        command: The command line to run beside the server; if empty, test the server instead.
        """
        start = self.start()
        answers = self.verify(start, sample=not command)
        if not command:
            self.print_answers(answers)
            return 0
        with run_directory(self.prepared.spec["model"]) as folder:
            record = json.dumps(self.record(start, answers), indent=1, sort_keys=True)
            temporary_files.write(folder / "server.json", record, mode=0o600)
            return self.run_command(command, folder)

    def start(self) -> Start:
        """Start the engine and wait until it is ready. Raises Failure."""
        spec, endpoint = self.prepared.spec, self.server.endpoint
        variables = engine_variables.for_server(spec, endpoint.key, self.devices)
        begun = datetime.datetime.now(datetime.timezone.utc)
        argv = [*self.prepared.argv(spec["host"], endpoint.port), *self.joining]
        self.server.start(argv, variables)
        if os.environ.get("V") not in (None, "", "0"):
            say(TAG, shlex.join(argv))
        seconds = self.server.wait_ready(float(spec["startup_timeout"]), self.step)
        return Start(argv, variables, begun, seconds)

    def verify(self, start: Start, *, sample: bool) -> Answers:
        """Check the identity and the answers of the server. Raises Failure.

        sample: Send a sample request too. It is always sent to a server for chat.
        """
        spec = self.prepared.spec
        version, context = self.server.identity(self.prepared.expected())
        devices = f"GPU {','.join(self.devices)}" if self.devices else "cpu"
        port, seconds = self.server.endpoint.port, start.seconds_to_ready
        environment = self.prepared.environment.name
        say(TAG, f"{spec['model']}  {environment} on {devices}, port {port} (ready in {seconds} s)")
        logprobs = self.server.log_probabilities()
        text = self.server.sample_answer(spec["chat"]) if sample or spec["chat"] else None
        return Answers(version, context, logprobs, text)

    def print_answers(self, answers: Answers) -> None:
        """Print what `bin/serve MODEL --test` shows."""
        kind = "chat" if self.prepared.spec["chat"] else "completion"
        shown = " ".join(f"{number:.3f}" for number in answers.logprobs[:8])
        total = f"{len(answers.logprobs)} tokens, sum {sum(answers.logprobs):.3f}"
        print(f"release   {answers.version}")
        print(f"model     {self.prepared.served}, {answers.context} tokens")
        print(f"{kind:<10}{answers.text!r}")
        print(f"logprobs  {shown} … ({total})", flush=True)

    def record(self, start: Start, answers: Answers) -> ServerRecord:
        """Return the content of server.json, from which results record their server."""
        spec, environment = self.prepared.spec, self.prepared.environment
        files = self.prepared.files
        gpus = [int(card) if card.isdecimal() else card for card in self.devices]
        record: ServerRecord = {
            "model": spec["model"],
            "version": answers.version,
            "served_model": self.prepared.served,
            "max_model_len": answers.context,
            "max_num_seqs": self.prepared.at_once(),
            "dtype": engine_log.dtype(self.server.log.text()),
            "commit": files.commit,
            "arguments": start.argv[1:],
            "variables": engine_variables.recorded(start.variables, spec),
            "gpus": gpus or "cpu",
            "pid": self.server.pid,
            "guardian": self.server.guardian.pid,
            "started": start.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds_to_ready": {**self.server.log.times, "total": start.seconds_to_ready},
            "environment": environment.name,
            "package": spec["package"],
            "package_version": environment.json("check.json").get("version"),
            "lock_sha256": health.lock_sha256(environment.name),
            "fallback": spec["fallback"],
            "spec": spec,
        }
        if "nodes" in spec:
            record["nodes"] = spec["nodes"]["count"]
        if files.package:
            record["folder"] = files.package
        return record

    def run_command(self, command: Sequence[str], folder: Path) -> int:
        """Run the command that uses the server. Return the exit status.

        Raises Failure if the command cannot be started, and Died if the server dies before it ends.
        """
        model = self.prepared.spec["model"]
        variables = command_variables(self.server.endpoint, self.prepared, folder)
        begun = time.monotonic()
        self.step.enter(activity.SERVING)
        try:
            self.server.guardian.start("command", command, variables)
        except OSError as error:
            raise Failure(f"the command can't be started: {error}") from None
        status = self.server.watch("command", self.step)
        if status < 0:
            say(TAG, f"{model}  command killed by signal {-status}")
            return 128 - status
        if status == 0:
            say(TAG, f"{model}  done in {time.monotonic() - begun:.1f} s")
        return status


@contextmanager
def run_directory(model: str) -> Iterator[Path]:
    """Create a directory of run/ with mode 0700 and remove it at exit.

    Also removes directories of killed runs. In a launcher's job, the directory is among the node's
    own temporary files.
    """
    if os.environ.get("BENCHY_LAUNCHED"):
        with job_folder.made(model) as folder:
            yield folder
        return
    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    path = temporary_files.aside(paths.RUN / model)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        temporary_files.remove(path)


def command_variables(endpoint: Endpoint, prepared: PreparedServer, folder: Path) -> dict[str, str]:
    """Return the environment variables of COMMAND: ours, the server's, and no proxy to the server.

    BENCHY_MODEL is the model's name in benchy (that of its config). BENCHY_SERVED_MODEL is the name
    for requests.
    """
    no_proxy = [os.environ.get("NO_PROXY"), endpoint.address, "localhost"]
    hosts = ",".join(filter(None, no_proxy))
    return {
        **os.environ,
        "BENCHY_URL": endpoint.url,
        "BENCHY_KEY": endpoint.key,
        "BENCHY_MODEL": prepared.spec["model"],
        "BENCHY_SERVED_MODEL": prepared.served,
        "BENCHY_RUN": str(folder),
        "NO_PROXY": hosts,
        "no_proxy": hosts,
    }
