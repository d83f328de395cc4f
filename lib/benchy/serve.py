"""bin/serve: one model's server, a command beside it, and nothing left behind.

    bin/serve MODEL -- COMMAND…     COMMAND finds the server in BENCHY_URL, BENCHY_KEY, BENCHY_MODEL
    bin/serve MODEL --test          start it, ask it, show the answers, stop it

Reads build/specs/server/MODEL.json and the environment that it names; writes
logs/serve/MODEL.log (the one before stays as .log.1) and run/MODEL-PID/server.json. Status:
COMMAND's; 1 if the server can't be had or dies; 2 for a mistake; 128 + the signal's number.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchy import engine, gpu, guard, lease, paths
from benchy.errors import ConfigError, Failure, Mistake, UsageError, say

Spec = dict[str, Any]
TAG = "SERVE"
SECRET = ("VLLM_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
# benchy's own Python, make and the caller's virtual environment must not reach into the engine's.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
# Variables of the caller that can change how an engine answers: noted in server.json.
NOTED = ("VLLM_", "CUDA_", "TORCH_", "TORCHINDUCTOR_", "NCCL_", "OMP_", "HF_", "TRANSFORMERS_")


class Stopped(BaseException):
    """A signal asks us to stop. No Exception, so that nobody handles it as one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Signals:
    """The first INT, TERM or HUP raises Stopped, while a guardian finishes only after that; a
    second one makes the guardian KILL at once."""

    def __init__(self) -> None:
        self.finishing: guard.Guard | None = None
        self.came = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first, self.came = not self.came, self.came or signum
        if self.finishing:
            self.finishing.impatient = not first
        elif first:
            raise Stopped(signum)

    def install(self) -> None:
        """Take the signals. HUP stays ignored under nohup."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        for signum in guard.STOPS:
            if not (nohup and signum == signal.SIGHUP):
                signal.signal(signum, self)
        # Killing make must end us; a shell that ends after `nohup bin/serve … &` must not.
        if "MAKELEVEL" in os.environ or not nohup:
            guard.die_with_parent(signal.SIGTERM)


@contextmanager
def guarded(signals: Signals, leases: Sequence[int] = ()) -> Iterator[guard.Guard]:
    """A guardian that is finished at the end, whatever comes."""
    with guard.Guard(leases) as guardian:
        try:
            yield guardian
        finally:
            before, signals.finishing = signals.came, guardian
            guardian.finish()
            signals.finishing = None
            if signals.came and not before:
                raise Stopped(signals.came)


@dataclass(frozen=True)
class Place:
    """The environment of a server. folder: relative to the root."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str((self.folder / "bin/python").absolute())

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file in it, {} if there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


def read_spec(model: str) -> Spec:
    """The model's server spec. Raises UsageError."""
    folder = paths.server_spec("x").parent
    if model != Path(model).name or not paths.server_spec(model).is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        mend = f"known: {', '.join(known[:12])}" if known else "run `make plan` first"
        raise UsageError(f"no model is named {model!r}", mend)
    spec: Spec = json.loads(paths.server_spec(model).read_text(encoding="utf-8"))
    return spec


def refuse_unfit(spec: Spec) -> None:
    """Raises Failure if this machine can't run the server, naming models that it can run."""
    reason = gpu.fits(spec)
    if not reason:
        return
    able = []
    for path in sorted(paths.server_spec("x").parent.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            other = json.loads(path.read_text(encoding="utf-8"))
            if not gpu.fits(other):
                able.append(other["model"])
    mend = f"here can run: {', '.join(able[:8])}" if able else "see configs/templates for a CPU"
    raise Failure(f"{spec['model']} {reason}", mend)


def run_quietly(signals: Signals, name: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a helper to its end under a guardian; its status."""
    with guarded(signals) as guardian:
        try:
            guardian.start(name, argv, env)
        except OSError as error:
            raise Failure(f"{name} can't be started: {error}") from None
        while name not in guardian.wait(60):
            pass
        return guardian.ended[name]


def ready_environment(spec: Spec, signals: Signals) -> Place:
    """The environment that serves spec, built if it isn't there. Raises Failure."""
    name = spec["environment"]
    place = Place(name, paths.env_dir(name))
    if not paths.stamp(name).exists():
        status = run_quietly(signals, "bin/venv", ["bin/venv", "create", name], os.environ)
        if status or not paths.stamp(name).exists():
            raise Failure(
                f"{spec['model']}: its environment {name} could not be built",
                "mend the cause and start again; `make eval` would fall back to another release",
                paths.LOGS / "venv" / f"{name}.log",
            )
    return place


def engine_arguments(spec: Spec, place: Place) -> list[str]:
    """The options as arguments of the release in place. Raises ConfigError."""
    version = spec.get("version") or place.json("check.json").get("version", "")
    flags = place.json("flags.json")
    if not flags:
        raise Failure(
            f"{place.folder}/flags.json is missing or broken",
            f"build the environment anew: rm -r {place.folder} && bin/venv create {place.name}",
        )
    release = engine.Release(f"{spec['package']} {version}".strip(), flags)
    words = engine.arguments(
        spec["options"],
        release,
        defaults=spec.get("defaults") or {},
        source=spec["source"],
        origin=spec.get("origin") or {},
    )
    if spec.get("revision"):
        words.append(f"--revision={spec['revision']}")
    if spec.get("trust_remote_code") and "--trust-remote-code" not in words:
        words.append("--trust-remote-code")
    return words


def ready_model(spec: Spec, place: Place, signals: Signals) -> str:
    """What is served: a directory, made if it is ours to make, or a name on the hub."""
    path = spec.get("path")
    if not path:
        return str(spec["name"])
    if spec.get("make") == "tiny" and not Path(path, "config.json").exists():
        tiny = str(Path(__file__).with_name("tiny.py"))
        if run_quietly(signals, "tiny.py", [place.python, "-I", tiny, path], os.environ):
            raise Failure(f"{spec['model']}: {path} could not be made")
    if not Path(path).is_dir():
        source = spec["source"]
        raise ConfigError(
            [Mistake(source, 0, "model.name", f"there is no directory {path}", "write its path")]
        )
    return str(path)


def token(spec: Spec) -> str:
    """The hub's token: the provider's, else the caller's; "" if there is none."""
    source = spec.get("token_from")
    if source:
        import yaml  # noqa: PLC0415 - a waiter stays small without it

        try:
            held = yaml.safe_load(Path(source).read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise Failure(f"{source} can't be read for its hf_token: {error}") from None
        if held.get("hf_token"):
            return str(held["hf_token"])
    return os.environ.get("HF_TOKEN", "")


def environment(spec: Spec, key: str, devices: Sequence[str]) -> dict[str, str]:
    """The engine's environment variables. devices: what it may use; [] for a CPU."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env = {name: value for name, value in env.items() if not name.startswith("BENCHY_")}
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if loopback_host(spec):
        # Its processes talk to each other over this address; unset, they listen on the network.
        env.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if spec.get("hf_cache"):
        env["HF_HUB_CACHE"] = str(Path(spec["hf_cache"]).expanduser().absolute())
    env.update({name: str(value) for name, value in (spec.get("variables") or {}).items()})
    if spec["device"] == "gpu":
        # Indices as nvidia-smi counts: vLLM before 0.9 can't read UUIDs here.
        env.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(devices))
    if hub := token(spec):
        env["HF_TOKEN"] = hub
    env["VLLM_API_KEY"] = key
    return env


def loopback_host(spec: Spec) -> bool:
    """Does the server stay on this machine?"""
    from benchy import server  # noqa: PLC0415

    return server.loopback(spec["host"])


def take(spec: Spec) -> tuple[lease.Lease, list[str]]:
    """Wait for the devices: the lease, and the devices as CUDA_VISIBLE_DEVICES names them."""
    model = spec["model"]
    owner = {"model": model, "pid": os.getpid(), "root": str(paths.ROOT)}

    def waiting(words: str) -> None:
        say("WAIT", f"{model}: {words}")

    if spec["device"] != "gpu":
        text = os.environ.get("CPU_SLOTS") or "1"
        if not text.isdecimal() or not int(text):
            raise UsageError(f"CPU_SLOTS={text} is no number of slots", "write 1 or more")
        slots = tuple(f"cpu-{number}" for number in range(int(text)))
        desk = lease.Desk(lease.directory())
        return desk.acquire(lease.Want(1, slots, owner), waiting, parent_check()), []
    policy = gpu.busy_policy(os.environ)
    cards = gpu.pool(spec)
    if policy == "skip":
        taken = gpu.strangers(cards)
        cards = [card for card in cards if card.uuid not in taken]
        if len(cards) < spec["gpus"]:
            raise Failure(f"{model} needs {spec['gpus']} GPUs, and strangers use the others")
    index = {f"gpu-{card.uuid}": str(card.index) for card in cards}

    def strangers() -> dict[str, str]:
        if policy != "wait":
            return {}
        return {f"gpu-{uuid}": who for uuid, who in gpu.strangers(gpu.gpus()).items()}

    want = lease.Want(spec["gpus"], tuple(index), owner)
    held = lease.Desk(lease.directory(), strangers).acquire(want, waiting, parent_check())
    return held, [index[device] for device in held.devices]


def parent_check() -> Any:
    """A function that raises Stopped once the process that started us has ended."""
    before = os.getppid()

    def check() -> None:
        if os.getppid() != before and "MAKELEVEL" in os.environ:
            raise Stopped(signal.SIGTERM)

    return check


def new_log(model: str) -> Path:
    """A fresh logs/serve/MODEL.log, mode 0600; the one before is kept as .log.1."""
    path = paths.LOGS / "serve" / f"{model}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_suffix(".log.1"))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    return path


def noted(env: Mapping[str, str], spec: Spec) -> dict[str, str]:
    """The variables that go into server.json: those set for it, and inherited ones that matter."""
    own = set(spec.get("variables") or {})
    return {
        name: value
        for name, value in sorted(env.items())
        if (name in own or name.startswith(NOTED))
        and not any(word in name.upper() for word in (*SECRET, "TOKEN", "KEY", "SECRET"))
    }


@contextmanager
def run_directory(model: str) -> Iterator[Path]:
    """run/MODEL-PID, mode 0700; gone afterwards, and so are those of runs that were killed."""
    for old in paths.RUN.glob(f"{model}-*"):
        pid = old.name.rpartition("-")[2]
        if old.name == f"{model}-{pid}" and pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    path = paths.RUN / f"{model}-{os.getpid()}"
    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Plan:
    """All that is known before a device is taken."""

    spec: Spec
    place: Place
    model: str
    arguments: list[str]

    @property
    def served(self) -> str:
        return str(self.spec["name"])

    def argv(self, host: str, port: int) -> list[str]:
        """The engine's whole command line."""
        fixed = ["--model", self.model, "--served-model-name", self.served]
        where = ["--host", host, "--port", str(port)]
        return [self.place.python, *self.spec["command"], *fixed, *where, *self.arguments]

    def expected(self) -> str | None:
        """The release that has to answer."""
        return self.spec.get("version") or self.place.json("check.json").get("version")


def prepare(model: str, signals: Signals) -> Plan:
    """Everything that can be wrong before a GPU is taken. Raises ConfigError, Failure."""
    spec = read_spec(model)
    refuse_unfit(spec)
    place = ready_environment(spec, signals)
    arguments = engine_arguments(spec, place)
    return Plan(spec, place, ready_model(spec, place, signals), arguments)


def serve(plan: Plan, command: Sequence[str], signals: Signals) -> int:
    """Take the devices, start the server, run command (none: test it), stop everything."""
    spec = plan.spec
    held, devices = take(spec)
    from benchy import server as servers  # noqa: PLC0415 - after the wait: a waiter stays small

    if not servers.loopback(spec["host"]):
        say("WARNING", f"{spec['model']} listens on {spec['host']}: others can reach it")
    try:
        for attempt in range(servers.RETRY_PORT):
            port = servers.free_port(spec["host"], spec.get("port"))
            end = servers.Endpoint(spec["host"], port, secrets.token_urlsafe(32))
            with guarded(signals, held.descriptors) as guardian:
                one = servers.Server(
                    end, new_log(spec["model"]), guardian, spec["model"], plan.served
                )
                try:
                    return attend(plan, one, devices, command)
                except Failure as failure:
                    again = not spec.get("port") and "port is in use" in failure.what
                    if not again or attempt == servers.RETRY_PORT - 1:
                        raise
        raise AssertionError("the last attempt returns or raises")
    finally:
        held.release()


def attend(plan: Plan, one: Any, devices: Sequence[str], command: Sequence[str]) -> int:
    """From the start of one server to the end of command. Returns command's status."""
    spec = plan.spec
    env = environment(spec, one.endpoint.key, devices)
    started = datetime.datetime.now(datetime.timezone.utc)
    argv = plan.argv(spec["host"], one.endpoint.port)
    one.start(argv, env)
    if os.environ.get("V") not in (None, "", "0"):
        say(TAG, shlex.join(argv))
    ready = one.wait_ready(float(spec["startup_timeout"]))
    version, length = one.identity(plan.expected())
    where = f"GPU {','.join(devices)}" if devices else "cpu"
    place = plan.place.name
    say(TAG, f"{spec['model']}  {place} on {where}, port {one.endpoint.port} (ready in {ready} s)")
    if not command or not spec["chat"]:
        numbers = one.scored()
    if not command or spec["chat"]:
        answer = one.said(spec["chat"])
    if not command:
        print(f"release   {version}\nmodel     {plan.served}, {length} tokens")
        print(f"{'chat' if spec['chat'] else 'completion':<10}{answer!r}")
        shown = " ".join(f"{number:.3f}" for number in numbers[:8])
        print(f"logprobs  {shown} … ({len(numbers)} tokens, sum {sum(numbers):.3f})", flush=True)
        return 0
    with run_directory(spec["model"]) as run:
        told = {
            "model": spec["model"],
            "version": version,
            "served_model": plan.served,
            "max_model_len": length,
            "arguments": argv[1:],
            "variables": noted(env, spec),
            "gpus": [int(each) for each in devices if each.isdecimal()] if devices else "cpu",
            "pid": one.pid,
            "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds_to_ready": {**one.log.times, "total": ready},
            "environment": place,
            "package": spec["package"],
            "package_version": plan.place.json("check.json").get("version"),
            "lock_sha256": lock_sha256(place),
            "fallback": spec.get("fallback"),
            "spec": spec,
        }
        note = run / "server.json"
        descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1, sort_keys=True)
        begun = time.monotonic()
        try:
            one.guardian.start("command", command, command_environment(one.endpoint, spec, run))
        except OSError as error:
            raise Failure(f"the command can't be started: {error}") from None
        status = int(one.watch("command"))
        if status < 0:
            say(TAG, f"{spec['model']}  command killed by signal {-status}")
            return 128 - status
        if status == 0:
            say(TAG, f"{spec['model']}  done in {time.monotonic() - begun:.1f} s")
        return status


def lock_sha256(name: str) -> str | None:
    """The hash of the lock that the environment was built from."""
    from benchy import provenance  # noqa: PLC0415

    return provenance.lock_sha256(name)


def command_environment(end: Any, spec: Spec, run: Path) -> dict[str, str]:
    """The variables of COMMAND: ours, where the server is, and no proxy on the way to it."""
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), end.address, "localhost"]))
    return {
        **os.environ,
        "BENCHY_URL": end.url,
        "BENCHY_KEY": end.key,
        "BENCHY_MODEL": spec["model"],
        "BENCHY_RUN": str(run),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def main(argv: list[str]) -> int:
    """bin/serve."""
    at = argv.index("--") if "--" in argv else len(argv)
    command = argv[at + 1 :]
    parser = argparse.ArgumentParser(
        prog="bin/serve",
        usage="bin/serve MODEL -- COMMAND…\n       bin/serve MODEL --test",
        description="Start a model's server, run COMMAND beside it, stop everything. COMMAND finds "
        "it in BENCHY_URL, BENCHY_KEY, BENCHY_MODEL and BENCHY_RUN/server.json.",
        epilog="CPU_SLOTS=n: servers at once on the CPU (1). GPU_BUSY=wait|skip|ignore: what to do "
        "about a GPU that a stranger uses. CUDA_VISIBLE_DEVICES: the GPUs to choose from.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of `make plan`")
    parser.add_argument("--test", action="store_true", help="ask the server and show its answers")
    options = parser.parse_args(argv[:at])
    if options.test == bool(command):
        raise UsageError("bin/serve takes either -- COMMAND or --test", "see bin/serve -h")
    signals = Signals()
    signals.install()
    try:
        return serve(prepare(options.model, signals), command, signals)
    except Stopped as stopped:
        with contextlib.suppress(OSError):
            say(TAG, f"{options.model}  stopped ({signal.Signals(stopped.signum).name})")
        return 128 + stopped.signum
    except guard.Lost as lost:
        raise Failure(
            f"{options.model}: {lost}; everything it had started was ended", "start again"
        ) from None
    finally:
        sys.stdout.flush()
