"""Draw docs/leaderboard.png: the page in a browser, with made-up models and numbers.

Usage: .venv/bin/python tests/page/picture.py [FILE]
"""

from __future__ import annotations

import base64
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("lib", "tests/support")]
from selenium.webdriver.common.by import By  # noqa: E402

from benchy.cli import report as report_command  # noqa: E402
from benchy.core import paths  # noqa: E402
from benchy.evaluation import result as document  # noqa: E402
from benchy.evaluation.result import Metric, Score  # noqa: E402
from stage import chromium, here, made, open_page  # noqa: E402

WOODS = ("alder", "birch", "elm", "fir", "larch", "maple", "pine", "rowan")
SIZES = ("1B", "3B", "8B")
# task → metric, factor (0: perplexity, where lower is better), largest standard error
TASKS = {
    "portuguese": ("acc_norm,none", 1, 0.025),
    "spanish": ("acc_norm,none", 1, 0.025),
    "translation": ("chrf,none", 100, 2.2),
    "wikitext": ("word_perplexity,none", 0, None),
}
CONFIG = """leaderboard:
  groups:
    Iberian: {tasks: [spanish, portuguese]}
    All: {tasks: {spanish: 1, portuguese: 1, translation: 2}}
"""
ODD = ("rowan-1B", "translation")  # has a different seed
REASON = document.FallbackReason("vllm_0_8_0", "0.8.0", "it could not be built")


def results() -> None:
    """Write the results of all models on all tasks. Two models use a fallback and two also have a
    limited result. One result is missing, and one has a different seed."""
    dice = random.Random(11)  # noqa: S311
    for model in [f"{wood}-{size}" for wood in WOODS for size in SIZES]:
        able = dice.uniform(0.3, 0.72)
        fallback = model in ("fir-1B", "pine-3B")
        for task in TASKS:
            if (model, task) != ("alder-1B", "wikitext"):
                one(dice, model, task, able, fallback)
        if model in ("birch-8B", "elm-1B"):
            one(dice, model, "spanish", able, False, 50)


def one(
    dice: random.Random, model: str, task: str, able: float, fallback: bool, *limits: int
) -> None:
    """Write one result. able: the model's ability, from 0 to 1. limits: at most one limit."""
    key, factor, most = TASKS[task]
    value = able + dice.uniform(-0.08, 0.08)
    value, error = value * factor if factor else 4.2 / value, most and dice.uniform(0.3, 1) * most
    limit = limits[0] if limits else None
    asked, answered = ("0.8.0", "0.32.0") if fallback else ("0.10.2", "0.10.2")
    plain = made(model, task, limit=limit)
    path = paths.result(model, task, limit)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = replace(
        plain,
        model=replace(plain.model, name=f"example/{model}"),
        engine=replace(plain.engine, asked=asked, answered=answered),
        fallback=fallback,
        fallback_reason=REASON if fallback else None,
        seed=7 if (model, task) == ODD else plain.seed,
        score=Score(task, key, value, error, bool(factor)),
        metrics={task: {key: Metric(value, error, bool(factor))}},
    )
    document.write(found, path)


def main() -> None:
    picture = paths.ROOT / "docs/leaderboard.png"
    if sys.argv[1:]:
        picture = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder, here(Path(folder)), chromium() as browser:
        Path("configs/tasks").mkdir(parents=True)
        for task in TASKS:
            Path("configs/tasks", f"{task}.yaml").write_text("task_name: x\n")
        Path("configs/config.yaml").write_text(CONFIG)
        results()
        report_command.main([])
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        open_page(browser, Path(folder, "results/index.html"), 1180)
        for box in browser.find_elements(By.CSS_SELECTOR, "tbody .pick input")[1:3]:
            box.click()
        screen = {"width": 1180, "height": 640, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {})
        picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
