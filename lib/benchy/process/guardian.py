"""The guardian: starts processes for a wrapper and ends all of them, however the wrapper dies.

vLLM's processes start sessions of their own, so neither a process group nor a trap finds them all
(shown on Linux with vLLM 0.28 and 0.32). The guardian works like this:

- It is a process in a session of its own and a *child subreaper*: processes that its children start
  and abandon become its own children, so the parents in /proc lead to every descendant.
- It holds one end of a socket; the wrapper (bin/serve) holds the other. When the wrapper dies, even
  by SIGKILL, the guardian reads end of file. It then ends all descendants: TERM, grace, KILL.
- The wrapper is a subreaper as well. If the guardian itself is killed, its orphans become children
  of the wrapper, which ends them the same way.
- Both hold the leases, close-on-exec, so a GPU stays taken until the last of the two has finished.

This file is the guardian's program, `python -I -S guardian.py SOCKET LEASE…`. It imports little of
the standard library and nothing of benchy, so that it starts in about 25 ms. guardian_client.py is
the wrapper's side.

Messages are JSON, one per line. To the guardian: {"start": name, "argv", "env", "log"} and
{"finish": seconds of grace}. From it: {"started": name, "pid"}, {"failed": name, "why"} and
{"ended": name, "status"} (negative: the signal that ended it, as in subprocess).
"""

from __future__ import annotations

# Imported first: SIGINT during the other imports then ends the guardian as TERM does.
import _signal  # type: ignore[import-not-found]

if __name__ == "__main__":
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
GRACE = 10.0  # seconds between TERM and KILL; vLLM 0.32 on a CPU needs about 2
SHARED = b"/dev/shm/"
# Name prefixes of multiprocessing.shared_memory, torch, its semaphores and NCCL.
LIBRARIES = (b"psm_", b"torch_", b"sem.mp-", b"nccl-")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signum: int = signal.SIGTERM, parent: int | None = None) -> None:
    """Have the kernel send signum to this process when its parent ends.

    parent: pid of the parent, to detect that it ended before this call. None skips that check.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signum)


def become_subreaper() -> None:
    """Make abandoned descendants of this process its own children (Linux 3.4)."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def descendants(root: int) -> set[int]:
    """Return the pids of all descendants of root except zombies, from one pass of /proc."""
    children: dict[int, list[int]] = {}
    dead: set[int] = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the guardian's start
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # The name in parentheses can itself contain parentheses and spaces.
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            children.setdefault(int(parent), []).append(int(name))
            if state in b"ZX":
                dead.add(int(name))
    pids: set[int] = set()
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            pids.add(pid)
            todo.append(pid)
    return pids - dead


def reap() -> dict[int, int]:
    """Return pid → status of the children that have ended since the last call.

    A negative status is the signal that ended the child.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def signal_all(pids: Iterable[int], signum: int) -> None:
    """Send signum to those of pids that still exist."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            continue


def shared(pids: Iterable[int]) -> dict[str, int]:
    """Return path → inode of the shared memory files that these processes map.

    Only files whose names libraries choose count, not those that a person may have named.
    """
    inodes = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:  # noqa: PTH123
                lines = [line for line in file if SHARED in line]
        except OSError:
            continue
        for line in lines:
            *_, inode, path = line.rstrip(b"\n").split(None, 5)
            name = path.rpartition(b"/")
            if name[0] + b"/" == SHARED and name[2].startswith(LIBRARIES):
                inodes[os.fsdecode(path)] = int(inode)
    return inodes


def remove_shared(files: Mapping[str, int]) -> None:
    """Delete the shared memory files of ended processes, unless a living process maps them.

    Nothing else deletes them, and they would fill the memory. files: path → inode.
    """
    files = {path: inode for path, inode in files.items() if _is(path, inode)}
    if files:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        used = shared(pids)
        for path in files.keys() - used.keys():
            try:
                os.unlink(path)  # noqa: PTH108
            except OSError:
                continue


def _is(path: str, inode: int) -> bool:
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    return (facts.st_ino, facts.st_uid) == (inode, os.geteuid())


def sweep(grace: float, hurry: Callable[[], bool] = lambda: False) -> dict[int, int]:
    """End every descendant of this process: TERM, grace in seconds, then KILL until none is left.

    Deletes the shared memory that killed processes leave. A process in an uninterruptible wait (a
    GPU driver) cannot be killed. This function waits for it, since its GPU is not free before.

    Args:
        grace: Seconds between TERM and KILL.
        hurry: Ends the grace early when it returns true.

    Returns:
        The statuses of ended children by pid, as reap() returns them.
    """
    ended: dict[int, int] = {}
    files: dict[str, int] = {}
    mapped: set[int] = set()  # pids whose shared memory is in `files`
    signaled: set[int] = set()  # pids that got TERM
    deadline = time.monotonic() + grace
    pause = 0.01
    while True:
        ended.update(reap())
        alive = descendants(os.getpid())
        if not alive:
            ended.update(reap())
            remove_shared(files)
            return ended
        files.update(shared(alive - mapped))
        mapped |= alive
        if time.monotonic() >= deadline or hurry():
            signal_all(alive, signal.SIGKILL)
        else:
            signal_all(alive - signaled, signal.SIGTERM)
            # A stopped process needs it to handle TERM.
            signal_all(alive - signaled, signal.SIGCONT)
            signaled |= alive
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def become(order: Mapping[str, Any], errors: int, parent: int) -> NoReturn:
    """Replace this process, a new child, by the program of an order.

    errors: descriptor for the reason if it cannot be started. parent: pid of the guardian.
    """
    try:
        die_with_parent(signal.SIGTERM, parent)  # if both the guardian and the wrapper are killed
        os.setsid()
        for signum in (signal.SIGPIPE, *STOPS):
            signal.signal(signum, signal.SIG_DFL)
        if log := order.get("log"):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606
    except BaseException as error:  # the child must end here in every case
        os.write(errors, f"{order['argv'][0]}: {getattr(error, 'strerror', error)}".encode())
    finally:
        os._exit(127)


class Guardian:
    """Serves one wrapper until it says finish, dies, or a signal comes."""

    def __init__(self, wrapper: socket.socket) -> None:
        self.wrapper = wrapper
        self.names: dict[int, str] = {}
        self.grace: float | None = None  # seconds; set when it is time to finish
        self.unread = b""

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one ends everything, the second one without grace."""
        self.grace = GRACE if self.grace is None else 0.0

    def report(self, **message: object) -> None:
        """Send a message to the wrapper. If the wrapper is dead, begin to finish."""
        try:
            self.wrapper.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.grace = GRACE if self.grace is None else self.grace

    def start(self, order: Mapping[str, Any]) -> None:
        """Start order["argv"] and report its pid, or why it cannot be started."""
        name = order["start"]
        read, write = os.pipe()  # close-on-exec: end of file means that exec succeeded
        guardian = os.getpid()
        pid = os.fork()
        if not pid:
            become(order, write, guardian)
        os.close(write)
        why = os.read(read, 4096).decode(errors="replace")
        os.close(read)
        if why:
            os.waitpid(pid, 0)
            self.report(failed=name, why=why)
        else:
            self.names[pid] = name
            self.report(started=name, pid=pid)

    def read_orders(self) -> None:
        """Read orders of the wrapper and follow them. End of file means that it died."""
        try:
            data = self.wrapper.recv(1 << 16)
        except OSError:
            data = b""
        if not data and self.grace is None:
            self.grace = GRACE
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "finish" in order:
                self.grace = min(order["finish"], GRACE if self.grace is None else self.grace)
            elif self.grace is None:
                self.start(order)

    def report_ended(self, ended: Mapping[int, int]) -> None:
        """Report the ended processes that the wrapper started."""
        for pid, status in ended.items():
            if pid in self.names:
                self.report(ended=self.names.pop(pid), status=status)

    def hurry(self) -> bool:
        """During a sweep: return whether the wrapper wants no more grace (a second Ctrl-C)."""
        if select.select([self.wrapper], [], [], 0)[0] and self.grace:
            self.read_orders()
        return self.grace == 0

    def serve(self, woken: int) -> None:
        """Handle messages until it is time to finish, then sweep.

        woken: descriptor that becomes readable when a signal arrives.
        """
        while self.grace is None:
            ready, _, _ = select.select([self.wrapper.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                self.report_ended(reap())
            if self.wrapper.fileno() in ready:
                self.read_orders()
        self.report_ended(sweep(self.grace, self.hurry))


def main(argv: Sequence[str]) -> int:
    """Run the guardian.

    argv: the descriptors of the socket and of the leases, all inherited. Leases are released when
    this process ends.
    """
    descriptors = [int(word) for word in argv]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    become_subreaper()
    guardian = Guardian(socket.socket(fileno=descriptors[0]))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for signum in STOPS:
        signal.signal(signum, guardian.stop)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    guardian.serve(woken)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
