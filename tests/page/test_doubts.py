"""How the pages show doubtful scores and empty answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from benchy.cli import report as report_command
from benchy.evaluation.result import Checks
from stage import change, here, open_page, site

PLACE = "harness/samples_one_2026-11-23T10-00-00.1.jsonl"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site: m000 answers `one` with empty text, and `two` names a metric that no result has."""
    top = tmp_path_factory.mktemp("doubts")
    with here(top):
        site(4, ["one", "two"], "    Both: {tasks: [one, two]}\n")
        yield top / "results"


@pytest.fixture(scope="module", autouse=True)
def odd(results: Path) -> None:
    with here(results.parent):
        checks = {"one": Checks(2, 0, 0, 2, 2, 2), "other": Checks(8, 3)}
        for task in ("one", "two"):
            change("m001", task, checks={})
        change("m000", "one", checks=checks, harness_output=[PLACE])
        path = results / "m000/one" / PLACE
        path.parent.mkdir(parents=True)
        given = [("", "", "x"), ("4 \n", "4", "4")]
        path.write_text(
            "\n".join(
                json.dumps(
                    {
                        "doc_id": n, "target": target, "filter": "none", "metrics": ["acc"],
                        "acc": float(n), "arguments": [[f"Question {n}", {}]],
                        "resps": [[raw]], "filtered_resps": [answer],
                    }
                )
                for n, (raw, answer, target) in enumerate(given)
            )
        )  # fmt: skip
        Path("configs/tasks/two.yaml").write_text("task_name: x\nmetric: f1\n")
        report_command.main([])


def row(browser: Any, model: str) -> Any:
    return browser.find_element(By.XPATH, f"//tbody/tr[th/a = '{model}']")


def test_table_marks_a_doubtful_score_and_shows_no_other_metric(
    browser: Any, results: Path
) -> None:
    open_page(browser, results / "index.html")
    cells = row(browser, "m000").find_elements(By.TAG_NAME, "td")
    assert "2 of 2 answers empty" in cells[3].text and "3 of 10 prompts truncated" in cells[3].text
    assert cells[4].text.splitlines() == ["–", "no f1"]  # noqa: RUF001
    assert cells[2].text == "–"  # noqa: RUF001 - a group with a task without a score has no mean
    assert "best" not in (cells[3].get_attribute("class") or "")
    for name in ("m000", "m001"):
        row(browser, name).find_element(By.TAG_NAME, "input").click()
    browser.find_element(By.ID, "do").click()
    lines = browser.find_elements(By.CSS_SELECTOR, "#compare tbody tr")
    assert [line.find_element(By.TAG_NAME, "th").text.split()[0] for line in lines] == ["one"]
    assert "2 of 2 answers empty" in lines[0].text
    heads = browser.find_elements(By.CSS_SELECTOR, "#board thead th:not(.trait) button")
    heads[-1].click()  # a column without numbers can be sorted too
    assert browser.get_log("browser") == []


def test_model_page_lists_checks_and_marks(browser: Any, results: Path) -> None:
    open_page(browser, results / "m000/index.html", 390)
    said = browser.find_element(By.ID, "one").text
    assert "2 of 2 answers empty (no text from the server)" in said.split("\n", maxsplit=1)[0]
    chart = browser.find_elements(By.CSS_SELECTOR, ".chart li:not(.scale)")
    assert [line.text.splitlines()[0] for line in chart] == ["one acc ↑ marked"]
    counts = browser.find_elements(By.CSS_SELECTOR, "#one .checks tbody tr")
    assert [[c.text for c in r.find_elements(By.CSS_SELECTOR, "th, td")] for r in counts] == [
        ["one", "2", "0", "0", "2", "2", "2"], ["other", "8", "3", "", "", "", ""],
    ]  # fmt: skip
    assert "has no metric f1 (it has: acc)" in browser.find_element(By.ID, "two").text
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    open_page(browser, results / "m001/index.html")
    assert not browser.find_elements(By.CSS_SELECTOR, ".checks")


def test_sample_viewer_shows_and_finds_empty_answers(browser: Any, results: Path) -> None:
    open_page(browser, results / "m000/index.html")
    browser.find_element(By.CSS_SELECTOR, "button.open[data-task=one]").click()

    def shown() -> list[Any]:
        return list(browser.find_elements(By.CSS_SELECTOR, "#list summary"))

    WebDriverWait(browser, 30).until(lambda _: len(shown()) == 2)
    assert "→ (empty)" in shown()[0].text and "→ 4" in shown()[1].text
    shown()[0].click()
    texts = "return [...document.querySelectorAll('#list pre')].map(p => p.textContent)"
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script(texts))
    assert browser.execute_script(texts) == ["Question 0", "x", "(empty)"]
    browser.find_element(By.ID, "search").send_keys("(empty)")
    assert len(shown()) == 1 and browser.get_log("browser") == []
