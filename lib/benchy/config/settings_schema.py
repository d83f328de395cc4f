"""The keys of configs/config.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchy.config.field_types import Name, Size, Strict, key
from benchy.config.launcher_schema import Slurm


class Evaluation(Strict):
    """Settings for all tasks."""

    default_limit: Size | None = key(None, "requests per task if LIMIT is not set")


class Logging(Strict):
    """Settings of older files."""

    log_dir: str = key("logs", "accepted for older files; logs are always in logs/", "no")
    level: str | None = key(None, "accepted for older files; has no effect", "no")


class Group(Strict):
    """A group of tasks on the leaderboard. Its score is the mean of its tasks, in percent."""

    tasks: (
        Annotated[list[Name], Field(min_length=1)]
        | Annotated[dict[Name, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    ) = key(..., "tasks, or a mapping of tasks to weights", "no")
    about: str = key("", "description on the leaderboard", "no")

    @property
    def weights(self) -> dict[str, float]:
        """Return task → weight."""
        return dict(self.tasks) if isinstance(self.tasks, dict) else dict.fromkeys(self.tasks, 1.0)


class Leaderboard(Strict):
    """Settings of the leaderboard. They change no result."""

    groups: dict[Annotated[str, Field(pattern=r"^\S(.*\S)?$")], Group] = key(
        {}, "groups of tasks, by name", "no"
    )


class Settings(Strict):
    """configs/config.yaml: settings for all models."""

    paths: dict[str, str] = key({}, "hf_cache: directory of the hub's files (HF_HUB_CACHE)", "no")
    evaluation: Evaluation = key(Evaluation(), "settings for all tasks")
    logging: Logging = key(Logging(), "settings of older files", "no")
    leaderboard: Leaderboard = key(Leaderboard(), "groups of tasks", "no")
    launcher: Name = key(
        "local", "where servers run: local, or the NAME of configs/launchers/NAME.yaml", "no"
    )
    slurm: Slurm = key(Slurm(), "what a launcher requests for all models", "no")
