"""The table of all knobs: values, goals and descriptions. Source of docs/knobs.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchy.core import knobs
from benchy.core.errors import UsageError

Check = Callable[[str, str], None]
ANY = "any goal"
RUNS = ("eval", "results", "results/%", "fetch")
BUILDS = ("venvs", "venvs/%")
PLANS = (*RUNS, *BUILDS, "plan", "report", "publish", "status", "watch", "why", "list-envs",
         "prune-venvs", "wheelhouse", "gc")  # fmt: skip
LOOKS = ("status", "watch", "why")
ONE_ENV = ("venv", "lock", "env-info", "rebuild-venv", "rm-venv")
TELLS = ("plan", "compare", "status", "doctor", "list-envs", "env-info", "flags-diff", "tasks",
         "preview")  # fmt: skip


def _text(name: str, value: str) -> None:
    pass


def _switch(name: str, value: str) -> None:
    knobs.on(name, {name: value})


def _number(name: str, value: str) -> None:
    if value and not (value.isascii() and value.isdecimal()):
        raise UsageError(f"{value!r} is not a whole number", f"write {name}=10", name)


def _one_of(*words: str) -> Check:
    def check(name: str, value: str) -> None:
        if value and value not in words:
            hint = f"write {', '.join(words[:-1])} or {words[-1]}"
            raise UsageError(f"{name}={value} is unknown", hint)

    return check


def _deep(name: str, value: str) -> None:
    if value not in ("all", "some"):
        _switch(name, value)


def _points(name: str, value: str) -> None:
    if value != "all":
        _number(name, value)


@dataclass(frozen=True)
class Knob:
    """One knob of `make`.

    Attributes:
        goals: Goals that take the knob; "results/%" is any one file below results/.
        does: Description, in one clause.
        holds: Kind of value, as docs/knobs.md shows it.
        check: Function of (name, value) that raises UsageError for a wrong value.
    """

    goals: tuple[str, ...]
    does: str
    holds: str = "text"
    check: Check = _text


def _on_off(goals: tuple[str, ...], does: str) -> Knob:
    return Knob(goals, does, "on or off", _switch)


def _count(goals: tuple[str, ...], does: str) -> Knob:
    return Knob(goals, does, "number", _number)


KNOBS = {
    "CONFIG": Knob(
        ("eval", "plan", "preview", *LOOKS), "a model's file; it may lie anywhere", "path"
    ),
    "MODELS": Knob(
        ("results", "fetch", "plan", "wheelhouse", *LOOKS),
        "these models; * and ? stand for any", "names",
    ),
    "TASKS": Knob(
        ("eval", "results", *LOOKS, "plan", "compare", "new"),
        "these tasks; of eval and plan, others than the config names, too; of new, those that the "
        "config gets", "names",
    ),
    "LIMIT": _count(
        (*RUNS, *LOOKS, "plan", "preview"),
        "so many requests a task, kept apart; of preview, those shown (3)",
    ),
    "SET": Knob((*PLANS, "preview"), "options over those of the configs", "key=value …"),
    "FALLBACK": _on_off(PLANS, "off: no other release serves where one can't be built"),
    "TEST": _on_off(("eval", "results"), "start the server, prove it, stop"),
    "LAUNCHER": Knob((*RUNS, *BUILDS), "where servers run: local, or one of configs/launchers"),
    "BUILD_ON": Knob(
        (*RUNS, *BUILDS), "where environments are built", "login or slurm",
        _one_of("login", "slurm"),
    ),
    "NODE_SCRATCH": Knob((*RUNS, *BUILDS), "environments on the nodes' own disks, there", "path"),
    "NOTIFY": Knob(("eval", "results"), "called at the end; reads the summary", "command"),
    "CPU_SLOTS": _count(RUNS, "servers at once on the CPU (1)"),
    "GPU_BUSY": Knob(
        RUNS, "what to do about a GPU that a stranger uses (wait)", "wait, skip or ignore",
        _one_of("wait", "skip", "ignore"),
    ),
    "TASK_JOBS": _count(RUNS, "tasks of one model at once (4)"),
    "VENV_JOBS": _count((*RUNS, *BUILDS, *ONE_ENV), "builders at once (2)"),
    "FETCH_JOBS": _count(RUNS, "downloads at once"),
    "CHECK": _on_off(("plan",), "check what is planned, before anything is served"),
    "TARGET": Knob(("why",), "the file or environment that is asked about", "path"),
    "FORMAT": Knob(TELLS, "as people read it, or programs", "text or json",
                   _one_of("text", "json")),
    "A": Knob(("compare", "flags-diff"), "the one side: a model; of flags-diff a release"),
    "B": Knob(("compare", "flags-diff"), "the other side"),
    "TASK": Knob(("compare", "preview"), "these tasks, as TASKS; of preview, the task", "names"),
    "SEARCH": Knob(("tasks",), "words of a name, tag, data set, language; * and ? as in a shell"),
    "FLIPS": _count(("compare",), "show so many samples, each way"),
    "ANYWAY": _on_off(("compare",), "compare unlike things, too"),
    "REPO": Knob(("publish",), "a dataset on the hub", "organisation/name"),
    "SAMPLES": _on_off(("publish",), "prompts and answers, too"),
    "PUBLIC": _on_off(("publish",), "a new repository is public"),
    "YES": _on_off(("publish", "gc", "prune-venvs"), "do it without asking"),
    "MODEL": Knob(("new",), "a model of the hub, or a directory"),
    "NAME": Knob(("new",), "of the file"),
    "PROVIDER": Knob(("new",), "one of configs/providers"),
    "VERSION": Knob(ONE_ENV, "a release of the engine"),
    "ENGINE": Knob((*ONE_ENV, "flags-diff", "survey"), "one of configs/engines (vllm)"),
    "CUTOFF": Knob(ONE_ENV, "packages as of another day than the release's",
                   "date, release or none"),
    "SHARE": _on_off(("lock",), "write the lock to configs/locks, too"),
    "DIR": Knob(("wheelhouse",), "the folder (wheelhouse)", "path"),
    "FROM": Knob(("survey",), "the first release"),
    "TO": Knob(("survey",), "the last release"),
    "DEEP": Knob(("survey",), "build them, too: all, or some of each minor release",
                 "on (all), off or some", _deep),
    "DISK": Knob(("survey",), "what builds may take (25)", "GB"),
    "ARGS": Knob(("test", "test-real", "test-all", "test-faults", "test-properties"),
                 "for pytest", "arguments"),
    "KILLS": _count(("test-faults",), "rounds (200)"),
    "STARTS": _count(("test-faults",), "servers whose port another user takes (1000)"),
    "POINTS": Knob(("test-faults",), "changes to files to kill in front of (all)",
                   "number or all", _points),
    "CASES": _count(("test-properties",), "files (1,000,000)"),
    "SEED": _count(("test-faults", "test-properties"), "of another series"),
    "QUICK": _on_off(("bench",), "a smaller environment"),
    "ROUNDS": _count(("bench",), "builds each, in turn (3)"),
    "AS_OF": Knob(("lock-main",), "packages as of that day", "date"),
    "OFFLINE": _on_off((ANY,), "nothing is asked of a network"),
    "WHEELHOUSE": Knob((ANY,), "install from that folder instead of an index", "path"),
    "PYTHON": Knob((ANY,), "the interpreter that .venv is made with", "path"),
    "V": Knob((ANY,), "1 shows commands, 2 also why", "0, 1 or 2", _one_of("0", "1", "2")),
}  # fmt: skip


def taken(goal: str) -> list[str]:
    """Return the knobs that a goal takes, without those that every goal takes."""
    kind = goal.partition("/")[0] + "/%" if "/" in goal else goal
    return [name for name, knob in KNOBS.items() if kind in knob.goals]


def markdown() -> str:
    """Return the text of docs/knobs.md."""
    lines = [
        "# Knobs",
        "",
        "Made by `make schema` from `lib/benchy/core/knob_table.py`; edit that.",
        "",
        "A knob stands on Make's command line (`make results LIMIT=10`), in the environment, or in",
        "`local.mk`. On the",
        "command line a knob that the goal does not take is a mistake, and so is an unknown one.",
        "",
        "What is on or off: `1`, `yes`, `true` and `on` switch it on, `0`, `no`, `false` and `off`",
        "switch it off, and nothing leaves it as it is without the knob; anything else is a",
        "mistake.",
        "",
        "| knob | holds | goals | |",
        "|---|---|---|---|",
    ]
    for name, knob in KNOBS.items():
        goals = ", ".join("all" if goal == ANY else f"`{goal}`" for goal in knob.goals)
        lines.append(f"| `{name}` | {knob.holds} | {goals} | {knob.does} |")
    return "\n".join([*lines, ""])
