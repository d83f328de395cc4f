"""The keys of configs/config.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchy.config.field_types import Name, Size, Strict, key
from benchy.config.launcher_schema import Slurm


class Evaluation(Strict):
    """How tasks are run."""

    default_limit: Size | None = key(None, "requests a task where LIMIT is not given")


class Logging(Strict):
    """Logs."""

    log_dir: str = key("logs", "kept for older files: logs lie in logs/", "no")
    level: str | None = key(None, "kept for older files", "no")


class Group(Strict):
    """A category of the leaderboard. Its score is the mean of its tasks, in percent."""

    tasks: (
        Annotated[list[Name], Field(min_length=1)]
        | Annotated[dict[Name, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    ) = key(..., "tasks, or a mapping of tasks to weights", "no")
    about: str = key("", "a sentence for the reader", "no")

    @property
    def weights(self) -> dict[str, float]:
        """Return task → weight."""
        return dict(self.tasks) if isinstance(self.tasks, dict) else dict.fromkeys(self.tasks, 1.0)


class Leaderboard(Strict):
    """How results are shown together. Changes no result."""

    groups: dict[Annotated[str, Field(pattern=r"^\S(.*\S)?$")], Group] = key(
        {}, "categories, each with its tasks", "no"
    )


class Settings(Strict):
    """configs/config.yaml: settings for all models."""

    paths: dict[str, str] = key({}, "hf_cache: where the hub's files are kept", "no")
    evaluation: Evaluation = key(Evaluation(), "how tasks are run")
    logging: Logging = key(Logging(), "logs", "no")
    leaderboard: Leaderboard = key(Leaderboard(), "how results are shown together", "no")
    launcher: Name = key(
        "local", "where servers run: local, or a launcher, configs/launchers/NAME.yaml", "no"
    )
    slurm: Slurm = key(Slurm(), "what a launcher asks for, for all models", "no")
