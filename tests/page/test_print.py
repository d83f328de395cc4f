"""The leaderboard as Chromium prints it to PDF: every column is on the page.

The tests need no PDF reader. Each score links to its task, and Chromium writes the position of each
link into the PDF uncompressed.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException

from stage import here, open_page, site

PAPER = {"preferCSSPageSize": True, "printBackground": True}
LETTER = {"printBackground": True}  # no page size: Chromium prints on Letter


def printed(browser: Any, how: dict[str, Any]) -> bytes:
    """Return the page as a PDF.

    Chromium 150 answers about one request in 50 with "Printing failed", at once, for any page and
    even on an idle machine. The next request succeeds.
    """
    for left in (2, 1, 0):
        try:
            answer = browser.execute_cdp_cmd("Page.printToPDF", how)
        except WebDriverException as error:
            if "Printing failed" not in str(error) or not left:
                raise
            continue
        break
    return base64.b64decode(answer["data"])


def links(pdf: bytes) -> dict[str, tuple[float, float]]:
    """Return the left and right end of each link, as fractions of the page width."""
    found = {}
    width = {float(w) for w in re.findall(rb"/MediaBox ?\[0 0 ([\d.]+)", pdf)}
    assert len(width) == 1, "pages of one width"
    for left, right, to in re.findall(
        rb"/Rect ?\[([\d.-]+) [\d.-]+ ([\d.-]+) [\d.-]+\].*?/URI \((.*?)\)", pdf, re.S
    ):
        found[to.decode()] = float(left) / max(width), float(right) / max(width)
    return found


@pytest.mark.parametrize(("models", "tasks"), [(24, 20), (3, 6), (2, 45), (2, 90)])
@pytest.mark.parametrize("how", [PAPER, LETTER], ids=["its own page", "letter"])
def test_every_column_is_printed_within_the_page(
    browser: Any, tmp_path: Path, models: int, tasks: int, how: dict[str, Any]
) -> None:
    names = [f"a_task_{n:02d}" for n in range(tasks)]
    with here(tmp_path):
        site(models, names, "    Two: {tasks: [a_task_00, a_task_01]}\n")
    open_page(browser, tmp_path / "results/index.html")
    found = links(printed(browser, how))
    for number in range(models):
        ends = []
        for name in names:
            at = next(
                v for k, v in found.items() if k.endswith(f"/m{number:03d}/index.html#{name}")
            )
            assert 0 <= at[0] < at[1] <= 1, f"{name} is beside the page"
            ends.append(at[1])
        assert ends == sorted(ends) and len(set(ends)) == tasks, "columns lie over each other"


def test_printed_cells_do_not_overlap(browser: Any, tmp_path: Path) -> None:
    """At the width of a landscape A4 page between its margins."""
    with here(tmp_path):
        site(24, [*(f"a_task_{n:02d}" for n in range(19)), "translation"])
    open_page(browser, tmp_path / "results/index.html")
    width = round((297 - 18) / 25.4 * 96)
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        screen = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        wide = "return [...document.querySelectorAll('#board th, #board td')]"
        assert browser.execute_script(f"{wide}.every(c => c.scrollWidth <= c.clientWidth + 1)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
