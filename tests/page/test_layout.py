"""Layout of a leaderboard of a dozen models on nine tasks: screens, marks, columns, samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import dozen
from stage import here, open_page

TRAITS = ["Shots", "Chat", "dtype", "Parameters", "License"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    top = tmp_path_factory.mktemp("dozen")
    with here(top):
        dozen.make()
        yield top / "results"


def scrollers(browser: Any) -> list[str]:
    """Return the elements that scroll, each with `down` or `sideways`."""
    found: list[str] = browser.execute_script(
        "const out = [];"
        "for (const e of document.querySelectorAll('*')) {"
        "  const style = getComputedStyle(e), scrolls = (v) => v === 'auto' || v === 'scroll';"
        "  const root = e === document.documentElement;"
        "  if ((root || scrolls(style.overflowY)) && e.scrollHeight > e.clientHeight + 1)"
        "    out.push((e.id || e.tagName) + ' down');"
        "  if ((root || scrolls(style.overflowX)) && e.scrollWidth > e.clientWidth + 1)"
        "    out.push((e.id || e.tagName) + ' sideways');"
        "} return out"
    )
    return found


def heads(browser: Any) -> dict[str, Any]:
    """Return the heads of the visible columns by the text of their buttons."""
    found = browser.find_elements(By.CSS_SELECTOR, "#board thead th:not(.pick)")
    return {h.find_element(By.TAG_NAME, "button").text: h for h in found if h.is_displayed()}


@pytest.mark.parametrize("dark", [False, True])
def test_nine_tasks_fit_a_desktop_screen_with_one_scroll_bar(
    browser: Any, results: Path, dark: bool
) -> None:
    open_page(browser, results / "index.html", 1400, dark)
    assert scrollers(browser) == ["all down"]
    shown = list(heads(browser))
    assert shown[:4] == ["Model", "Engine", "Reasoning", "Iberian"] and len(shown) == 13
    lines = browser.execute_script(
        "return [...document.querySelectorAll('td.engine span, td.n a')].filter(e => {"
        "  const range = document.createRange(); range.selectNodeContents(e.firstElementChild ? "
        "e.childNodes[1] : e); return range.getClientRects().length > 1 }).length"
    )
    assert lines == 0, "neither a release nor a number has a second line"
    assert browser.get_log("browser") == []


def test_phone_shows_three_tasks_and_can_scroll_to_all(browser: Any, results: Path) -> None:
    open_page(browser, results / "index.html", 390)
    assert scrollers(browser) == ["all down", "all sideways"]
    # Hidden to leave room for scores; the Columns menu shows it.
    assert "Engine" not in heads(browser)
    numbers = "return [...document.querySelectorAll('#board thead .n:not(.trait)')].filter(h => {{const r = h.getBoundingClientRect(); return r.left >= {} && r.right <= 391}}).length"  # noqa: E501
    assert browser.execute_script(numbers.format(0)) >= 3
    seen = set()
    for left in range(0, 1200, 150):
        browser.execute_script(f"document.querySelector('#all').scrollTo({left}, 500)")
        edges = browser.execute_script(
            "const model = document.querySelector('#board thead .model').getBoundingClientRect();"
            "return [model.left, model.top, model.right, "
            "[...document.querySelectorAll('#board thead .n:not(.trait)')].filter(h => {"
            "const r = h.getBoundingClientRect();"
            "return r.left >= model.right - 1 && r.right <= 391})"
            ".map(h => h.querySelector('button').textContent)]"
        )
        assert edges[1] == 0, "the head stays"
        assert left < 150 or (edges[0] == 0 and edges[2] < 130), "the models stay"
        seen |= set(edges[3])
    assert seen >= set(dozen.TASKS)


def test_best_and_tied_scores_are_marked_and_explained(browser: Any, results: Path) -> None:
    open_page(browser, results / "index.html", 1400)
    best = browser.find_elements(By.CSS_SELECTOR, "#board td.best")
    tied = browser.find_elements(By.CSS_SELECTOR, "#board td.tied")
    assert best and len(tied) >= 2
    by_column: dict[int, list[str]] = {}
    for cell in [*best, *tied]:
        place = browser.execute_script("return arguments[0].cellIndex", cell)
        by_column.setdefault(place, []).append(cell.get_attribute("class").split()[-1])
    # A column has either one best score or several tied ones.
    assert all(c == ["best"] or (len(c) > 1 and set(c) == {"tied"}) for c in by_column.values())
    legend = browser.find_element(By.CSS_SELECTOR, ".legend").text
    for words in ("one standard error", "best, by more than noise", "not apart from the best"):
        assert words in legend
    browser.find_element(By.CSS_SELECTOR, ".about summary").click()
    said = browser.find_element(By.CSS_SELECTOR, ".about").text
    assert "1.96 of its standard error" in said and "make compare" in said
    glyph = "return getComputedStyle(arguments[0].firstElementChild, '::before').content"
    assert "best" in browser.execute_script(glyph, best[0])  # color alone is not accessible
    # All bars have the same fill.
    fills = "return [...new Set([...document.querySelectorAll('#board .bar rect')].map(f => getComputedStyle(f).fill))]"  # noqa: E501
    assert len(browser.execute_script(fills)) == 1


def test_optional_columns_can_be_shown_sorted_and_searched(browser: Any, results: Path) -> None:
    open_page(browser, results / "index.html", 1400)
    assert not set(TRAITS) & set(heads(browser))
    browser.find_element(By.CSS_SELECTOR, ".columns summary").send_keys("\n")
    for label in browser.find_elements(By.CSS_SELECTOR, "#columns label")[-5:]:
        assert label.text in TRAITS
        label.find_element(By.TAG_NAME, "input").send_keys(" ")  # operable by keyboard
    browser.find_element(By.CSS_SELECTOR, ".columns summary").send_keys("\n")
    shown = heads(browser)
    assert list(shown)[-5:] == TRAITS
    cells = browser.execute_script(
        "return Object.fromEntries("
        "[...document.querySelectorAll('#board tbody tr:not([data-limit])')]"
        ".map(r => [r.querySelector('.model a').textContent, [...r.cells].slice(-5)"
        ".map(c => c.innerText.trim().replace(/\\s+/g, ' '))]))"
    )
    assert cells["llama-3.1-8b-gptq"] == [
        "0 to 25", "no", "bfloat16 weights gptq 4-bit", "8.03B", "llama3.1",
    ]  # fmt: skip
    assert cells[dozen.CHAT][1] == "yes" and cells["smollm2-135m"][3] == "135M"
    assert cells["salamandra-7b"] == ["", "no", "", "", ""]

    def order() -> list[str]:
        found = browser.find_elements(By.CSS_SELECTOR, "#board tbody tr:not([data-limit]) .model a")
        return [a.text for a in found]

    shown["Parameters"].find_element(By.TAG_NAME, "button").send_keys("\n")
    assert (order()[0], order()[-2:]) == ("gemma-2-9b-it", ["smollm2-135m", "salamandra-7b"])
    shown["License"].find_element(By.TAG_NAME, "button").send_keys("\n")
    assert cells[order()[0]][4] == "apache-2.0" and order()[-1] == "salamandra-7b"
    browser.find_element(By.ID, "find").send_keys("apache-2.0")
    assert browser.find_element(By.ID, "shown").text == "5 of 13 rows"
    assert browser.get_log("browser") == []


def test_going_back_from_a_model_page_restores_the_scroll_position(
    browser: Any, results: Path
) -> None:
    open_page(browser, results / "index.html", 390)
    browser.execute_script("document.querySelector('#all').scrollTo(90, 300)")
    browser.find_element(By.LINK_TEXT, "mistral-7b-v0.3").click()
    WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".chart"))
    browser.back()
    at = "const all = document.querySelector('#all'); return all && [all.scrollLeft, all.scrollTop]"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(at))
    assert browser.execute_script(at) == [90, 300]
    # The table has the focus, so that keys scroll it.
    assert browser.execute_script("return document.activeElement.id") == "all"


@pytest.fixture
def opened(browser: Any, results: Path) -> Any:
    """Open all samples of a model that was evaluated by chat."""
    open_page(browser, results / dozen.CHAT / "index.html", 1024)
    browser.find_element(By.CSS_SELECTOR, "button.open").click()
    items = "#list > details"
    WebDriverWait(browser, 30).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, items)) == 5)
    found = browser.find_elements(By.CSS_SELECTOR, items)
    for one in found:
        browser.execute_script("arguments[0].open = true", one)
    WebDriverWait(browser, 30).until(lambda _: found[-1].find_elements(By.TAG_NAME, "pre"))
    return found


def test_chat_prompt_is_shown_as_turns(browser: Any, opened: Any) -> None:
    first = opened[0]
    assert "user: Question 5: Ana has 5 pears" in first.find_element(By.TAG_NAME, "summary").text
    assert "Prompt: 12 turns" in first.text and '"role"' not in first.text
    turns = first.find_elements(By.CSS_SELECTOR, ".turn")
    seen = [turn.text.splitlines()[:2] for turn in turns if turn.is_displayed()]
    assert [turn[0] for turn in seen] == ["system", "user", "assistant", "user"]
    assert seen[0][1] == "You solve problems. Think step by step."
    between = first.find_element(By.CSS_SELECTOR, ".between summary")
    assert between.text == "8 turns between"
    between.click()
    assert all(turn.is_displayed() for turn in turns) and len(turns) == 12


def test_repeated_answers_are_a_numbered_list(browser: Any, opened: Any) -> None:
    said = opened[1].text
    assert "Answer: 4 answers to the same prompt" in said and "[" not in said
    lists = opened[1].find_elements(By.TAG_NAME, "ol")
    items = [[li.text for li in one.find_elements(By.TAG_NAME, "li")] for one in lists]
    assert items[0] == ["5", "7", "5", "(empty)"] and len(items[1]) == 4


def test_long_prompt_shows_both_ends_and_the_whole_on_request(browser: Any, opened: Any) -> None:
    chat, plain = opened[2], opened[3]
    assert "Prompt: 82 turns" in chat.text and "You solve problems." in chat.text
    line = plain.find_element(By.TAG_NAME, "summary").text
    assert "The beginning. Example." in line and "Question 8: and the end?" in line
    pre = plain.find_element(By.TAG_NAME, "pre").text
    assert (
        pre.startswith("The beginning.") and pre.endswith("and the end?") and "characters …" in pre
    )
    for one in (chat, plain):
        one.find_element(By.CSS_SELECTOR, "button").click()
    WebDriverWait(browser, 30).until(lambda _: not plain.find_elements(By.TAG_NAME, "button"))
    assert "characters …" not in plain.find_element(By.TAG_NAME, "pre").text
    WebDriverWait(browser, 30).until(lambda _: not chat.find_elements(By.TAG_NAME, "button"))
    texts = "return arguments[0].querySelectorAll('.turn').length + arguments[0].textContent.length"
    assert browser.execute_script(texts, chat) > 15_000


def test_bidirectional_control_characters_are_visible(browser: Any, opened: Any) -> None:
    seen = opened[3].find_elements(By.CSS_SELECTOR, ".hidden-char")
    assert {char.text for char in seen} == {"U+202E"} and len(seen) >= 2
    assert "\u202e" not in browser.execute_script("return document.body.textContent")
    assert "<b>9</b>" in opened[4].text and browser.get_log("browser") == []
