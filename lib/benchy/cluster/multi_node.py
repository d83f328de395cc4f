"""Runs a server over several nodes of one job, with the engine's own support for that.

Every node runs bin/serve. The first node starts the server and writes its address to a file that
all nodes see. The others start the engine's part for their node, join the server, and end when the
file is removed. The file is run/nodes/MODEL-TOKEN.json with {"address", "port"}; the process that
started the job chooses its name (launcher.py).

Each look opens the file again: NFS asks its server about a file on open, and may otherwise use
attributes that are up to a minute old. MODEL-TOKEN.end holds the status of the node that ended, or
failed, first.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import temporary_files
from benchy.core.errors import ConfigError, Failure, Mistake
from benchy.core.specs import Nodes, ServerSpec
from benchy.engines import option_check

MEETING, RANK = (
    "BENCHY_MEETING",
    "BENCHY_RANK",
)  # set in a job: the file; the name of the rank variable
LOOK = 0.5  # seconds between looks at the file


@dataclass(frozen=True)
class Node:
    """One node of a job with several. `rank` counts from 0, the first node."""

    rank: int
    meeting: Path

    @contextmanager
    def meet(self, port: int) -> Iterator[str]:
        """Publish this node as the first one, and yield its address. Removes the file at exit."""
        address = own_address()
        self.meeting.parent.mkdir(parents=True, exist_ok=True)
        temporary_files.write(self.meeting, json.dumps({"address": address, "port": port}))
        try:
            yield address
        finally:
            self.meeting.unlink(missing_ok=True)

    def record(self, status: int) -> int:
        """Record the exit status of this node, and return it.

        A launcher's own status of several nodes is useless, because it ends all nodes once one
        fails. So only the first recorded status counts, and a node that ends because the first one
        did records none.
        """
        if status or not self.rank:
            with contextlib.suppress(OSError):
                self.meeting.parent.mkdir(parents=True, exist_ok=True)
                with _end(self.meeting).open("x") as file:
                    file.write(f"{status}\n")
        return status

    def first(self) -> tuple[str, int] | None:
        """Return address and port of the first node, or None before its start and after its end."""
        try:
            place = json.loads(self.meeting.read_text())
        except (OSError, ValueError):
            return None
        return str(place["address"]), int(place["port"])

    def find(self, seconds: float) -> tuple[str, int]:
        """Wait for the first node and return its address and port.

        Raises Failure after `seconds`.
        """
        end = time.monotonic() + seconds
        while not (address := self.first()):
            if time.monotonic() > end:
                raise Failure(
                    f"node {self.rank} of the job found no first node within {seconds:g} s",
                    f"is {self.meeting.parent} on a file system of all nodes?",
                )
            time.sleep(LOOK)
        return address

    def arguments(self, over: Nodes, address: str, port: int) -> list[str]:
        """Return the engine's arguments for joining the server.

        `over` is `nodes` of the server spec; `address` and `port` are those of the first node.
        """
        known = {"nodes": over["count"], "rank": self.rank, "address": address, "port": port}
        return words(over["words"], known)

    def over(self, seconds: float) -> bool:
        """Return whether the server of the first node ends within `seconds`."""
        end = time.monotonic() + seconds
        while self.first():
            if time.monotonic() > end:
                return False
            time.sleep(LOOK)
        return True


def forget(environment: Mapping[str, str]) -> None:
    """Remove the files of a job that has ended.

    These are the recorded status, and the address file if the first node was killed. `environment`
    is that of the job.
    """
    if meeting := environment.get(MEETING):
        for path in (Path(meeting), _end(Path(meeting))):
            path.unlink(missing_ok=True)


def recorded_status(environment: Mapping[str, str]) -> int | None:
    """Return the status that the nodes of a job recorded.

    Returns None if they recorded none: they were killed, or the job has one node.
    """
    if meeting := environment.get(MEETING):
        with contextlib.suppress(OSError, ValueError):
            return int(_end(Path(meeting)).read_text())
    return None


def _end(meeting: Path) -> Path:
    return meeting.with_suffix(".end")


def here() -> Node | None:
    """Return this node if its job has several, else None.

    Raises Failure if the rank of this node is not known.
    """
    if not (meeting := os.environ.get(MEETING)):
        return None
    variable = os.environ.get(RANK, "")
    rank = os.environ.get(variable, "")
    if not rank.isdecimal():
        raise Failure(
            f"{variable or 'nothing'} does not say which node of its job this is",
            "`rank` in the launcher's file names the variable that does",
        )
    return Node(int(rank), Path(meeting))


def words(templates: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Return the arguments from the templates of an engine's `nodes` or `follower`."""
    import jinja2  # noqa: PLC0415 - saves memory while waiting for a device

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - not HTML
    return [environment.from_string(text).render(known) for text in templates]


def own_address() -> str:
    """Return the address at which other nodes reach this one.

    This is the address of the host name. If that is a loopback address (Debian's 127.0.1.1), it is
    the address of the default route.
    """
    with contextlib.suppress(OSError):
        for *_, place in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET):
            if not str(place[0]).startswith("127."):
                return str(place[0])
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; a documentation address
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def refuse(specs: Iterable[ServerSpec], launcher: str, counts: bool) -> None:
    """Raise ConfigError if servers cannot run over the number of nodes they need.

    `counts` says whether the launcher's file names the variable with the rank of a node.
    """
    known, mistakes = option_check.FlagsCache(), []
    for spec in specs:
        if over := spec.get("nodes"):
            mistakes += _unfit(spec, over, known)
            if not counts:
                file = f"configs/launchers/{launcher}.yaml"
                mistakes.append(Mistake(file, 0, "rank", f"is missing: {spec['model']} needs it"))
    if mistakes:
        raise ConfigError(sorted(set(mistakes)))


def _unfit(spec: ServerSpec, over: Nodes, known: option_check.FlagsCache) -> list[Mistake]:
    count, written, mistakes = over["count"], option_check.written(spec), []
    split = f"{spec['model']} runs over {count} nodes"
    if spec["gpus"] % count:
        what = f"{spec['gpus']} GPUs are not divisible by the nodes: {split}"
        mistakes.append(
            written.mistake("tensor_parallel_size", what, "see resources.gpus_per_node")
        )
    if int(spec["options"].get("data_parallel_size") or 1) > 1:
        what, hint = (
            f"works on one node only: {split}",
            "use tensor_parallel_size and pipeline_parallel_size",
        )
        mistakes.append(written.mistake("data_parallel_size", what, hint))
    release, flags = known.flags(spec["engine"], *option_check.requested(spec))
    lacks = [w.split("=")[0] for w in over["words"] if w.startswith("--")] or ["--nnodes"]
    lacks = [flag for flag in lacks if not over["words"] or (flags and flag not in flags)]
    if lacks:
        what = f"{spec['title']} {release} has no {lacks[0]}: {split}"
        hint = "take a newer release (vLLM from 0.11.2), or fewer GPUs"
        mistakes.append(written.mistake("vllm_version", what, hint))
    return mistakes
