"""bin/gc: list files that no config refers to, ask, and delete them: results, interrupted work,
logs and specs of models and tasks that were removed from the configs.

Reads build/plan.json, the plans of single files (build/eval/*/plan.json), build/, run/, logs/ and
results/, where results name their config if it is outside of configs/. Nothing else deletes
results. For environments, see bin/venv prune.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchy.core import files, paths
from benchy.core.errors import UsageError
from benchy.core.result_files import is_limit
from benchy.core.specs import read_plan
from benchy.environments import inventory
from benchy.maintenance import activity_check


@dataclass(frozen=True, order=True)
class Waste:
    """A file or directory that nothing refers to, and the reason."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        """Size on disk in bytes."""
        if self.path.is_dir() and not self.path.is_symlink():
            return inventory.measure(self.path).all
        return self.path.lstat().st_blocks * 512


def planned() -> dict[str, set[str]]:
    """Return the tasks of each model in the last plan of configs/, in the plans of single files
    that still exist, and in the plans of runs under way.

    Raises UsageError if there is no plan: everything would count as waste.
    """
    tasks_by_model: dict[str, set[str]] = {}
    for path in [paths.BUILD / "plan.json", *paths.BUILD.glob("**/eval/**/plan.json")]:
        try:
            models = read_plan(path)["models"]
        except (OSError, ValueError, KeyError):
            continue
        for model, facts in models.items():
            if path.parent == paths.BUILD or Path(facts["source"]).exists():
                tasks_by_model.setdefault(model, set()).update(facts["tasks"])
    # The plans of runs that began before the configs changed, and activity outside a run.
    for plan in activity_check.plans():
        for model, facts in plan["models"].items():
            tasks_by_model.setdefault(model, set()).update(facts["tasks"])
    for model, task in activity_check.at_work():
        tasks_by_model.setdefault(model, set()).add(task)
    if not tasks_by_model:
        raise UsageError("there is no plan of the results to keep", inventory.PLAN_FIRST)
    return tasks_by_model


def results(tasks_by_model: dict[str, set[str]]) -> Iterator[Waste]:
    for top in _with_limits(paths.RESULTS):
        for model in _models(top):
            if model.name not in tasks_by_model:
                if not has_external_config(model):
                    yield Waste(model, "no config has its model")
                continue
            for task in sorted(p for p in model.iterdir() if p.is_dir()):
                if not task.name.startswith(".") and task.name not in tasks_by_model[model.name]:
                    yield Waste(task, "its model no longer has this task")


def has_external_config(results: Path) -> bool:
    """Return whether results come from an existing config outside of configs/. Its plan may have
    been deleted with build/."""
    for path in results.glob("*/results.json"):
        source = files.read_json(path).get("source")
        if not isinstance(source, str) or Path(source).is_relative_to(paths.CONFIGS):
            continue
        if Path(source).is_file():
            return True
    return False


def work(tasks_by_model: dict[str, set[str]]) -> Iterator[Waste]:
    """Yield leftovers of runs outside of results/."""
    for top in (paths.BUILD / "cache/eval", paths.LOGS / "eval", paths.SPECS / "result"):
        for folder in _with_limits(top):
            for model in _models(folder):
                if model.name not in tasks_by_model:
                    yield Waste(model, "no config has its model")
    for top, ending in ((paths.LOGS / "serve", ".log"), (paths.SPECS / "server", ".json")):
        for file in sorted(top.glob(f"*{ending}*")):
            if file.name.split(ending)[0] not in tasks_by_model:
                yield Waste(file, "no config has its model")


def _with_limits(top: Path) -> list[Path]:
    """Return a folder of models, and its folders of limits, which have models too."""
    return [top, *(path for path in top.glob("limit-*") if is_limit(path.name))]


def _models(folder: Path) -> list[Path]:
    """Return the folders of models, sorted."""
    return sorted(p for p in folder.glob("*") if p.is_dir() and not is_limit(p.name))
