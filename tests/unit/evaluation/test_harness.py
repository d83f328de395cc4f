"""Command line, environment, log and output of the harness, and its child process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core.errors import Failure
from benchy.core.specs import ResultSpec, TaskSpec
from benchy.display import progress_bars
from benchy.evaluation import harness, harness_output
from benchy.serving.preparation import FetchedFiles

KEY = "a-key-nobody-may-see"
ENDPOINT = harness.HarnessEndpoint("http://127.0.0.1:8000", "m", 1024)
FILES = harness.RunFiles(Path("out"), Path("settings.json"), Path("facts.jsonl"))


def spec(**changes: Any) -> ResultSpec:
    """Return a result's spec. A keyword PART__KEY replaces a key of a part."""
    names = {"name": "smoke", "task_name": ["benchy_smoke"]}
    of_task = {k[6:]: changes.pop(k) for k in list(changes) if k.startswith("task__")}
    of_model = {k[7:]: changes.pop(k) for k in list(changes) if k.startswith("model__")}
    task = specs.task_meaning(**names | of_task)
    return specs.result(**{"name": "org/name", **of_model, **changes, "task": task})


def how(**changes: Any) -> TaskSpec:
    return specs.task(**changes)


@pytest.mark.parametrize(
    ("name", "asked", "served", "expected"),
    [
        ("the server's", None, 1024, 1024),
        ("the task's own", 512, 1024, 512),
        ("never more than the server's", 4096, 1024, 1024),
    ],
)
def test_max_length_is_at_most_that_of_the_server(
    name: str, asked: int | None, served: int, expected: int
) -> None:
    endpoint = harness.HarnessEndpoint("http://h", "m", served)
    assert harness.model_args(spec(task__max_length=asked), how(), endpoint)["max_length"] == (
        expected
    ), name


def test_model_args_request_prompts_as_token_ids() -> None:
    # With text prompts, a first token from the tokenizer shifts log-likelihoods by one token.
    args = harness.model_args(spec(), how(), ENDPOINT)
    assert args["tokenized_requests"] and args["add_bos_token"]
    assert args["tokenizer"] == "org/name" and "revision" not in args
    assert args["tokenizer_backend"] == "huggingface" and args["seed"] == 7
    assert "trust_remote_code" not in args


def test_model_args_use_the_server_s_concurrency_and_commit() -> None:
    endpoint = harness.HarnessEndpoint("http://h", "m", 512, 4, FetchedFiles("c0ffee"))
    args = harness.model_args(spec(model__revision="main"), how(), endpoint)
    assert args["num_concurrent"] == 4 and args["revision"] == "c0ffee"
    assert harness.model_args(spec(), how(num_concurrent=2), endpoint)["num_concurrent"] == 2
    assert harness.model_args(spec(), how(), ENDPOINT)["num_concurrent"] == 8


def test_the_tokenizer_of_a_package_is_read_from_its_directory() -> None:
    endpoint = harness.HarnessEndpoint("http://h", "m", 512, 4, FetchedFiles(package="/cache/m"))
    args = harness.model_args(spec(model__revision="main"), how(), endpoint)
    assert args["tokenizer"] == "/cache/m" and "revision" not in args


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"model__path": "build/models/tiny"}, "tokenizer", "build/models/tiny"),
        ({"model__revision": "abc"}, "revision", "abc"),
        ({"options": {"trust_remote_code": True}}, "trust_remote_code", True),
        ({"task__tokenizer_backend": "none"}, "tokenized_requests", False),
    ],
)
def test_model_args_follow_the_spec(changes: dict[str, Any], key: str, value: object) -> None:
    assert harness.model_args(spec(**changes), how(), ENDPOINT)[key] == value


def test_chat_uses_the_chat_endpoint_without_a_tokenizer() -> None:
    args = harness.model_args(spec(chat=True), how(), ENDPOINT)
    assert args["base_url"].endswith("/v1/chat/completions")
    assert "tokenizer" not in args
    command = harness.command(spec(chat=True), how(), ENDPOINT, FILES)
    assert "local-chat-completions" in command and "--apply_chat_template" in command


def test_command_keeps_values_with_commas_and_spaces_intact() -> None:
    kwargs = {"until": ["a, b", '"c" = d'], "temperature": 0}
    odd = spec(model__path="a dir,with=signs", task__gen_kwargs=kwargs, limit=3)
    command = harness.command(
        odd, how(include_path="x y"), ENDPOINT, replace(FILES, output=Path("o p"), cache=Path("c"))
    )
    assert json.loads(command[command.index("--gen_kwargs") + 1]) == kwargs
    sent = json.loads(command[command.index("--model_args") + 1])
    assert sent["tokenizer"] == "a dir,with=signs"
    assert {"--limit=3", "--include_path=x y", "--output_path=o p", "--seed=7"} <= set(command)
    assert "--tasks=benchy_smoke" in command and "--num_fewshot=0" not in command
    assert "--num_fewshot=0" in harness.command(spec(task__num_fewshot=0), how(), ENDPOINT, FILES)


def test_key_is_in_the_environment_but_not_on_the_command_line() -> None:
    base = {"BENCHY_KEY": KEY, "BENCHY_URL": "u", "MAKEFLAGS": "x", "PATH": "/bin", "HF_TOKEN": "t"}
    env = harness.environment(spec(), how(), specs.server(), None, base)
    assert (
        env["OPENAI_API_KEY"] == KEY
        and env["HF_TOKEN"] == base["HF_TOKEN"]
        and env["PATH"] == "/bin"
    )
    assert not [k for k in env if k.startswith(("BENCHY", "MAKE"))]
    assert "HF_HUB_OFFLINE" not in env
    command = harness.command(spec(), how(), ENDPOINT, FILES)
    assert KEY not in " ".join(command)


def test_environment_sets_offline_mode_and_trust_in_dataset_code() -> None:
    trusting, hub = spec(task__trust_remote_code=True), specs.server(hf_cache="/hub")
    env = harness.environment(trusting, how(offline=True), hub, Path("c"), {})
    assert env["HF_HUB_OFFLINE"] == env["HF_DATASETS_OFFLINE"] == "1"
    for knob, expected in (("yes", "1"), ("0", None)):
        online = harness.environment(trusting, how(), specs.server(), None, {"OFFLINE": knob})
        assert online.get("HF_HUB_OFFLINE") == online.get("HF_DATASETS_OFFLINE") == expected
    assert env["HF_DATASETS_TRUST_REMOTE_CODE"] == "1" and env["HF_HUB_CACHE"] == "/hub"
    assert Path(env["LM_HARNESS_CACHE_PATH"]).is_absolute()
    # A task's trust_remote_code covers the code of its dataset, not that of the model.
    assert "trust_remote_code" not in harness.model_args(trusting, how(), ENDPOINT)


def test_cache_digest_depends_on_spec_and_lock_but_not_on_port() -> None:
    def digest(made: bytes, url: str, lock: str) -> str:
        args = harness.model_args(spec(), how(), harness.HarnessEndpoint(url, "m", 1024))
        return harness.cache_digest(made, args, [lock])

    first = digest(b"spec", "http://h:1", "lock")
    assert first == digest(b"spec", "http://h:2", "lock")
    assert (
        len({first, digest(b"other", "http://h:1", "lock"), digest(b"spec", "http://h:1", "l")})
        == 3
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Requesting API:  45%|████▌     | 54/120 [00:03<00:04, 15.2it/s]",
            ("Requesting API", 54, 120),
        ),
        (
            "Requesting API: 100%|██████████| 144/144 [00:20<00:00,  7.15it/s]",
            ("Requesting API", 144, 144),
        ),
        ("  0%|          | 0/12 [00:00<?, ?it/s]", ("at work", 0, 12)),
        ("2026-11-23:09:42:09 INFO     [evaluator_utils:472] Selected tasks:", None),
    ],
)
def test_progress_is_read_from_bars(line: str, expected: tuple[str, int, int] | None) -> None:
    assert harness_output.progress(line) == expected


def test_telling_lines_are_the_exception_or_else_the_last_lines() -> None:
    log = """2026-11-23:09:42:09 INFO     [evaluator:314] nothing failed here
Traceback (most recent call last):
  File "/x/api_models.py", line 1, in amodel_call
    raise ClientConnectorError(a)
aiohttp.ClientConnectorError: Cannot connect to host 127.0.0.1:8701
Requesting API:  45%|████▌     | 54/120 [00:03<00:04, 15.2it/s]
aiohttp.ClientConnectorError: Cannot connect to host 127.0.0.1:8701
"""
    assert harness_output.significant_lines(log) == [
        "aiohttp.ClientConnectorError: Cannot connect to host 127.0.0.1:8701"
    ]
    assert harness_output.significant_lines("one\n\ntwo\n") == ["one", "two"]


# Lines of lm_eval 0.4.13 in setup_logging's format, after a bar without a newline.
BAR = "Requesting API:   0%|          | 0/12 [00:00<?, ?it/s]"
TOO_LONG = (
    '{"error":{"message":"This model\'s maximum context length is 64 tokens. However, you '
    'requested %d tokens.","type":"BadRequestError","param":null,"code":400}}'
)
REFUSED = (
    "2026-11-28:12:00:%02d WARNING  [models.api_models:521] API request failed! Status code: 400, "
    "Response text: %s. Retrying..."
)
RAISED = (
    "aiohttp.client_exceptions.ClientResponseError: 400, message='Bad Request', "
    "url='http://127.0.0.1:46001/v1/completions'"
)
AGAIN = (
    "2026-11-28:12:00:09 ERROR    [models.api_models:557] Exception:ClientResponseError("
    "RequestInfo(url=URL('http://127.0.0.1:46001/v1/completions')), status=400), "
    "(no outputs), retrying."
)
RETRY = "2026-11-28:12:00:09 INFO     [models.api_models:590] Retry attempt 1"


def test_telling_line_is_the_error_message_of_the_server() -> None:
    lines = [BAR + REFUSED % (n, TOO_LONG % (70 + n)) for n in range(3)]
    log = "\n".join([*lines, AGAIN, RETRY, "Traceback (most recent call last):", RAISED, BAR])
    reason = "This model's maximum context length is 64 tokens. However, you requested 72 tokens."
    assert harness_output.significant_lines(log) == [f"the server answered 400: {reason}"]


def test_error_message_before_a_successful_retry_is_not_the_last_telling_line() -> None:
    """The second attempt of the request succeeds, and the run ends for another reason."""
    log = "\n".join([BAR + REFUSED % (1, '{"detail":"busy"}'), RETRY, "KeyError: 'acc'"])
    assert harness_output.significant_lines(log)[-1] == "KeyError: 'acc'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"error":"a","code":400}', "a"),
        ('{"object":"error","message":"b","code":400}', "b"),
        ('{"detail":"Not Found"}', "Not Found"),
        ('{"detail":[{"loc":["body"],"msg":"c"}]}', '[{"loc": ["body"], "msg": "c"}]'),
        ("Internal Server\nError", "Internal Server Error"),
        ("", ""),
    ],
)
def test_error_message_is_found_in_every_response_format(text: str, reason: str) -> None:
    found = harness_output.significant_lines("\n".join([REFUSED % (1, text), RAISED]))
    assert found == ([f"the server answered 400: {reason}"] if reason else found)
    assert found


def test_error_message_is_found_for_sequential_requests() -> None:
    log = (
        "2026-11-28:12:00:00 WARNING  [models.api_models:479] API request failed with error "
        'message: {"error":{"message":"no such model"}}. Retrying...\n'
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: http://127.0.0.1:1/v1"
    )
    assert harness_output.significant_lines(log) == ["the server answered 404: no such model"]


@pytest.mark.parametrize(
    ("line", "found", "rest"),
    [
        (BAR + "2026-11-28:12 WARNING [a:1] b", [BAR], "2026-11-28:12 WARNING [a:1] b"),
        ("\x1b[A" + BAR, ["\x1b[A" + BAR], ""),
        (BAR + BAR + "x", [BAR, BAR], "x"),
        ("100%|█| 1.2k/1.2k [00:00<00:00, 4kit/s]x",
         ["100%|█| 1.2k/1.2k [00:00<00:00, 4kit/s]"], "x"),
        ("Generating test split: 40 examples [00:00, 3984.4 examples/s]Error: x",
         ["Generating test split: 40 examples [00:00, 3984.4 examples/s]"], "Error: x"),
        ("Map (num_proc=2):  50%|#| 1/2 [00:00<00:01, 1.0 examples/s]",
         ["Map (num_proc=2):  50%|#| 1/2 [00:00<00:01, 1.0 examples/s]"], ""),
        ("ValueError: 50%|of them| 1/2 is wrong", [], "ValueError: 50%|of them| 1/2 is wrong"),
        ("|task|{}|", [], "|task|{}|"),
        ("", [], ""),
    ],
)  # fmt: skip
def test_bars_are_separated_from_the_rest_of_the_line(
    line: str, found: list[str], rest: str
) -> None:
    assert progress_bars.split(line) == (found, rest)


def left(tmp_path: Path, samples: int = 2, **changes: Any) -> Path:
    """Write an output directory as lm_eval 0.4.13 does."""
    data: dict[str, Any] = {
        "results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1}},
        "n-samples": {"t": {"original": 2, "effective": 2}},
        "higher_is_better": {"t": {"acc": True}},
    }
    inside = tmp_path / "model"
    inside.mkdir(parents=True)
    (inside / "results_2026-11-23T09-42-29.1.json").write_text(json.dumps(data | changes))
    # Two filters write two lines for each document. Each line has two requests.
    lines = [
        json.dumps({"doc_id": n, "filter": f, "resps": [[["-1", "False"]], [["-2", "False"]]]})
        for n in range(samples)
        for f in ("none", "strict")
    ]
    (inside / "samples_t_2026-11-23T09-42-29.1.jsonl").write_text("".join(f"{s}\n" for s in lines))
    return tmp_path


def test_read_output_counts_documents_and_requests(tmp_path: Path) -> None:
    found = harness_output.read_output(left(tmp_path), Path("log"))
    assert found.samples == {"t": 2} and found.requests == 4 and len(found.files) == 2
    assert harness_output.check_counts(found, None, True, Path("log")) == {"t": 2}
    assert harness_output.metrics(found.data, ["t"])["t"]["acc,none"].value == 0.5


@pytest.mark.parametrize(
    ("name", "counts", "limit", "logged"),
    [
        ("fewer than the task has", {"original": 3, "effective": 2}, None, 2),
        ("none", {"original": 0, "effective": 0}, None, 0),
        ("fewer than the limit", {"original": 9, "effective": 2}, 5, 2),
        ("fewer logged", {"original": 2, "effective": 2}, None, 1),
    ],
)
def test_missing_documents_are_a_failure(
    tmp_path: Path, name: str, counts: dict[str, int], limit: int | None, logged: int
) -> None:
    directory = left(tmp_path, logged, **{"n-samples": {"t": counts}})
    found = harness_output.read_output(directory, Path("log"))
    with pytest.raises(Failure, match="were evaluated"):
        harness_output.check_counts(found, limit, True, Path("log"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"results": {}}'])
def test_a_damaged_results_file_is_a_failure(tmp_path: Path, text: str) -> None:
    directory = left(tmp_path)
    (directory / "model" / "results_2026-11-23T09-42-29.1.json").write_text(text)
    with pytest.raises(Failure):
        harness_output.read_output(directory, Path("log"))


def test_damaged_and_missing_samples_are_a_failure(tmp_path: Path) -> None:
    directory = left(tmp_path)
    samples = directory / "model" / "samples_t_2026-11-23T09-42-29.1.jsonl"
    samples.write_text(samples.read_text()[:-20])  # as on a full disk
    with pytest.raises(Failure, match="damaged"):
        harness_output.read_output(directory, Path("log"))
    samples.unlink()
    found = harness_output.read_output(directory, Path("log"))
    with pytest.raises(Failure, match="0 are in"):
        harness_output.check_counts(found, None, True, Path("log"))
    assert harness_output.check_counts(found, None, False, Path("log")) == {"t": 2}
    assert found.requests is None


def test_no_results_file_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="wrote 0 results files"):
        harness_output.read_output(tmp_path, Path("log"))
