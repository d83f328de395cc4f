"""A server over several nodes of one job, by the engine's own means.

Every node runs bin/serve. The first starts the server, and says in a file that all nodes see where
it is; the others start what the engine wants there, join it, and end when the file goes. Its name,
run/nodes/MODEL-TOKEN.json, is chosen by who started the job (launcher.py); its content is
{"address", "port"}. It is opened again at each look: NFS asks the server of a file that is opened,
and may keep for a minute what it knew of one that is not. The status of the node that ended first,
or failed first, is in MODEL-TOKEN.end.
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
from benchy.engines import option_check

Spec = Mapping[str, Any]
MEETING, RANK = "BENCHY_MEETING", "BENCHY_RANK"  # of a job: the file, the variable with the rank
LOOK = 0.5  # seconds between two looks for the file


@dataclass(frozen=True)
class Node:
    """One node of a job of several. rank: from 0, which is the first."""

    rank: int
    meeting: Path

    @contextmanager
    def meet(self, port: int) -> Iterator[str]:
        """On the first node: the others find it while inside. Gives its address."""
        address = own_address()
        self.meeting.parent.mkdir(parents=True, exist_ok=True)
        temporary_files.write(self.meeting, json.dumps({"address": address, "port": port}))
        try:
            yield address
        finally:
            self.meeting.unlink(missing_ok=True)

    def tell(self, status: int) -> int:
        """At this node's end, with which status; gives it. What a launcher makes of several nodes'
        statuses says nothing: the others are ended with the one that fails first. So the first to
        tell is heard, and a node that just follows the end of the first tells nothing."""
        if status or not self.rank:
            with contextlib.suppress(OSError):
                self.meeting.parent.mkdir(parents=True, exist_ok=True)
                with _end(self.meeting).open("x") as file:
                    file.write(f"{status}\n")
        return status

    def first(self) -> tuple[str, int] | None:
        """Address and port of the first node; None before it is there, and after it has ended."""
        try:
            told = json.loads(self.meeting.read_text())
        except (OSError, ValueError):
            return None
        return str(told["address"]), int(told["port"])

    def find(self, seconds: float) -> tuple[str, int]:
        """Wait for the first node. Raises Failure."""
        end = time.monotonic() + seconds
        while not (found := self.first()):
            if time.monotonic() > end:
                raise Failure(
                    f"node {self.rank} of the job found no first node within {seconds:g} s",
                    f"is {self.meeting.parent} on a file system of all nodes?",
                )
            time.sleep(LOOK)
        return found

    def arguments(self, over: Mapping[str, Any], address: str, port: int) -> list[str]:
        """The engine's arguments that make it one of several. over: `nodes` of the server spec;
        address, port: of the first node."""
        known = {"nodes": over["count"], "rank": self.rank, "address": address, "port": port}
        return words(over["words"], known)

    def over(self, seconds: float) -> bool:
        """Does the first node's server end within so many seconds?"""
        end = time.monotonic() + seconds
        while self.first():
            if time.monotonic() > end:
                return False
            time.sleep(LOOK)
        return True


def forget(environment: Mapping[str, str]) -> None:
    """Remove the files of a job that has ended: its nodes' word, and the one of which a first node
    that was killed took no care. environment: the job's."""
    if meeting := environment.get(MEETING):
        for path in (Path(meeting), _end(Path(meeting))):
            path.unlink(missing_ok=True)


def told(environment: Mapping[str, str]) -> int | None:
    """With which status a job over several nodes has ended, by their own word; None if none gave
    it, as when they were killed, or where a job has one node."""
    if meeting := environment.get(MEETING):
        with contextlib.suppress(OSError, ValueError):
            return int(_end(Path(meeting)).read_text())
    return None


def _end(meeting: Path) -> Path:
    return meeting.with_suffix(".end")


def here() -> Node | None:
    """This node, where a job has several. Raises Failure if it does not say which one it is."""
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
    """Arguments from an engine's `nodes` or `follower`."""
    import jinja2  # noqa: PLC0415 - a process that waits for a device stays small

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - words, no HTML
    return [environment.from_string(text).render(known) for text in templates]


def own_address() -> str:
    """The address by which the other nodes reach this one: what its host name means, or, where
    that means this machine alone (Debian's 127.0.1.1), that of the default route."""
    with contextlib.suppress(OSError):
        for *_, place in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET):
            if not str(place[0]).startswith("127."):
                return str(place[0])
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent; the address is for documentation
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def refuse(specs: Iterable[Spec], launcher: str, counts: bool) -> None:
    """Raises ConfigError with what keeps servers from running over the nodes that they want.

    counts: does the launcher's file name the variable that counts them?
    """
    known, found = option_check.Known(), []
    for spec in specs:
        if over := spec.get("nodes"):
            found += _unfit(spec, over, known)
            if not counts:
                file = f"configs/launchers/{launcher}.yaml"
                found.append(Mistake(file, 0, "rank", f"is missing: {spec['model']} needs it"))
    if found:
        raise ConfigError(sorted(set(found)))


def _unfit(spec: Spec, over: Mapping[str, Any], known: option_check.Known) -> list[Mistake]:
    count, written, found = over["count"], option_check.written(spec), []
    split = f"{spec['model']} runs over {count} nodes"
    if spec["gpus"] % count:
        what = f"{spec['gpus']} GPUs do not come out even: {split}"
        found.append(written.mistake("tensor_parallel_size", what, "see resources.gpus_per_node"))
    if int(spec["options"].get("data_parallel_size") or 1) > 1:
        what, hint = f"is of one node alone: {split}", "use tensor and pipeline sizes"
        found.append(written.mistake("data_parallel_size", what, hint))
    asked = spec["fallback"] or {**spec, "version": spec["release"]}
    release, flags = known.flags(spec["engine"], asked["environment"], asked["version"])
    lacks = [w.split("=")[0] for w in over["words"] if w.startswith("--")] or ["--nnodes"]
    lacks = [flag for flag in lacks if not over["words"] or (flags and flag not in flags)]
    if lacks:
        what = f"{spec['title']} {release} has no {lacks[0]}: {split}"
        hint = "take a newer release (vLLM from 0.11.2), or fewer GPUs"
        found.append(written.mistake("vllm_version", what, hint))
    return found
