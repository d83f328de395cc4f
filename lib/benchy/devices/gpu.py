"""The GPUs of this machine, as nvidia-smi reports them, and whether a server fits on them.

GPU_BUSY says what to do about a GPU on which a process outside benchy holds memory: `wait` (the
default), `skip` (treat the GPU as absent) or `ignore` (use it).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchy.core import knob_table
from benchy.core.errors import Failure
from benchy.core.specs import ServerSpec
from benchy.core.text import shorten

# MiB. A desktop holds a little memory on every card; a model does not fit beside more than this.
APP_HOLDS, CARD_HOLDS = 300, 2048
NO_DRIVER = (9, 12)  # exit statuses of nvidia-smi: no driver is loaded, no NVML library is found
PATIENCE = 60  # seconds for nvidia-smi, which hangs if a card has fallen off the bus


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG slice of one (its uuid begins with MIG-).

    Attributes:
        index: Index of the card in nvidia-smi, in PCI order.
        uuid: UUID of the card or slice.
        name: Name of the product, or profile of the slice.
        total: Memory in MiB; 0 for a slice, for which nvidia-smi reports none.
        used: Memory in use in MiB; 0 for a slice.
        driver: Version of the driver.
    """

    index: int
    uuid: str
    name: str
    total: int
    used: int
    driver: str

    @property
    def cuda(self) -> str:
        """The name for CUDA_VISIBLE_DEVICES.

        For cards this is the index, because vLLM before 0.9 cannot read a card's UUID.
        """
        return self.uuid if self.uuid.startswith("MIG-") else str(self.index)


class NoDriver(Failure):
    """nvidia-smi is installed, but no driver is loaded."""


def _smi(*words: str) -> list[str]:
    """Return the lines that nvidia-smi prints; [] if it is missing.

    Raises NoDriver, or Failure if it fails or hangs.
    """
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", *words]
    hint = f"run `{shlex.join(command)}`; if it fails, repair the driver or reboot"
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"nvidia-smi does not answer within {PATIENCE} s", hint) from None
    except OSError as error:
        raise Failure(f"nvidia-smi can't be started: {error.strerror}", hint) from None
    if answer.returncode:
        # It prints most of its errors to stdout.
        text = " ".join((answer.stderr.strip() or answer.stdout).split())
        failure = NoDriver if answer.returncode in NO_DRIVER else Failure
        status = f"status {answer.returncode}"
        raise failure(f"nvidia-smi failed: {shorten(text, 300) or status}", hint)
    return answer.stdout.splitlines()


def _query(what: str, fields: str) -> list[list[str]]:
    """Return the rows of `nvidia-smi --query-…`."""
    lines = _smi(f"--query-{what}={fields}", "--format=csv,noheader,nounits")
    return [[cell.strip() for cell in line.split(",")] for line in lines]


def _number(text: str) -> int:
    """Return a number of MiB; 0 for `[N/A]`, which cards with unified memory report."""
    return int(text) if text.isdigit() else 0


def gpus() -> list[Gpu]:
    """Return the GPUs of this machine; [] if it has none, or no driver for them.

    Raises Failure if nvidia-smi fails or hangs.
    """
    cards = []
    fields = "index,uuid,memory.total,memory.used,driver_version,name"
    try:
        rows = _query("gpu", fields)
    except NoDriver:
        return []
    for row in rows:
        if len(row) >= 6 and row[0].isdigit():
            index, uuid, total, used, driver = row[:5]
            name = ",".join(row[5:])
            cards.append(Gpu(int(index), uuid, name, _number(total), _number(used), driver))
    return cards


def driver_failure() -> str:
    """Return why there is no driver although nvidia-smi is installed, "" if there is one."""
    try:
        _smi("-L")
    except NoDriver as failure:
        return failure.what
    except Failure:
        return ""
    return ""


def slices(cards: Sequence[Gpu]) -> list[Gpu]:
    """Return the MIG slices of the cards; [] if they have none. Raises Failure."""
    mig_slices, card = [], None
    for line in _smi("-L"):
        if match := re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line):
            card = next((c for c in cards if c.uuid == match[2]), None)
        elif card and (match := re.match(r"\s+(MIG \S+).*\(UUID: (MIG-[^)]+)\)", line)):
            mig_slices.append(replace(card, uuid=match[2], name=match[1], total=0, used=0))
    return mig_slices


def strangers(cards: Sequence[Gpu], ours: frozenset[int] = frozenset()) -> dict[str, str]:
    """Return which cards hold memory of foreign programs: uuid → words about them.

    ours: pids that do not count. Raises Failure if nvidia-smi fails or hangs.
    """
    programs: dict[str, list[str]] = {}
    try:
        rows = _query("compute-apps", "gpu_uuid,pid,used_memory,process_name")
    except Failure as failure:
        hint = f"{failure.hint}; GPU_BUSY=ignore does not check for other programs"
        raise Failure(failure.what, hint) from None
    for row in rows:
        if len(row) >= 4 and row[1].isdigit() and int(row[1]) not in ours:
            uuid, pid, used = row[:3]
            # In a container and on some drivers the amount is [N/A]; card.used decides below.
            if _number(used) >= APP_HOLDS:
                words = f"{os.path.basename(row[3])} (pid {pid}, {used} MiB)"  # noqa: PTH119
                programs.setdefault(uuid, []).append(words)
    for card in cards:
        if card.used >= CARD_HOLDS and card.uuid not in programs:
            programs[card.uuid] = [f"a process that is not visible here ({card.used} MiB)"]
    return {uuid: ", ".join(words) for uuid, words in programs.items()}


def visible(cards: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Return the cards that the caller's CUDA_VISIBLE_DEVICES selects, in its order.

    It holds indices or UUIDs (or beginnings of them), including those of MIG slices. As in CUDA,
    the first entry that names no card ends the list.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return list(cards)
    chosen: list[Gpu] = []
    parts = slices(cards) if "MIG-" in given else []
    for word in given.split(","):
        name = word.strip()
        match = named(name, parts if name.startswith("MIG-") else cards)
        if len(match) != 1:
            break
        if match[0] not in chosen:
            chosen.append(match[0])
    return chosen


def busy_policy(environment: Mapping[str, str]) -> str:
    """Return GPU_BUSY: wait, skip or ignore. Raises UsageError for anything else."""
    policy = environment.get("GPU_BUSY") or "wait"
    knob_table.KNOBS["GPU_BUSY"].check("GPU_BUSY", policy)
    return policy


def _count(number: int) -> str:
    return f"{number or 'no'} GPU{'' if number == 1 else 's'}"


def _sliced(cards: Sequence[Gpu], pins: Sequence[str | int]) -> list[Gpu]:
    """Return the cards, with their MIG slices if a pin names one."""
    if not any(str(pin).startswith("MIG-") for pin in pins):
        return list(cards)
    return [*cards, *(part for part in slices(cards) if part not in cards)]


def named(word: str | int, cards: Sequence[Gpu]) -> list[Gpu]:
    """Return the cards that match an index or the beginning of a UUID."""
    name = str(word).strip()
    if name.isdecimal():
        matches = [card for card in cards if card.index == int(name)]
        return [card for card in matches if not card.uuid.startswith("MIG-")] or matches
    return [card for card in cards if len(name) > 4 and card.uuid.startswith(name)]


def pool(
    server: ServerSpec,
    cards: Sequence[Gpu] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Gpu]:
    """Return the cards on which a server may run.

    These are its pinned cards in their order, or the visible ones. Raises Failure if there are too
    few.
    """
    have = gpus() if cards is None else list(cards)
    if reason := fits(server, have, environment):
        raise Failure(f"{server['model']} {reason}")
    chosen = visible(have, environment)
    if pins := server["cuda_devices"]:
        chosen = [card for pin in pins for card in named(pin, _sliced(chosen, pins))]
    return chosen


def fits(
    server: ServerSpec,
    cards: Sequence[Gpu] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """Return why a server cannot run on this machine, or None if it can.

    An example is "needs 2 GPUs, this machine has none". server: its spec. cards: this machine's
    GPUs, queried if None.
    """
    if server["device"] != "gpu":
        return None
    count = server["gpus"] or 1
    try:
        have = gpus() if cards is None else list(cards)
        return _misfit(server, count, have, environment)
    except Failure as failure:
        return f"needs {_count(count)}, {failure.what}"


def _misfit(
    server: ServerSpec, count: int, have: Sequence[Gpu], environment: Mapping[str, str]
) -> str | None:
    """Return why a server that needs `count` of these GPUs cannot run. Raises Failure."""
    if len(have) < count:
        has = f"only {len(have)}" if have else "none"
        if not have and (why := driver_failure()):
            has = f"none that it can use: {why}"
        return f"needs {_count(count)}, this machine has {has}"
    seen = visible(have, environment)
    where = f"CUDA_VISIBLE_DEVICES={environment.get('CUDA_VISIBLE_DEVICES')} leaves"
    if len(seen) < count:
        return f"needs {_count(count)}, {where} {_count(len(seen))}"
    pins = server["cuda_devices"] or []
    every, usable = _sliced(have, pins), _sliced(seen, pins)
    for pin in pins:
        index = str(pin).isdecimal()
        pinned = f"is pinned to {'GPU ' if index else ''}{pin}"
        if (match_count := len(named(pin, every))) != 1:
            if index:
                return f"{pinned}, this machine has 0 to {len(have) - 1}"
            return f"{pinned}, which matches {_count(match_count)} of this machine (nvidia-smi -L)"
        if not named(pin, usable):
            return f"{pinned}, {where} {', '.join(str(card.index) for card in seen)}"
    met = [card.uuid for pin in pins for card in named(pin, usable)]
    if len(set(met)) < len(met):
        return f"names a GPU twice in cuda_devices: {', '.join(map(str, pins))}"
    if pins and len(pins) < count:
        return f"needs {_count(count)}, its cuda_devices name {len(pins)}"
    return None
