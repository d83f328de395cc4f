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
        ("eval", "plan", "preview", *LOOKS), "a model's file, in any directory", "path"
    ),
    "MODELS": Knob(
        ("results", "fetch", "plan", "wheelhouse", *LOOKS),
        "selects models by name; * and ? as in a shell", "names",
    ),
    "TASKS": Knob(
        ("eval", "results", *LOOKS, "plan", "compare", "new"),
        "selects tasks; eval and plan also accept tasks that the config does not name; new writes "
        "them to the config", "names",
    ),
    "LIMIT": _count(
        (*RUNS, *LOOKS, "plan", "preview"),
        "requests per task, with results in results/limit-n; preview: documents to show (3)",
    ),
    "SET": Knob((*PLANS, "preview"), "options that override those of the configs", "key=value …"),
    "FALLBACK": _on_off(
        PLANS, "off: if an environment can't be built, no other release serves its models (on)"
    ),
    "TEST": _on_off(("eval", "results"), "start the server, verify that it answers, stop"),
    "LAUNCHER": Knob(
        (*RUNS, *BUILDS), "where servers run: local, or a name from configs/launchers"
    ),
    "BUILD_ON": Knob(
        (*RUNS, *BUILDS), "where environments are built (login)", "login or slurm",
        _one_of("login", "slurm"),
    ),
    "NODE_SCRATCH": Knob(
        (*RUNS, *BUILDS), "directory on the nodes' own disks for copies of environments", "path"
    ),
    "NOTIFY": Knob(
        ("eval", "results"), "called at the end of a run, with the summary on stdin", "command"
    ),
    "CPU_SLOTS": _count(RUNS, "concurrent servers on the CPU (1)"),
    "GPU_BUSY": Knob(
        RUNS, "what to do if another process uses a GPU (wait)", "wait, skip or ignore",
        _one_of("wait", "skip", "ignore"),
    ),
    "TASK_JOBS": _count(RUNS, "concurrent tasks of one model (4)"),
    "VENV_JOBS": _count((*RUNS, *BUILDS, *ONE_ENV), "concurrent builds on this machine (2)"),
    "FETCH_JOBS": _count(RUNS, "concurrent downloads of weights (2)"),
    "CHECK": _on_off(("plan",), "also check the tasks, without starting a server"),
    "TARGET": Knob(("why",), "result or environment to explain; absent: all stale results", "path"),
    "FORMAT": Knob(TELLS, "output format (text)", "text or json",
                   _one_of("text", "json")),
    "A": Knob(("compare", "flags-diff"), "the first model; flags-diff: the first release"),
    "B": Knob(("compare", "flags-diff"), "the second model; flags-diff: the second release"),
    "TASK": Knob(
        ("compare", "preview"), "compare: the tasks (all that both have); preview: the task",
        "names",
    ),
    "SEARCH": Knob(
        ("tasks",), "words in a task's name, tag, dataset or language; * and ? as in a shell"
    ),
    "FLIPS": _count(("compare",), "samples to show for each direction"),
    "ANYWAY": _on_off(("compare",), "compare results that were measured differently"),
    "REPO": Knob(("publish",), "dataset on the hub", "organization/name"),
    "SAMPLES": _on_off(("publish",), "include prompts and answers"),
    "PUBLIC": _on_off(("publish",), "make a new repository public"),
    "YES": _on_off(
        ("publish", "gc", "prune-venvs"),
        "gc, prune-venvs: remove without asking; publish: upload, not only list the files",
    ),
    "MODEL": Knob(("new",), "name on the hub, or a directory"),
    "NAME": Knob(("new",), "name of the file (from the model's name)"),
    "PROVIDER": Knob(("new",), "a name from configs/providers"),
    "VERSION": Knob(ONE_ENV, "release of the engine"),
    "ENGINE": Knob((*ONE_ENV, "flags-diff", "survey"), "a name from configs/engines (vllm)"),
    "CUTOFF": Knob(ONE_ENV, "date as of which packages are resolved (release)",
                   "date, release or none"),
    "SHARE": _on_off(("lock",), "also write the lock to configs/locks"),
    "DIR": Knob(("wheelhouse",), "directory to write (wheelhouse)", "path"),
    "FROM": Knob(("survey",), "first release"),
    "TO": Knob(("survey",), "last release"),
    "DEEP": Knob(
        ("survey",),
        "also build the releases: all, or the last of each minor version and both ends of each "
        "repair's range",
        "on (all), off or some", _deep,
    ),
    "DISK": Knob(("survey",), "disk space for builds (25)", "GB"),
    "ARGS": Knob(("test", "test-real", "test-all", "test-faults", "test-properties"),
                 "arguments for pytest", "arguments"),
    "KILLS": _count(("test-faults",), "kills at random moments (200)"),
    "STARTS": _count(
        ("test-faults",), "server starts during which another user takes the port (1000)"
    ),
    "POINTS": Knob(("test-faults",), "changes to files before which a run is killed (all)",
                   "number or all", _points),
    "CASES": _count(("test-properties",), "generated files (1,000,000)"),
    "SEED": _count(("test-faults", "test-properties"), "seed of the random series"),
    "QUICK": _on_off(("bench",), "build a smaller environment"),
    "ROUNDS": _count(("bench",), "rounds of each measurement (3)"),
    "AS_OF": Knob(("lock-main",), "date as of which uv.lock is resolved (today)", "date"),
    "OFFLINE": _on_off((ANY,), "query no network"),
    "WHEELHOUSE": Knob((ANY,), "directory to install from, instead of an index", "path"),
    "PYTHON": Knob((ANY,), "interpreter for .venv", "path"),
    "V": Knob(
        (ANY,), "1: show commands; 2: also why they run", "0, 1 or 2", _one_of("0", "1", "2")
    ),
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
        "`make schema` generates this page from `lib/benchy/core/knob_table.py`. Do not edit it.",
        "",
        "Set a knob on Make's command line (`make results LIMIT=10`), in the environment, or in",
        "`local.mk`. On the command line, an unknown knob is an error, and so is a knob that the",
        "goal does not take.",
        "",
        "A knob that is on or off accepts `1`, `yes`, `true` and `on`, or `0`, `no`, `false` and",
        "`off`. An empty value is the same as no knob, and any other value is an error.",
        "",
        "Defaults are in parentheses. `results/%` and `venvs/%` are single files, such as",
        "`make results/quickstart/smoke/results.json`.",
        "",
        "| knob | value | goals | description |",
        "|---|---|---|---|",
    ]
    for name, knob in KNOBS.items():
        goals = ", ".join("all" if goal == ANY else f"`{goal}`" for goal in knob.goals)
        lines.append(f"| `{name}` | {knob.holds} | {goals} | {knob.does} |")
    return "\n".join([*lines, ""])
