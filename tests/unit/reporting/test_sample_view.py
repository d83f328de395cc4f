"""Prompts, chats, choices and answers in the form that the sample viewer gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchy.evaluation.result import Score
from benchy.reporting import comparison_text, sample_view

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
    assert sample_view.chat(logged) == turns
    found = sample_view.shown("t", {"arguments": {"gen_args_0": {"arg_0": logged, "arg_1": {}}}})
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
    found = sample_view.shown("t", {"filtered_resps": logged, "resps": [["x"]]})
    assert found["answer"] == value and sample_view.joined(value) == text
    assert ("answer" in found.get("empty", [])) == (not text)
    assert comparison_text.answer(found) == (text or comparison_text.EMPTY)


def test_metrics_of_a_sample_are_formatted_as_scores() -> None:
    found = sample_view.shown(
        "t", {"metrics": ["acc", "chrf", "f1"], "acc": 1.0, "chrf": 45.2134, "f1": 0.5}
    )
    assert found["scores"] == {"acc": "1", "chrf": "45.21", "f1": "0.5000"}


def test_samples_of_multiple_choice_and_generation_are_shown() -> None:
    choice = {
        "doc_id": 3, "target": "1", "filter": "none", "metrics": ["acc"], "acc": 1.0,
        "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " a"},
                      "gen_args_1": {"arg_0": "Q", "arg_1": " b"}},
        "resps": [[["-2.0", "False"]], [["-1.0", "True"]]],
        "filtered_resps": [["-2.0", "False"], ["-1.0", "True"]],
    }  # fmt: skip
    acc = Score("t", "acc,none", 1.0, None, True)
    found = sample_view.shown("t", choice, acc)
    assert (found["prompt"], found["answer"], found["target"], found["ok"]) == ("Q", " b", " b", 1)
    assert found["choices"] == [[" a", -2.0], [" b", -1.0]]
    chat = '[{"role": "user", "content": "Hi"}]'
    text = {
        "doc_id": 0, "target": "x", "filter": "first", "metrics": ["chrf"], "chrf": ["x", "y"],
        "arguments": {"gen_args_0": {"arg_0": chat, "arg_1": {"until": []}}},
        "resps": [["y\nz"]], "filtered_resps": ["y"],
    }  # fmt: skip
    found = sample_view.shown("t", text)
    assert found["prompt"] == "[user] Hi" and found["answer"] == "y" and found["raw"] == "y\nz"
    assert found["ok"] == -1 and "choices" not in found
    assert sample_view.shown("t", {})["ok"] == -1


def test_empty_answers_of_samples_are_flagged() -> None:
    def shown(raw: Any, filtered: Any) -> dict[str, Any]:
        return sample_view.shown("t", {"resps": [[raw]], "filtered_resps": [filtered]})

    assert shown("", "")["empty"] == ["answer"]
    assert shown(None, None)["empty"] == ["answer"] and shown(None, None)["answer"] == ""
    assert shown(" \n", "")["empty"] == ["answer", "raw"]
    assert shown("so: 4", "")["empty"] == ["answer"]
    assert "empty" not in shown("4", "4") and "empty" not in sample_view.shown("t", {})
    choice = {
        "arguments": [["Q", ""], ["Q", " b"]],
        "resps": [[["-1.0", "True"]], [["-2.0", "False"]]],
        "filtered_resps": [["-1.0", "True"], ["-2.0", "False"]],
    }
    assert "empty" not in sample_view.shown("t", choice)
