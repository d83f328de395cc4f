"""Kill a process immediately before a chosen change to a file in a folder.

A kernel filter (seccomp user notification: Linux 5.9, x86-64, no privileges or tools needed) pauses
every system call that changes files, in every process that a command starts: Make, the shell, uv,
Python, an engine, a harness. The supervisor sees the call before it runs and either lets it
continue or kills the caller. Each call has a label that is the same in every run: WHO CALL PATH,
and #N from the second time on.

The filter does not see io_uring or writes through a mapping (mmap). Neither is used here: uv and
CPython use write, and SQLite's mapping is off by default.

As a program, `injector.py SOCKET COMMAND…` installs the filter on itself, sends the filter's
descriptor over SOCKET (a descriptor number) and executes COMMAND.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import platform
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# x86-64: number → name, and the index of the path argument. A pair: the indexes of the folder's
# descriptor and of the path. None: the first argument is an open file.
CALLS: dict[int, tuple[str, int | tuple[int, int] | None]] = {
    1: ("write", None), 18: ("pwrite", None), 20: ("writev", None), 77: ("ftruncate", None),
    2: ("open", 0), 85: ("open", 0), 257: ("open", (0, 1)),
    82: ("rename", 1), 264: ("rename", (2, 3)), 316: ("rename", (2, 3)),
    87: ("unlink", 0), 263: ("unlink", (0, 1)), 84: ("rmdir", 0),
    83: ("mkdir", 0), 258: ("mkdir", (0, 1)),
    86: ("link", 1), 265: ("link", (2, 3)), 88: ("symlink", 1), 266: ("symlink", (1, 2)),
    90: ("chmod", 0), 268: ("chmod", (0, 1)), 91: ("chmod", None), 280: ("utime", (0, 1)),
    76: ("truncate", 0), 326: ("copy", None), 40: ("copy", None),
}  # fmt: skip
OPENS = {2: 1, 257: 2}  # index of the flags argument
DESCRIPTOR = {326: 2}  # index of the open file, if it is not the first argument
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
SECCOMP, PIDFD_OPEN, PIDFD_GETFD = 317, 434, 438
RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_…
# WHO → pattern of the command line.
WHO = {
    "guard": r"guardian\.py", "wrapper": r"harness_wrapper", "harness": r"-m lm_eval",
    "engine": r"standin_engine|standin-", "probe": r"probe_environment\.py", "uv": r"^\S*\buv ",
    "make": r"^\S*make ", "compiler": r"python\S*( -\S+)* \S*(pip_)?compile",
}  # fmt: skip
# The parts of paths that differ from run to run.
VARIES = (
    (re.compile(r"~[^~/]+~\d+-\d+\.tmp"), "~HOST~PID.tmp"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?"), "WHEN"),
    (re.compile(r"\.pyc\.\d+$"), ".pyc.N"),
    (re.compile(r"(?<=[.-])\d{2,}(?=$|[./-])"), "PID"),
    (re.compile(r"(?<=/)(benchy-(?:\w+-)?|\.?tmp|uv-)[\w]{6,10}(?=$|[./])"), r"\1RANDOM"),
    (re.compile(r"(?<=tmp/)[a-z0-9_]{8}$"), "RANDOM"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "HASH"),
)


@dataclasses.dataclass(frozen=True)
class Call:
    """A change that a process is about to make.

    descriptor, address, size: arguments of a write. flags: argument of an open.
    """

    tid: int
    name: str
    path: str
    descriptor: int = -1
    address: int = 0
    size: int = 0
    flags: int = 0

    @property
    def changes(self) -> bool:
        """Whether the call has an effect: creating an existing file or removing none has none."""
        there = os.path.lexists(self.path)
        if self.name == "open":
            return bool(self.flags & os.O_TRUNC) if there else bool(self.flags & os.O_CREAT)
        if self.name in ("mkdir", "symlink", "link"):
            return not there
        return there or self.name in ("rename", "write", "pwrite", "writev", "copy", "ftruncate")


def possible() -> str:
    """Return why system calls cannot be paused on this machine; "" if they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the numbers of system calls are those of Linux on x86-64"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        held = Held(["true"], Path("/nowhere"), lambda *_: False, cwd=Path("/"), environ={})
        if held.process.wait(20) == 0:
            held.over()
            return ""
    return "the kernel or the container refuses a filter of system calls"


def _filter() -> bytes:
    """Return the BPF program: CALLS notify the supervisor, all others continue."""
    load, equal, mask, leave = 0x20, 0x15, 0x45, 0x06  # ld abs; jeq, jset; ret
    ask, allow = (
        struct.pack("HBBI", leave, 0, 0, 0x7FC00000),
        struct.pack("HBBI", 6, 0, 0, 0x7FFF0000),
    )
    out = (
        struct.pack("HBBI", load, 0, 0, 4) + struct.pack("HBBI", equal, 1, 0, ARCHITECTURE) + allow
    )
    out += struct.pack("HBBI", load, 0, 0, 0)
    for number in CALLS:
        if number in OPENS:  # an open for reading continues
            out += struct.pack("HBBI", equal, 0, 4, number)
            out += struct.pack("HBBI", load, 0, 0, 16 + 8 * OPENS[number])
            out += struct.pack("HBBI", mask, 0, 1, CHANGING) + ask + allow
        else:
            out += struct.pack("HBBI", equal, 0, 1, number) + ask
    return out + allow


def _become(number: int, command: Sequence[str]) -> None:
    """Install the filter on this process and execute a command in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(_filter())
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(code.raw) // 8, ctypes.addressof(code))
    )
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    listener = libc.syscall(SECCOMP, 1, 8, program)  # SET_MODE_FILTER, FLAG_NEW_LISTENER
    if listener < 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    with socket.socket(fileno=number) as end:
        socket.send_fds(end, [b"x"], [listener])
    os.execvp(command[0], list(command))  # noqa: S606


class Held:
    """A command in its own session, whose changes below a folder are reported before they happen.

    base: the folder. on: called with each Call and its label, in order. True means that it has
    killed the caller, which then gets no answer; it may also kill others or write half the data.
    """

    def __init__(
        self, command: Sequence[str], base: Path, on: Callable[[Call, str], bool], *,
        cwd: Path, environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.base, self.on = f"{base}/", on
        self.seen: Counter[str] = Counter()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = [sys.executable, "-I", __file__, str(theirs.fileno()), *command]
            self.process = subprocess.Popen(
                words, cwd=cwd, env=dict(environ), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                start_new_session=True, pass_fds=[theirs.fileno()],
            )  # fmt: skip
            theirs.close()
            given = socket.recv_fds(ours, 1, 1)[1]
        if not given:
            self.process.kill()
            raise OSError(self.process.communicate()[0])
        self.listener = given[0]
        self.thread = threading.Thread(target=self._attend, daemon=True)
        self.thread.start()

    def over(self, seconds: float = 60) -> None:
        """Wait until the last process under the filter has ended."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "processes are left"

    def _attend(self) -> None:
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while True:
            events = poll.poll()[0][1]
            if not events & select.POLLIN:
                os.close(self.listener)
                return
            asked = bytearray(80)
            with contextlib.suppress(OSError):  # ENOENT: the caller was killed meanwhile
                fcntl.ioctl(self.listener, RECEIVE, asked)
                number, tid = struct.unpack_from("QI", asked)
                if not self._kills(tid, bytes(asked)):  # a dead caller gets no answer
                    fcntl.ioctl(self.listener, SEND, struct.pack("QqiI", number, 0, 0, 1))

    def _kills(self, tid: int, asked: bytes) -> bool:
        with contextlib.suppress(OSError, ValueError):
            if call := self._call(tid, asked):
                return self.on(call, self._label(call))
        return False

    def _call(self, tid: int, asked: bytes) -> Call | None:
        number = struct.unpack_from("i", asked, 16)[0]
        arguments = struct.unpack_from("6Q", asked, 32)
        name, where = CALLS[number]
        if where is None:
            descriptor = arguments[DESCRIPTOR.get(number, 0)]
            path = str(Path(f"/proc/{tid}/fd/{descriptor}").readlink())
            if not path.startswith(self.base):
                return None
            return Call(tid, name, path, descriptor, arguments[1], arguments[2])
        folder, at = where if isinstance(where, tuple) else (None, where)
        if name == "utime" and not arguments[at]:
            path = str(Path(f"/proc/{tid}/fd/{arguments[0]}").readlink())
        else:
            with Path(f"/proc/{tid}/mem").open("rb", buffering=0) as memory:
                memory.seek(arguments[at])
                path = os.fsdecode(memory.read(4096).split(b"\0", 1)[0])
        if not path.startswith("/"):
            start = (
                ctypes.c_int(arguments[folder] & 0xFFFFFFFF).value if folder is not None else -100
            )
            named = f"/proc/{tid}/cwd" if start == -100 else f"/proc/{tid}/fd/{start}"
            path = f"{Path(named).readlink()}/{path}"
        path = os.path.normpath(path)
        flags = arguments[OPENS[number]] if number in OPENS else 0
        return Call(tid, name, path, flags=flags) if path.startswith(self.base) else None

    def _label(self, call: Call) -> str:
        path = call.path.removeprefix(self.base).removesuffix(" (deleted)")
        label = f"{who(call.tid)} {call.name} {masked(path)}"
        self.seen[label] += 1
        return label if self.seen[label] == 1 else f"{label} #{self.seen[label]}"


def masked(path: str) -> str:
    """Replace the parts of a path that differ from run to run."""
    path = path.replace(os.uname().nodename, "HOST")
    for pattern, name in VARIES:
        path = pattern.sub(name, path)
    return path


def who(tid: int) -> str:
    """Return a one-word name for the program that a process runs."""
    words = Path(f"/proc/{tid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if found := re.search(r"lib/run\.py (\S+)", words):
        return found[1]
    return next(
        (name for name, how in WHO.items() if re.search(how, words)),
        words.split()[0].rpartition("/")[2],
    )


def half(call: Call) -> None:
    """Write the first half of the data on behalf of the caller."""
    group = int(re.search(r"Tgid:\s*(\d+)", Path(f"/proc/{call.tid}/status").read_text())[1])  # type: ignore[index]
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(PIDFD_OPEN, group, 0)
    with Path(f"/proc/{call.tid}/mem").open("rb", buffering=0) as memory:
        memory.seek(call.address)
        data = memory.read(call.size // 2)
    copy = libc.syscall(PIDFD_GETFD, pidfd, call.descriptor, 0)
    os.close(pidfd)
    if copy >= 0:
        os.write(copy, data)
        os.close(copy)


def kill(tid: int) -> None:
    """Send SIGKILL to the process of a thread."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(tid, signal.SIGKILL)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
