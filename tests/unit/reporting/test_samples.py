"""Prompts, chats and answers in the form that the sample viewer gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchy.display import hidden_characters
from benchy.evaluation.result import Score
from benchy.reporting import comparison_text, model_page, samples
from results import entry, made

TURNS = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi", "type": "text"}]
CHATS: list[tuple[str, Any, list[tuple[str, str]]]] = [
    ("as the harness logs it", [json.dumps(TURNS)], [("system", "S"), ("user", "Hi")]),
    ("as text", json.dumps(TURNS), [("system", "S"), ("user", "Hi")]),
    ("other keys first", '[{"content": "Hi", "role": "user"}]', [("user", "Hi")]),
    ("with spaces", ' [ {"role": "user", "content": "Hi"} ]', [("user", "Hi")]),
    ("as turns", TURNS, [("system", "S"), ("user", "Hi")]),
    ("one turn", TURNS[1:], [("user", "Hi")]),
    ("no content", [{"role": "user", "content": None}], [("user", "")]),
    (
        "parts",
        [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "What?"}]}],
        [("user", "[image_url]\nWhat?")],
    ),
    (
        "a call of a tool",
        [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}],
        [("assistant", '{"tool_calls": [{"name": "f"}]}')],
    ),
    ("a text", "Question [1]", []),
    ("a text that begins so", "[1, 2] is a list", []),
    ("a list of numbers", "[1, 2]", []),
    ("no role", '[{"content": "Hi"}]', []),
    ("a role that is none", '[{"role": 1, "content": "Hi"}]', []),
    ("very deep", "[" * 100_000, []),
    ("nothing", "[]", []),
    ("not there", None, []),
]


@pytest.mark.parametrize(("name", "logged", "turns"), CHATS)
def test_logged_chat_is_parsed_into_turns(
    name: str, logged: Any, turns: list[tuple[str, str]]
) -> None:
    assert samples.chat(logged) == turns
    found = samples.shown("t", {"arguments": {"gen_args_0": {"arg_0": logged, "arg_1": {}}}})
    assert found.get("turns", []) == [list(turn) for turn in turns]
    assert found["prompt"].startswith(f"[{turns[0][0]}] ") if turns else "turns" not in found


ANSWERS: list[tuple[str, Any, Any, str]] = [
    ("one", ["a"], "a", "a"),
    ("one in a list", [["a"]], "a", "a"),
    ("repeats", [["a", "b", ""]], ["a", "b", ""], "1. a\n2. b\n3. "),
    ("with null", [["a", None]], ["a", ""], "1. a\n2. "),
    ("all empty", [["", " "]], ["", " "], ""),
    ("null", [None], "", ""),
    ("none", [], "", ""),
]


@pytest.mark.parametrize(("name", "logged", "value", "text"), ANSWERS)
def test_repeated_answers_are_a_list(name: str, logged: Any, value: Any, text: str) -> None:
    found = samples.shown("t", {"filtered_resps": logged, "resps": [["x"]]})
    assert found["answer"] == value and samples.joined(value) == text
    assert ("answer" in found.get("empty", [])) == (not text)
    assert comparison_text.answer(found) == (text or comparison_text.EMPTY)


def written(folder: Path, *found: dict[str, Any]) -> list[dict[str, Any]]:
    """Write samples and return the data that the page's script gets."""
    name = "samples_t_2026-11-23T09-00-00.1.jsonl"
    (folder / name).write_text("\n".join(map(json.dumps, found)))
    samples.write(folder, made(harness_output=[name]), "key", Score("t", "acc,none", 0, None, True))
    text = (folder / "samples-1.js").read_text().splitlines()[-1]
    match = re.fullmatch(r'samples\("smoke",1,(.*)\);', text)
    assert match
    parts: list[dict[str, Any]] = json.loads(match[1])
    return parts


def prompt(logged: Any) -> dict[str, Any]:
    return {"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": logged, "arg_1": {}}}}


def whole(folder: Path, one: dict[str, Any]) -> Any:
    match = re.fullmatch(r"whole\(\"[^\"]+\",(.*)\);\n", (folder / one["file"]).read_text())
    assert match
    return json.loads(match[1])


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    text = "BEGIN" + "x" * 50_000 + "END"
    (one,) = written(tmp_path, prompt(text))
    cut = one["prompt"]
    assert cut["head"].startswith("BEGINx") and cut["tail"].endswith("xEND")
    assert (len(cut["head"]), len(cut["tail"]), cut["size"]) == (5000, 3000, 50_008)
    assert one["long"] == ["prompt"] and whole(tmp_path, one) == {"prompt": text}
    (tmp_path / "short").mkdir()
    (short,) = written(tmp_path / "short", prompt("x" * samples.LONG))
    assert short["prompt"] == "x" * samples.LONG and "long" not in short


def test_a_long_chat_keeps_its_first_and_its_last_turns(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "SYSTEM"}]
    turns += [{"role": "user", "content": f"{n}: " + "x" * 500} for n in range(100)]
    turns += [{"role": "user", "content": "y" * 30_000 + "QUESTION"}]
    (one,) = written(tmp_path, prompt([json.dumps(turns)]))
    assert "prompt" not in one  # the text is not stored twice
    found = one["turns"]
    assert found[0] == ["system", "SYSTEM"] and found[1][1].startswith("0: xxx")
    assert found[-1][1]["tail"].endswith("QUESTION") and found[-1][1]["size"] == 30_008
    (left,) = [turn["left"] for turn in found if "left" in turn]
    assert left + len(found) - 1 == len(turns) and left > 50
    assert len(json.dumps(found)) < 2 * samples.LONG
    assert [turn[1] for turn in whole(tmp_path, one)["turns"]] == [t["content"] for t in turns]


def test_long_answers_and_choices_are_stored_whole(tmp_path: Path) -> None:
    repeats = ["a" * 20_000, "b"]
    calls = {f"gen_args_{n}": {"arg_0": "Q", "arg_1": c * 9000} for n, c in enumerate("xy")}
    choices = {
        "arguments": calls,
        "filtered_resps": [["-2.0", "False"], ["-1.0", "True"]],
    }  # fmt: skip
    one, two = written(tmp_path, {"filtered_resps": [repeats], "resps": [repeats]}, choices)
    assert one["answer"][0]["size"] == 20_000 and one["answer"][1] == "b"
    assert whole(tmp_path, one) == {"answer": repeats}
    assert set(two["long"]) == {"answer", "choices"}
    assert whole(tmp_path, two)["choices"] == [["x" * 9000, -2.0], ["y" * 9000, -1.0]]


def test_metrics_of_a_sample_are_formatted_as_scores() -> None:
    found = samples.shown(
        "t", {"metrics": ["acc", "chrf", "f1"], "acc": 1.0, "chrf": 45.2134, "f1": 0.5}
    )
    assert found["scores"] == {"acc": "1", "chrf": "45.21", "f1": "0.5000"}


def test_a_flipped_sample_shows_both_ends_of_its_prompt() -> None:
    said = comparison_text.both_ends("BEGIN" + "x" * 5000 + "END")
    assert said.startswith("BEGINx") and said.endswith("xEND") and len(said) < 620
    assert comparison_text.both_ends("short") == "short"


def test_hidden_and_bidirectional_characters_are_visible() -> None:
    assert hidden_characters.visible("a\u202eb\x1b[1m\ufeff") == "a[U+202E]b[U+001B][1m[U+FEFF]"
    kept = "línea\n\tשלום مرحبا 👩‍👩‍👧‍👦 می‌خواهم"  # noqa: RUF001
    assert hidden_characters.visible(kept) == kept


def test_unknown_facts_are_not_listed() -> None:
    facts = dict(model_page._facts(entry("m", "a", 0.5)))
    assert not {"fallback_reason", "limit", "task.num_fewshot", "model.path", "source"} & set(facts)
    assert facts["fallback"] == "false" and facts["engine.answered"] == "0.8.0"
    assert not [name for name, value in facts.items() if value in ("", "{}", "[]", "null")]
