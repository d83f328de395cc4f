"""The knobs that select the plan, models and tasks. make exports them.

Used by bin/knobs, which checks make's command line before a goal starts (mk/knobs.mk).
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchy.core import knobs, names, paths
from benchy.core.errors import Mistake, UsageError
from benchy.core.result_files import ResultId
from benchy.core.specs import PlanIndex
from benchy.plan.make import Graph

# Variables besides benchy's knobs that Make's command line may pass to the programs it runs.
PASSED = re.compile(
    r"(BENCHY|CUDA|CUBLAS|NVIDIA|NCCL|GLOO|HIP|ROCM|ROCR|HF|HUGGING_FACE|HUGGINGFACE|TRANSFORMERS"
    r"|TOKENIZERS|DATASETS|TIKTOKEN|VLLM|FLASHINFER|TORCH|PYTORCH|TRITON|OMP|MKL|KMP|RAY|LD|UV|PIP"
    r"|SLURM|XDG|LC|SSL)_\w+|PYTHON[A-Z]+"
    r"|(\w+_)?(http|https|all|no)_proxy|\w+_CA_BUNDLE|\w+_TOKEN"
    r"|HOME|PATH|LANG|TMPDIR|SHELL|TERM|NO_COLOR|COLUMNS|LINES|MAKE\w*",
    re.IGNORECASE,
)


def limit_directory() -> str:
    """Return the subfolder for a plan with LIMIT, whose targets differ. bin/plan checks LIMIT."""
    text = os.environ.get("LIMIT", "")
    return f"/limit-{text}" if knobs.is_limit(text) else ""


def config_file(given: str) -> Path:
    """Return the file that CONFIG names. Raise UsageError if it is not a model's file."""
    path = Path(os.environ.get("BENCHY_CWD", "."), given).absolute()
    if not path.is_file():
        files = (p for p in Path("configs").glob("**/*.yaml") if p.parts[1] not in names.NO_MODELS)
        known = {p.stem: str(p) for p in files}
        near = known.get(path.stem) or known.get(names.near(path.stem, known), "")
        hint = f"did you mean CONFIG={near}?" if near else "write CONFIG=configs/quickstart.yaml"
        raise UsageError(f"there is no file {given}", hint, "CONFIG")
    here = Path("configs").absolute()
    if path.is_relative_to(here) and names.NO_MODELS & set(path.relative_to(here).parts[:1]):
        kind = path.relative_to(here).parts[0]
        hint = "write CONFIG=configs/quickstart.yaml, or another model's file"
        raise UsageError(f"{given} is a file of configs/{kind}, not of a model", hint, "CONFIG")
    return path


def graph_for(verb: str) -> Graph:
    if verb == "results":
        return Graph("build" + limit_directory())
    given = os.environ.get("CONFIG", "")
    if not given:
        raise UsageError("is missing", "write make eval CONFIG=configs/quickstart.yaml", "CONFIG")
    path = config_file(given)
    if not names.good(path.stem):
        raise UsageError(
            f"{path.name!r} is not a valid name for results",
            "rename the file: letters, digits and . _ + -",
            "CONFIG",
        )
    os.environ["CONFIG"] = str(path)
    return Graph(f"build/eval/{path.stem}" + limit_directory(), single=True)


def mistakes(
    given: Sequence[str], goals: Sequence[str], environ: Mapping[str, str] = os.environ
) -> list[Mistake]:
    """Return mistakes in the knobs of a command line. given: the names of the knobs."""
    from benchy.core import knob_table  # noqa: PLC0415 - only needed here

    table, problems = knob_table.KNOBS, []
    everywhere = [name for name, knob in table.items() if knob_table.ANY in knob.goals]
    takes = [*dict.fromkeys(name for goal in goals for name in knob_table.taken(goal))]
    goal = "make " + " ".join(goals)
    for name in given:
        if name in takes or name in everywhere:
            try:
                table[name].check(name, environ.get(name, ""))
            except UsageError as error:
                problems += error.mistakes
        elif name in table or not PASSED.fullmatch(name):
            what = f"{goal} takes no such knob" if name in table else "there is no such knob"
            nearest = names.near(name.upper(), takes) or names.near(name.upper(), everywhere)
            others = [f"make {other}" for other in table[name].goals] if name in table else []
            hint = f"{goal} takes {', '.join(takes)}" if takes else f"{goal} takes none"
            if nearest:
                hint = f"did you mean {nearest}={environ.get(name, '')}?"
            elif others:
                hint = f"{' and '.join(others)} take{'s' * (len(others) == 1)} it; {hint}"
            else:
                hint += f"; to set an environment variable: {name}=… make"
            problems.append(Mistake("", 0, name, what, hint))
    return problems


def no_goals(words: Sequence[str], known: Sequence[str]) -> list[Mistake]:
    """Return mistakes for words of a command line that are not goals. known: the goals."""
    problems = []
    for word in words:
        hint = "make help lists the goals"
        if word.endswith((".yaml", ".yml")) or Path(word).is_file():
            hint = f"write make eval CONFIG={word}"
        elif places := {p.parent for p in Path("configs").glob(f"**/{glob.escape(word)}.yaml")}:
            # Folders below configs/tasks contain files of the harness.
            if any(p.parts[1:2] not in [(name,) for name in names.NO_MODELS] for p in places):
                hint = f"write make results MODELS={word}"
            elif Path("configs/tasks") in places:
                hint = f"write make results TASKS={word}"
        elif nearest := names.near(word, known):
            hint = f"did you mean make {nearest}?"
        problems.append(Mistake("", 0, word, "there is no such goal", hint))
    return problems


def no_target(target: str) -> UsageError:
    """Return the error for a goal below results/ or venvs/ that no config requests."""
    rules = Path("build/rules.mk").read_text()
    folder, _, rest = target.partition("/")
    tail = re.compile(r"/results\.json$|/\.stamp$|\.lock$")
    heads = re.findall(rf"^{folder}/([^:\s]+):", rules, re.M)
    known = {tail.sub("", head): f"{folder}/{head}" for head in heads}
    nearest = known.get(names.near(tail.sub("", rest), known), "")
    hint = f"did you mean {nearest}?" if nearest else "`make plan` lists what would be built"
    return UsageError("no configuration requests it", hint, target)


@dataclass(frozen=True)
class Selection:
    """The selected models and tasks of a plan."""

    plan: PlanIndex
    models: tuple[str, ...]
    tasks: tuple[str, ...]  # empty: each model's own tasks

    def targets(self, model: str) -> list[str]:
        return [
            paths.target(model, task, self.plan["limit"])
            for task in self.plan["models"][model]["tasks"]
            if not self.tasks or task in self.tasks
        ]

    def all(self) -> list[str]:
        return [target for model in self.models for target in self.targets(model)]


def select(plan: PlanIndex, globs: Sequence[str], tasks: Sequence[str]) -> Selection:
    """Return the models and tasks that MODELS and TASKS name. Raise UsageError.

    Without MODELS, select every model but the quickstart.
    """
    known = sorted(plan["models"])
    models = [m for m in known if m != names.QUICKSTART] if not globs else []
    for pattern in globs:
        matches = [m for m in known if fnmatch.fnmatch(m, pattern) or names.config_of(m) == pattern]
        if not matches:
            nearest = names.near(pattern, known)
            hint = f"did you mean {nearest!r}?" if nearest else "`make plan` lists the models"
            raise UsageError(f"no model is named {pattern!r}", hint, "MODELS")
        models += [m for m in matches if m not in models]
    have = {task for m in models for task in plan["models"][m]["tasks"]}
    for task in tasks:
        if task not in have:
            nearest = names.near(task, have)
            hint = (
                f"did you mean {nearest!r}?"
                if nearest
                else f"their tasks: {', '.join(sorted(have))}"
            )
            raise UsageError(f"no selected model has the task {task!r}", hint, "TASKS")
    return Selection(plan, tuple(models), tuple(tasks))


def model_of(target: str) -> str:
    """Return MODEL of results/[limit-n/]MODEL/TASK/results.json."""
    return ResultId.parse(target).model


def task_of(target: str) -> str:
    """Return TASK of results/[limit-n/]MODEL/TASK/results.json."""
    return ResultId.parse(target).task
