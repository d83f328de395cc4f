"""Access to the pages by phone, keyboard and screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from benchy.cli import report as report_command
from stage import change, here, open_page, site

TASKS = [f"a_task_{n:02d}" for n in range(20)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    top = tmp_path_factory.mktemp("reach")
    with here(top):
        site(6, TASKS, "    Two: {tasks: {a_task_00: 1, a_task_01: 3}, about: A pair.}\n")
        yield top / "results"


def test_table_and_column_heads_have_accessible_names(browser: Any, results: Path) -> None:
    open_page(browser, results / "index.html")
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    def names(role: str) -> list[str]:
        found = [n for n in nodes if n.get("role", {}).get("value") == role and not n["ignored"]]
        return [n["name"]["value"] for n in found]

    assert names("table") == ["Scores of each model on each task"]
    assert names("columnheader")[:3] == ["Compare", "Model", "Engine"]


def test_columns_are_described_in_text(browser: Any, results: Path) -> None:
    """Neither touch nor the keyboard can show a title attribute."""
    open_page(browser, results / "index.html", 390)
    about = browser.find_element(By.CSS_SELECTOR, "details.about")
    assert "A pair." not in browser.find_element(By.TAG_NAME, "body").text
    about.find_element(By.TAG_NAME, "summary").send_keys("\n")
    assert "A pair. Weighted mean of 1 a_task_00, 3 a_task_01." in about.text
    assert "About a_task_19." in about.text and "acc, higher is better" in about.text
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_model_column_stays_next_to_the_first_when_scrolled(browser: Any, results: Path) -> None:
    """The two fixed columns have no gap between them, in the head and in every row."""
    open_page(browser, results / "index.html", 900)
    browser.execute_script("document.querySelector('#all').scrollLeft = 300")
    gaps = browser.execute_script(
        "return [...document.querySelectorAll('#board tr')].map(r =>"
        "r.cells[1].getBoundingClientRect().left - r.cells[0].getBoundingClientRect().right)"
    )
    assert all(abs(gap) < 0.6 for gap in gaps), gaps


def test_chart_is_legible_on_a_phone(browser: Any, results: Path) -> None:
    open_page(browser, results / "m000/index.html", 390)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('.chart *')].filter(e => e.textContent.trim()"
        " && !e.childElementCount).map(e => parseFloat(getComputedStyle(e).fontSize)"
        " * (e.ownerSVGElement ? e.getScreenCTM().a : 1))"
    )
    assert len(sizes) > 40 and min(sizes) >= 11
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    said = browser.find_element(By.CSS_SELECTOR, ".chart li").text
    assert said.startswith("a_task_00") and "±0.0200" in said


def test_marked_results_are_explained_and_not_subtracted(browser: Any, results: Path) -> None:
    with here(results.parent):
        change("m004", "a_task_00", seed=99)
        report_command.main([])
    open_page(browser, results / "index.html")
    row = browser.find_element(By.XPATH, "//tbody/tr[th/a = 'm004']")
    cells = row.find_elements(By.TAG_NAME, "td")
    assert "of unlike results" in cells[2].text and "other seed" in cells[3].text
    assert row.find_elements(By.CSS_SELECTOR, ".mark") and "other" not in cells[4].text
    for name in ("m004", "m000"):
        browser.find_element(By.XPATH, f"//tbody/tr[th/a = '{name}']//input").click()
    browser.find_element(By.ID, "do").click()
    said = [by.text for by in browser.find_elements(By.CSS_SELECTOR, "#compare .by")]
    assert said[:2] == ["measured otherwise"] * 2 and "measured otherwise" not in said[2:]
    open_page(browser, results / "m004/index.html")
    assert "seed 99, others 1234" in browser.find_element(By.ID, "a_task_00").text
