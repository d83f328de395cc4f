"""Where a model's way through the stages of a run can end."""

from __future__ import annotations

from enum import Enum


class Exit(Enum):
    """Where a model's way ended, with the reason."""

    SAME_LOCK = "its lock was resolved again and is identical: none of its results is stale"
    NOTHING_STALE = "none of its results is stale with the environments that it has now"
    NO_WEIGHTS = "its weights could not be downloaded"
    FETCHED = "the run only fetches"
    OTHER_RUN = "another run made its results"
    SERVED = "its server has run; Dispatcher.failed says whether that failed"
