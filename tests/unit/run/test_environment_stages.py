"""The stages of one model: which environments are built, what updates the plan, where it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import specs
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.core.specs import Fallback, ModelEntry
from benchy.environments import health
from benchy.run.current_plan import CurrentPlan
from benchy.run.dispatcher import Dispatcher
from benchy.run.exits import Exit
from benchy.run.settings import RunSettings

LOCK, STAMP = str(paths.lock("new")), str(paths.stamp("new"))
NEW, OLD, HARNESS = "environment/new", "environment/old", "environment/h"
UNBUILT = "unbuilt"


def model(environment: str = "new", *, fallback: bool = False) -> ModelEntry:
    """Return the plan's entry of a model that requests the environment `new`."""
    requested: Fallback = {"environment": "new", "version": "1", "error": "no solution"}
    return specs.model(
        asked="new",
        environment=environment,
        harnesses=["h"],
        fallback=requested if fallback else None,
    )


FALLBACK = model("old", fallback=True)


@dataclass
class Case:
    """A model at the start of its stages, and what comes of each query and command.

    Attributes:
        about: What is special about it.
        built: The usable environments.
        stale_targets: Locks and stamps that Make would build.
        facts: Its entry in the plan.
        updates: Its entry after each update of the plan; the last one holds.
        fails: Targets and commands that fail.
        stale: Whether a result is stale, at each query.
        fetch_only: Whether the run stops before the lease.
        builds: The expected builds, in order.
        exit: The expected end.
    """

    about: str
    built: set[str] = field(default_factory=lambda: {"new", "h"})
    stale_targets: tuple[str, ...] = ()
    facts: ModelEntry = field(default_factory=model)
    updates: tuple[ModelEntry, ...] = ()
    fails: tuple[str, ...] = ()
    stale: tuple[bool, ...] = ()
    fetch_only: bool = False
    builds: tuple[str, ...] = ()
    exit: Exit | str = Exit.SERVED


CASES = [
    Case("everything is ready"),
    Case("everything is ready, make fetch", fetch_only=True, exit=Exit.FETCHED),
    Case("the download fails", fails=("fetch",), exit=Exit.NO_WEIGHTS),
    Case("an environment is missing", built={"h"}, updates=(model(),), builds=(NEW,)),
    Case("a harness is missing", built={"new"}, updates=(model(),), builds=(HARNESS,)),
    Case("a stamp is stale", stale_targets=(STAMP,), builds=(NEW,)),
    Case("its build fails", built={"h"}, updates=(model(),), fails=(NEW,), builds=(NEW,),
         exit=UNBUILT),
    Case("its build fails and another serves", built={"h"}, updates=(FALLBACK,), fails=(NEW,),
         builds=(NEW, OLD)),
    Case("both builds fail", built={"h"}, updates=(FALLBACK,), fails=(NEW, OLD),
         builds=(NEW, OLD), exit=UNBUILT),
    Case("a lock comes out identical", stale_targets=(LOCK,), updates=(model(),), stale=(False,),
         builds=(LOCK,), exit=Exit.SAME_LOCK),
    Case("a lock has changed", stale_targets=(LOCK,), updates=(model(),), stale=(True, True),
         builds=(LOCK, NEW, HARNESS)),
    Case("a lock has changed, and another run made the results", stale_targets=(LOCK,),
         updates=(model(),), stale=(True, False), builds=(LOCK, NEW, HARNESS),
         exit=Exit.NOTHING_STALE),
    Case("a first lock", built={"h"}, stale_targets=(LOCK, STAMP), updates=(model(), model()),
         stale=(True, True), builds=(LOCK, NEW, HARNESS)),
    Case("a lock cannot be resolved", built={"h"}, stale_targets=(LOCK,),
         updates=(model(), model()), fails=(LOCK,), builds=(LOCK, HARNESS), exit=UNBUILT),
    Case("a lock cannot be resolved and another serves", built={"h"}, stale_targets=(LOCK,),
         updates=(FALLBACK, FALLBACK), fails=(LOCK,), stale=(True,), builds=(LOCK, HARNESS, OLD)),
    Case("a lock cannot be resolved, its old environment serves", stale_targets=(LOCK,),
         updates=(model(),), fails=(LOCK,), stale=(True,), builds=(LOCK, HARNESS)),
    Case("a fallback's cause persists", built={"old", "h"}, facts=FALLBACK, updates=(FALLBACK,),
         fails=(NEW,), stale=(False,), builds=(NEW,), exit=Exit.NOTHING_STALE),
    Case("a fallback's cause persists, and a result is stale", built={"old", "h"}, facts=FALLBACK,
         updates=(FALLBACK,), fails=(NEW,), stale=(True,), builds=(NEW,)),
    Case("a fallback's cause is gone", built={"old", "h"}, facts=FALLBACK, updates=(model(),),
         stale=(True,), builds=(NEW,)),
    Case("a fallback's cause persists, make fetch", built={"old", "h"}, facts=FALLBACK,
         updates=(FALLBACK,), fails=(NEW,), builds=(NEW,), fetch_only=True, exit=Exit.FETCHED),
]  # fmt: skip


class Make:
    """Make and its commands, which do what a case says."""

    def __init__(self, case: Case) -> None:
        self.case, self.stale_answers = case, list(case.stale)
        self.updates, self.builds = list(case.updates), list[str]()

    def plan(self) -> Mapping[str, ModelEntry]:
        return {"m": self.updates.pop(0)}

    def stale(self, model: str) -> list[str]:
        return [model] if self.stale_answers.pop(0) else []

    def command(self, target: str) -> list[str]:
        return ["build", target]

    def fetching(self, model: str) -> list[str]:
        return ["fetch"]

    def serving(self, model: str, targets: Sequence[str]) -> list[str]:
        raise AssertionError("the server is not part of this test")

    async def run(
        self, argv: Sequence[str], more: Mapping[str, str] | None = None, keep: Sequence[int] = ()
    ) -> int:
        target = argv[-1]
        if argv[0] == "build":
            self.builds.append(target)
        if target in self.case.fails:
            return 1
        if target.startswith("environment/"):
            self.case.built.add(target.partition("/")[2])
        return 0


async def served(name: str) -> Exit:
    return Exit.SERVED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_models_environments_are_built_until_it_can_be_served(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(health, "intact", lambda env: env in case.built)
    make = Make(case)

    async def stages() -> Exit | str:
        settings = RunSettings(
            make, {}, None, {}, frozenset(case.stale_targets), fetch_only=case.fetch_only
        )
        dispatcher = Dispatcher(settings, CurrentPlan(make, {"m": case.facts}))
        monkeypatch.setattr(dispatcher.commands, "run", make.run)
        monkeypatch.setattr(dispatcher, "serve", served)
        try:
            return await dispatcher.model("m")
        except Failure:
            return UNBUILT

    assert (asyncio.run(stages()), make.builds) == (case.exit, list(case.builds))
    # Each expected update of the plan and each expected query took place.
    assert (make.updates, make.stale_answers) == ([], [])
