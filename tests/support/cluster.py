"""A Slurm cluster of two nodes on this machine, each with four fake GPUs.

    python tests/support/cluster.py start DIRECTORY     prints the variables for a shell
    python tests/support/cluster.py stop DIRECTORY

Runs Debian's slurmctld and several slurmd on one host, without systemd, on loopback only, in one
directory. Stops them by pid. Needs root for cgroups, the only reliable way to end all processes of
a job, and for the device nodes of the GPUs, which Slurm needs to set CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

NODES, GPUS = ("n1", "n2"), 4
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "squeue", "scancel", "scontrol")
CONF = """\
ClusterName=benchy
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge.sock
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool-%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd-%n.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=5
InactiveLimit=0
Epilog={base}/epilog
MinJobAge=900
SlurmdTimeout=20
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=gpu Nodes={names} Default=YES MaxTime=INFINITE State=UP
PartitionName=grace Nodes={names} GraceTime=40 MaxTime=INFINITE State=UP
PartitionName=builds Nodes={names} MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={names} PriorityTier=10 MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=32 " \
       "RealMemory=8000 Gres=gpu:{gpus}"  # fmt: skip


def missing() -> list[str]:
    """Return what this machine lacks for a cluster, [] if nothing."""
    paths = os.environ["PATH"] + ":/usr/sbin:/sbin"
    lacks = [name for name in PROGRAMS if shutil.which(name, path=paths) is None]
    return [*lacks, *(["root"] if os.geteuid() else [])]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A cluster in `base`, an empty directory with a short path (sockets are in it)."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.alone: IO[str] = io.StringIO()  # an open lock file, once started
        self.env = os.environ | {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "SLURM_CONF": str(base / "slurm.conf"),
        }

    def start(self, seconds: float = 30) -> None:
        """Start the cluster and wait until both nodes are idle. Raises RuntimeError on timeout.

        A lock allows one cluster at a time per machine: Slurm names its cgroups after nodes and
        jobs, so two clusters with the same names would kill each other's jobs.
        """
        base = self.base
        self.alone = Path(tempfile.gettempdir(), "benchy-test-cluster.lock").open("w")  # noqa: SIM115
        fcntl.flock(self.alone, fcntl.LOCK_EX)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (base / name).mkdir(parents=True)
        key = base / "munge.key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o400)
        for number in range(GPUS):
            os.mknod(base / f"gpu{number}", 0o600 | 0o020000, os.makedev(1, 3))  # /dev/null's
        rows = [NODE.format(name=n, port=free_port(), gpus=GPUS) for n in NODES]
        text = CONF.format(
            base=base, control=free_port(), nodes="\n".join(rows), names=",".join(NODES)
        )
        (base / "slurm.conf").write_text(text)
        (base / "gres.conf").write_text(f"Name=gpu File={base}/gpu[0-{GPUS - 1}]\n")
        (base / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=yes\n"
            if Path("/sys/fs/cgroup/freezer").is_dir()
            else "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n"
        )
        epilog = base / "epilog"  # takes 8 s if a test has created the file `slow`
        epilog.write_text(f"#!/bin/sh\n[ ! -e {base}/slow ] || sleep 8\n")
        epilog.chmod(0o755)
        self.run(
            "munged", "--force", f"--socket={base}/munge.sock", f"--key-file={key}",
            f"--pid-file={base}/munged.pid", f"--log-file={base}/munged.log",
            f"--seed-file={base}/munged.seed",
        )  # fmt: skip
        self.run("slurmctld")
        for node in NODES:
            self.node(node)
        end = time.monotonic() + seconds
        while self.run("sinfo", "-h", "-o", "%T").split() != ["idle"]:
            if time.monotonic() > end:
                raise RuntimeError(f"the cluster does not come up:\n{self.logs()}")
            time.sleep(0.2)

    def node(self, name: str) -> None:
        """Start the daemon of a node."""
        self.run("slurmd", "-N", name, "-f", f"{self.base}/slurm.conf")

    def kill_node(self, name: str) -> None:
        """Kill the daemon and the jobs of a node, as a power failure does."""
        steps = [p for p in self.daemons() if p[1].startswith(f"slurmstepd-{name}")]
        for pid, _ in [(self.pid(f"slurmd-{name}.pid"), ""), *steps]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *words: str) -> str:
        """Run a command on the cluster and return its stdout. Raises RuntimeError if it fails."""
        done = subprocess.run(
            words, env=self.env, capture_output=True, text=True, timeout=60, cwd=self.base
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}\n{self.logs()}")
        return done.stdout

    def pid(self, name: str) -> int:
        return int((self.base / name).read_text())

    def jobs(self) -> list[str]:
        """Return ID|COMMENT|STATE of each pending or running job."""
        return self.run("squeue", "-h", "-o", "%i|%k|%T").split("\n")[:-1]

    def daemons(self) -> list[tuple[int, str]]:
        """Return (pid, command line) of each process of this cluster."""
        mark, found = os.fsencode(self.base), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                name = command.split(b"\0")[0].rpartition(b"/")[2]
                ours = mark in command or mark in (entry / "environ").read_bytes()
                if name.startswith((b"slurm", b"munge")) and ours:
                    words = command.replace(b"\0", b" ").decode(errors="replace")
                    found.append((int(entry.name), words))
        return found

    def stop(self) -> None:
        """End all jobs, then all daemons."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.run("scancel", "--user=root", "--full", "--signal=KILL")
        end = time.monotonic() + 15
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid, _ in self.daemons():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self.daemons() and time.monotonic() < end:
                time.sleep(0.1)
        self.alone.close()

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.base.glob("*.log"))
        )


def main() -> int:
    verb, place = sys.argv[1:]
    cluster = Cluster(Path(place).resolve())
    if verb == "stop":
        cluster.stop()
        return 0
    if lacks := missing():
        print(f"a cluster needs {', '.join(lacks)}", file=sys.stderr)
        return 1
    cluster.start()
    print(f"export SLURM_CONF={cluster.env['SLURM_CONF']} PATH={cluster.env['PATH']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
