"""Made-up results, and headless Chromium to view their pages: for tests/page and picture.py.

Uses Debian's chromium and chromedriver, without a network.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selenium import webdriver

from benchy.cli import report as report_command
from benchy.evaluation import result as document
from benchy.evaluation.result import Metric, Score
from results import made

__all__ = ["change", "chromium", "here", "made", "open_page", "result", "site"]


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser. Raises FileNotFoundError if chromium is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        raise FileNotFoundError("no chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--host-resolver-rules=MAP * ~NOTFOUND"):  # fmt: skip
        options.add_argument(argument)
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    one.set_script_timeout(60)
    try:
        yield one
    finally:
        one.quit()


@contextlib.contextmanager
def here(folder: Path) -> Iterator[None]:
    """Make a folder benchy's root."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def result(model: str, task: str, dice: random.Random, place: int) -> None:
    metric, value, error, up = "acc,none", dice.uniform(0.2, 0.9), 0.02, True
    if task == "translation":
        metric, value, error = "chrf,none", value * 100, 1.0
    if task == "wikitext":
        metric, value, up = "word_perplexity,none", value * 30, False
    score = Score(task, metric, value, None if task == "wikitext" else error, up)
    numbers = {task: {metric: Metric(value, score.stderr, up)}}
    path = Path("results", model, task, "results.json")
    path.parent.mkdir(parents=True)
    # document.write would sync the disk 6,000 times.
    one = made(model, task, score=score, metrics=numbers, harness_output=[])
    path.write_text(document.dump(one))


def change(model: str, task: str = "spanish", *, name: str | None = None, **changes: Any) -> None:
    path = Path("results", model, task, "results.json")
    old = document.read(path)
    new = replace(old.model, name=name) if name else old.model
    document.write(replace(old, model=new, **changes), path)


def site(models: int, tasks: Sequence[str], groups: str = "") -> None:
    """Write results of `models` models on these tasks, and their report, to the current directory.

    groups: YAML of leaderboard.groups, as in config.yaml.
    """
    folder = Path("configs/tasks")
    folder.mkdir(parents=True)
    for task in tasks:
        (folder / f"{task}.yaml").write_text(f"task_name: x\ndescription: About {task}.\n")
    if groups:
        Path("configs/config.yaml").write_text(f"leaderboard:\n  groups:\n{groups}")
    dice = random.Random(4)  # noqa: S311
    for number in range(models):
        for place, task in enumerate(tasks):
            result(f"m{number:03d}", task, dice, place)
    report_command.main([])


def open_page(browser: Any, path: Path, width: int = 1280, dark: bool = False) -> None:
    """Load a page from disk and clear the browser log of earlier pages."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(path.as_uri())
