"""Prompts, context length and text output of `make preview`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import specs
from benchy.cli import preview as preview_command
from benchy.core import paths
from benchy.core.errors import ConfigError, UsageError
from benchy.core.specs import ServerSpec
from benchy.evaluation import preview, preview_text
from benchy.scripts import harness_posts
from benchy.scripts.harness_texts import Texts


class Tokenizer:
    """A tokenizer with one token for each character. Token 1 begins a text."""

    all_special_ids = (1,)
    added_tokens_decoder: ClassVar = {
        ord("#"): SimpleNamespace(special=True),
        ord("a"): SimpleNamespace(special=False),
    }

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        return SimpleNamespace(input_ids=[*([1] if add_special_tokens else []), *map(ord, text)])

    def decode(self, ids: list[int], **more: Any) -> str:
        return "".join("<s>" if n == 1 else chr(n) for n in ids)

    def apply_chat_template(self, turns: Any, **more: Any) -> str:
        if turns[0]["role"] == "system":
            raise ValueError("no system role")
        end = "" if more["continue_final_message"] else "#"
        text = "".join(turn["content"] for turn in turns) + end
        return f"{more['chat_template'] or ''}{text}{more.get('think', '')}"


SETTINGS = {"chat_template": None, "chat_template_kwargs": {"think": "!"}, "tokenizer": {}}


def words(**settings: Any) -> Texts:
    return Texts(Tokenizer, {**SETTINGS, **settings})


def test_text_prompt_gets_the_special_tokens_of_the_server() -> None:
    found = words().sent("ab")
    assert (found["ids"], found["by"], found["prompt"]) == ([1, 97, 98], "server", "ab")
    assert (found["tokens"], found["special"]) == (["<s>", "a", "b"], [0])
    assert words().ends() == {"prefix": ["<s>"], "suffix": []}


def test_prompt_of_token_ids_is_unchanged() -> None:
    found = words().sent([97, 1])
    assert (found["ids"], found["by"], found["text"], found["special"]) == (
        [97, 1], "client", "a<s>", [1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "body", "text"),
    [
        ({}, {}, "hi#!"),
        ({"chat_template": "T"}, {}, "Thi#!"),
        ({"chat_template": "T"}, {"chat_template": "R"}, "Rhi#!"),
        ({}, {"continue_final_message": True, "add_generation_prompt": False}, "hi!"),
        ({}, {"chat_template_kwargs": {"think": "?"}}, "hi#?"),
        ({"chat_template_kwargs": None}, {}, "hi#"),
    ],
)
def test_chat_is_rendered_as_by_the_server(
    settings: dict[str, Any], body: dict[str, Any], text: str
) -> None:
    turns = [{"role": "user", "content": "hi"}]
    found = words(**settings).rendered({"messages": turns, **body})
    assert found["rendered"] == found["text"] == text and found["messages"] == turns
    assert found["special"] == ([text.index("#")] if "#" in text else [])
    assert found["ids"] == list(map(ord, text))  # no special tokens are added
    body = {"messages": turns, "add_special_tokens": True}
    assert words(**settings).rendered(body)["ids"][0] == 1


def test_failures_to_load_or_render_become_notes() -> None:
    def broken() -> None:
        raise OSError("gone")

    one = Texts(broken, SETTINGS)
    assert one.sent("ab")["ids"] is None and one.ends()["prefix"] is None
    assert "can't be loaded here: OSError: gone" in one.notes[0]
    two = words()
    found = two.rendered({"messages": [{"role": "system", "content": "x"}]})
    assert found["rendered"] is None and "no system role" in two.notes[0]


def test_an_answer_has_a_choice_for_each_prompt() -> None:
    for body, count in (({"prompt": [[1, 2], [3]]}, 2), ({"prompt": "ab"}, 1), ({}, 1),
                        ({"prompt": [1, 2]}, 1), ({"prompt": ["a", "b"]}, 2)):  # fmt: skip
        assert len(harness_posts.answer(body)["choices"]) == count


@pytest.mark.parametrize(
    ("text", "number"), [("32k", 32000), ("32K", 32768), ("1.5k", 1500), ("8", 8), ("auto", None)]
)
def test_token_counts_with_units_are_read(text: str, number: int | None) -> None:
    assert preview.readable(text) == number


def server(**options: Any) -> ServerSpec:
    return specs.server(name="org/x", options=options)


def test_context_length_is_read_from_options_or_model_files(tmp_path: Path) -> None:
    assert preview.context(server(max_model_len=64), {}) == (64, "the configuration")
    assert preview.context(server(max_model_len="2K"), {}) == (2048, "the configuration")
    for environ in ({"OFFLINE": "1"}, {"HF_HUB_OFFLINE": "yes"}):
        assert preview.context(server(), environ) == (None, "")
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 128}')
    local = specs.server(path=str(tmp_path))
    assert preview.context(local, {"OFFLINE": "1"}) == (128, "the model")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "CONFIG: is missing"),
        (["configs/quickstrt.yaml"], "did you mean CONFIG=configs/quickstart.yaml?"),
        (["configs/quickstart.yaml", "smok"], "did you mean 'smoke'?"),
        (["configs/quickstart.yaml", "--limit", "0"], "is not a whole number of documents"),
        (["configs/single_card/Qwen3-8B.yaml"], "which task?"),
    ],
)
def test_wrong_arguments_are_reported(
    argv: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.ROOT)
    for name in ("CONFIG", "TASK", "LIMIT", "FORMAT", "BENCHY_CWD", "SET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=None) as refused:
        preview_command.main(argv)
    assert told in str(refused.value)


def test_missing_model_directory_is_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.ROOT)
    config = tmp_path / "mine.yaml"
    config.write_text(
        "model: {name: /nowhere}\nvllm: {provider_config: vllm_cpu}\ntasks: [smoke]\n"
    )
    with pytest.raises(ConfigError, match="/nowhere is not a directory"):
        preview_command.main([str(config)])


def shown(*prompts: dict[str, Any], **more: Any) -> list[str]:
    found = {
        "model": "m", "task": "t", "endpoint": "/v1/completions", "tokenizer": "org/x",
        "prefix": ["<s>"], "suffix": ["</s>"], "max_model_len": 12, "notes": ["N"],
        "max_model_len_from": "the model", "chat_template": "the model's",
        "tasks": {"a": {"documents": 1000, "shots": 2, "output": "generate_until"}},
        "prompts": list(prompts), **more,
    }  # fmt: skip
    return list(preview_text.lines(found))


def prompt(sent: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "task": "a", "doc": 0, "request": 0, "method": "generate_until", "target": "B",
        "choices": None, "continuation": None, "leaked": False, "cut": False,
        "sent": [{"body": {"max_tokens": 4, "stop": ["\n"], "seed": 1}, **sent}], **more,
    }  # fmt: skip


def test_prompt_and_request_are_shown() -> None:
    lines = shown(prompt(words().sent([1, *map(ord, "Q \nA")])))
    assert lines[0] == "m/t: POST /v1/completions, prompts as token ids"
    assert "  note: N" in lines and "== a: generate_until, 2 shots, 1,000 documents" in lines
    assert any("'<s>' before and '</s>' after a text" in line for line in lines)
    assert lines[lines.index("  prompt, 5 tokens:") + 1 :][:2] == ["  │ <s>Q·", "  │ A"]
    assert "  special tokens in it: '<s>' (1) at 0" in lines
    assert "  room: 5 + 4 of 12 tokens" in lines
    assert "  request: max_tokens: 4, stop: ['\\n']" in lines and "    and seed: 1" in lines


@pytest.mark.parametrize(
    ("more", "ids", "told"),
    [
        ({"leaked": True}, [97], "is one of its own examples"),
        ({"cut": True}, [97], "its left end is cut off"),
        ({}, [97] * 9, "it does not fit, and the server rejects it: 9 + 4 of 12 tokens"),
        ({}, [1, 1, 97], "the prompt begins with '<s>' twice"),
    ],
)
def test_doubtful_prompts_are_shown_with_a_warning(
    more: dict[str, Any], ids: list[int], told: str
) -> None:
    (line,) = [line for line in shown(prompt(words().sent(ids), **more)) if "WARNING" in line]
    assert told in line
    assert not [line for line in shown(prompt(words().sent([1, 97]))) if "WARNING" in line]


def test_choices_are_shown_below_one_prompt() -> None:
    def choice(n: int, text: str) -> dict[str, Any]:
        sent = {**words().sent(list(map(ord, f"Q{text}"))), "context": 1, "before": "Q"}
        return prompt(
            sent, method="loglikelihood", request=n, target=1, choices=["x", "y"], continuation=text
        )

    lines = shown(choice(0, " x"), choice(1, " y"))
    assert lines.count("  │ Q") == 1 and "  prompt, 1 token:" in lines
    assert lines[-2:] == ["    0: ' x'  2 tokens: ' ' 'x'", "  * 1: ' y'  2 tokens: ' ' 'y'"]


def test_chat_turns_and_the_rendered_prompt_are_shown() -> None:
    turns = [{"role": "user", "content": "a\nb"}]
    lines = shown(
        prompt(words().rendered({"messages": turns})), endpoint="/v1/chat/completions", prefix=None
    )
    assert lines[0].endswith("prompts as turns") and "    user: a" in lines and "    │ b" in lines
    assert "  rendered by the server, 5 tokens:" in lines and "  │ b#!" in lines
