"""Property-based tests of configurations.

Each configuration yields either mistakes with file and line, or rules in which Make reads exactly
the expected targets and commands. No text of it reaches a shell as code.

The tests generate BENCHY_CASES files (20,000; `make test-properties`: 1,000,000) from BENCHY_SEED:
valid files with keys, values and pieces of text replaced by hostile ones, and arbitrary texts and
bytes, under arbitrary names. Every accepted file goes through the plan, and one batch in eight
through make. Each round has its own seed, counted up from BENCHY_SEED, because hypothesis keeps all
that it generates from one seed in memory: gigabytes for a million files.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from benchy.config import file_reader, loader
from benchy.core.errors import ConfigError, Mistake
from benchy.plan import environment_specs, planner, writer
from benchy.plan.plan import Plan

SEED = int(os.environ.get("BENCHY_SEED", "20261123"))
CASES = int(os.environ.get("BENCHY_CASES", "20000"))
ROUND = 20_000
BATCH = 4
ROOT = Path(__file__).resolve().parents[2]

# A file that must never appear, and hostile texts, some of which try to create it.
CANARY = "canary"
HOSTILE = [
    f"$(shell touch {CANARY})", f"$$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY} #",
    f"a\n\ttouch {CANARY}\n", f"$(file >{CANARY})", f"${{shell touch {CANARY}}}",
    f"| touch {CANARY}",
    f"' && touch {CANARY} '", f"\" ; touch {CANARY} ; \"", f"$(eval x:=$(shell touch {CANARY}))",
    f"x: ; touch {CANARY}", f"include {CANARY}", "$", "$$", "$@", "%", "a b", " ", "", "\\",
    "a\\\nb",
    "#", "a#b", ":", "=", "a:b", "../../etc", "/etc/passwd", "~", "~root", "-x", "--help", ".",
    "..",
    "\0", "\x1b[31m", "\u202egnp.exe", "\u2028", "é", "e\u0301", "漢字", "🙂", "\ud7ff", "A" * 300,
    "null", "NaN", ".inf", "0x10", "1e3", "0o7", "1_000", "yes", "2026-11-23", "0.10", "9" * 40,
]  # fmt: skip
# Texts that single keys may mishandle.
PICKY = [
    "9" * 5000, "٣", "~nosuch/m", "~nosuch/a.whl", "0,1", "0,x", "-1", "[" * 60_000, '{"a": NaN}',
    '{"a": 1e999}', '{"a": "\\ud800"}', "image=٣,video=" + "9" * 5000, "9999-99-99", "2026-02-30",
    "1." + "0" * 300, "1.0+" + "a" * 300, " 0.8.0\n", "git+https://x/y@$(touch canary)",
    "https://[::1", "a @ file:///etc", "a; sys_platform", "x.whl", "tiny",
]  # fmt: skip
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    10**40,
    0.1,
    1e308,
    [],
    {},
    [[]],
    [{}],
    {"a": {}},
]
TEXTS = [
    "!!python/object/apply:os.system ['touch canary']", "!!binary aGk=", "!x y", "&a [*a]", "*a",
    "&a {b: *a}", "<<: *a", "<<: {model: {name: x/y}}", "? [a]\n: b", "---\n", "...\n",
    "%YAML 1.1\n",
    "\t", "- a", "a: b: c", "{", "}", "[", "]", "'", '"', "|", ">", "&x " * 20, "  ", "\n", "\r",
    "\0", "model:", "tasks:", "tasks: [alpha, alpha]", "vllm:", "  overrides:",
    "matrix: {dtype: [a, b]}",
    "matrix: {vllm_version: ['0.1', '0.10']}", "x: 1\nx: 2", "[" * 60, "{a: " * 60, "\ufeff", "'''",
    "!!bool x", "!!int ''", "!!float ''", "!!map a", "!!seq a", "!!null a", "!!str [a]",
    "\"a\\0b\"", "\"\\x1b[2J\\u202e\"", "0x" + "f" * 5000, "9" * 5000, "1:59:59", "0x_",
    "2026-13-45",
    "a: &a\n  <<: *a\n", "&a {<<: [*a]}", "[" * 100_000, "- " * 100_000, "? " * 3000,
    "{a: " * 50_000,
    "%TAG ! tag:x%0Ay,2000:\n---\n", "!<tag:yaml.org,2002:%0A> a", "~nosuch/m", "~nosuch/a.whl",
    "matrix: {" + ", ".join(f"k{i}: [{', '.join('0123456789')}]" for i in range(9)) + "}",
    "a: &l0 [x, x, x]\n" + "".join(f"b{i}: &l{i} [{f'*l{i - 1}, ' * 9}]\n" for i in range(1, 9)),
]  # fmt: skip
SEEDS: list[dict[str, Any]] = [
    {"model": {"name": "org/a"}, "vllm": {"provider_config": "card"}, "tasks": ["alpha"]},
    {
        "model": {"name": "org/b", "revision": "main"},
        "vllm": {
            "provider_config": "card",
            "overrides": {
                "vllm_version": "0.8.0", "max_model_len": 4096, "kv_cache_memory": 0,
                "limit_mm_per_prompt": {"image": 1}, "extra_packages": ["einops"],
            },
        },
        "tasks": ["alpha", "beta"], "use_chat_completions": True,
    },
    {
        "model": {"name": "org/c"}, "tasks": ["beta"],
        "vllm": {"provider_config": "card", "overrides": {"engine_env": {"A": "1"}}},
        "matrix": {"vllm_version": ["0.10.2", "0.11.2"], "dtype": ["float16", "bfloat16"]},
    },
]  # fmt: skip
TASKS = ["spanish", "portuguese", "translation"]
SEEDS += [yaml.safe_load(f.read_text()) for f in sorted((ROOT / "configs/single_card").glob("*"))]
BASE = {
    "engines/vllm.yaml": "package: vllm\nmodule: vllm\nmain: true\noptions: {seed: 0}\n",
    "engines/lm_eval.yaml": "kind: harness\npackage: lm_eval\nmodule: lm_eval\n"
    "default_version: '0.4.13'\n",
    "providers/card.yaml": "max_model_len: 4096\nport: 8001\n",
    "providers/vllm_single_card.yaml": "vllm_version: '0.8.0'\n",
    **{f"tasks/{task}.yaml": f"task_name: {task}_bench\n" for task in TASKS},
    "tasks/alpha.yaml": "task_name: spanish_bench\n",
    "tasks/beta.yaml": "task_name: [a, b]\nnum_fewshot: 5\n",
}

scalars = st.sampled_from([*HOSTILE, *PICKY, *ODD]) | st.text(max_size=12) | st.integers()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = sorted(
    {"vllm_version", "transformers_version", "engine_env", "extra_packages", "engine_source"}
    | {"index", "hf_token", "host", "port", "cuda_devices", "python", "cutoff", "engine", "dtype"}
    | {"api_key"}
    | {"model", "tasks", "vllm", "matrix", "revision", "name", "overrides", "provider_config"}
)  # fmt: skip
keys = st.sampled_from([*KEYS, *HOSTILE]) | st.text(max_size=8)


dump: Any = functools.partial(yaml.dump, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in nested data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*at, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*at, key))


def copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data


@st.composite
def edited(draw: st.DrawFn, seeds: list[dict[str, Any]]) -> bytes:
    """Draw a valid file with some keys and values replaced, added or removed."""
    data = copied(draw(st.sampled_from(seeds[:3]) | st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from(list(places(data)) or [("x",)]))
        inner = data
        for key in way:
            inner = inner[key]
        how = draw(st.integers(0, 3))
        if how == 0:
            inner[last] = copied(draw(values))
        elif how == 1 and isinstance(inner, dict):
            inner[draw(keys)] = copied(draw(values))
        elif how == 2 and isinstance(inner, dict):
            inner[draw(keys)] = inner.pop(last, None)
        elif how == 3:
            inner.pop(last, None) if isinstance(inner, dict) else inner.pop(last)
    text: str = dump(data, allow_unicode=draw(st.booleans()), sort_keys=False)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def mangled(draw: st.DrawFn, seeds: list[dict[str, Any]]) -> bytes:
    """Draw the text of a valid file with pieces inserted or replaced."""
    text = yaml.safe_dump(
        draw(st.sampled_from(seeds[:3]) | st.sampled_from(seeds)), sort_keys=False
    )
    for _ in range(draw(st.integers(1, 2))):
        start, size = draw(st.integers(0, len(text))), draw(st.integers(0, 9))
        piece = draw(st.sampled_from([*TEXTS, *HOSTILE]))
        text = text[:start] + piece + text[start + size * draw(st.integers(0, 1)) :]
    return text.encode("utf-8", "surrogatepass")


def files(seeds: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    anything = st.binary(max_size=40) | st.text(max_size=40).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    return st.one_of(edited(seeds), edited(seeds), mangled(seeds), mangled(seeds), anything)


GOOD = ["m", "a.b", "x_1", "Q-2.5+x"]
BAD = ["m\n", "m\udcff", "x" * 248, *(text for text in HOSTILE if "/" not in text)]
names = st.sampled_from([*GOOD * 200, *BAD])


class Tally:
    """Counts of generated files by outcome."""

    def __init__(self) -> None:
        self.count: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{n:,} {what}" for what, n in sorted(self.count.items()))
        return f"seed {SEED}: {told}; the slowest took {self.slowest:.2f} s"

    def check(self, files: int) -> None:
        """Assert that so many files were generated, enough accepted, and none was too slow."""
        refused, accepted = self.count["files refused"], self.count["files accepted"]
        assert refused + accepted + self.count["names refused"] >= files, self
        assert accepted > (refused + accepted) / 50, self
        assert self.slowest < 20, self


@pytest.fixture(name="tally")
def tally_() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\n{tally}")


@pytest.fixture(name="root")
def root_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path /= "beside/nothing"  # otherwise ".." in a file points to gigabytes of other tests
    tmp_path.mkdir(parents=True)
    for name in ("mk", "lib", "bin", "uv.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, text in BASE.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "configs/models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHY_KNOBS", "LIMIT= TASKS= SET= FALLBACK=")
    monkeypatch.setenv(
        "HOME", str(tmp_path.parent)
    )  # a model named ~ is hashed: gigabytes of files
    return tmp_path


def around(root: Path) -> environment_specs.PlanContext:
    return environment_specs.PlanContext(root, lambda: "0.32.0", {}, True)


def check_told(mistakes: Sequence[Mistake], folder: str) -> None:
    """Assert that each mistake names its file, and its line unless it is about the whole file."""
    assert mistakes
    for mistake in mistakes:
        assert mistake.what
        assert mistake.file.startswith(folder) or mistake.file == "", mistake
        whole = "is missing", "is empty", "has no default_version"
        assert mistake.line >= 1 or mistake.key == "" or mistake.what in whole, mistake
        lines = str(mistake).split("\n")
        assert len(lines) == 1 + bool(mistake.hint) and all(map(str.isprintable, lines)), mistake


def check_rules(made: Plan) -> None:
    """Assert that each model has the expected rules, built here without the writer's code."""
    name = r"[A-Za-z0-9][A-Za-z0-9._+@-]*"
    for model, facts in made.models.items():
        assert re.fullmatch(name, model), model
        lines = writer.model_rules(made, model).splitlines()
        expected = []
        for task in sorted(facts["tasks"]):
            target = f"results/{model}/{task}/results.json"
            locks = [facts["environment"], made.tasks[task]["environment"]]
            needs = [f"build/specs/result/{model}/{task}.json", *(f"venvs/{e}.lock" for e in locks)]
            expected.append(f"{target}: {' '.join(needs)}")
            expected.append(f"\t$(call run,EVAL,bin/eval {model} {task})")
        assert [line for line in lines if not line.startswith("# ")] == expected
        assert all(re.fullmatch(name, env) for env in (facts["asked"], facts["environment"]))


def check_make(root: Path, made: Plan) -> None:
    """Assert that Make reads from the plan each command once, and nothing else."""
    writer.save(made, Path("build"))
    command = ["make", "-f", "mk/graph.mk", "-n", "-s", "V=1", "all"]
    environ = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        command, cwd=root, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = {f"bin/eval {m} {t}" for m, facts in made.models.items() for t in facts["tasks"]}
    envs = {facts["environment"] for facts in made.models.values()}
    envs |= {made.tasks[t]["environment"] for facts in made.models.values() for t in facts["tasks"]}
    expected |= {f"bin/venv lock {env}" for env in envs}
    said = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert sorted(said) == sorted(expected)


def property_settings(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip


def rounds() -> list[Any]:
    """Return (seed, cases) of each round: without BENCHY_CASES, a short one and a slow long one."""
    if "BENCHY_CASES" in os.environ:
        return [(SEED + n, min(CASES, ROUND)) for n in range(-(-CASES // ROUND))]
    return [(SEED, 1000), pytest.param(SEED, CASES, marks=pytest.mark.slow)]


each_round = pytest.mark.parametrize(("seed", "cases"), rounds())


@each_round
def test_any_model_file_yields_mistakes_or_the_expected_rules(
    root: Path, tally: Tally, seed: int, cases: int
) -> None:
    base = loader.ConfigLoader(root)
    folder = root / "configs/models"
    batches = 0

    @hypothesis.seed(seed)
    @property_settings(cases // BATCH + 1)
    @hypothesis.given(st.lists(st.tuples(names, files(SEEDS)), min_size=BATCH, max_size=BATCH))
    def holds(batch: list[tuple[str, bytes]]) -> None:
        nonlocal batches
        batches += 1
        for old in folder.iterdir():
            old.unlink()
        for number, (name, text) in enumerate(batch):
            try:
                (folder / f"{number or ''}{name}.yaml").write_bytes(text)
            except (OSError, ValueError):  # not a valid file name
                (folder / f"m{number}.yaml").write_bytes(text)
        begun = time.process_time()
        made = Plan()
        listing = file_reader.list_folder(folder, root)
        if listing.mistakes:
            check_told(listing.mistakes, "configs/")
        accepted = []
        for path in listing.files:
            file = base.read(path)
            tally.count["files accepted" if file.models else "files refused"] += 1
            if not file.models:
                check_told(file.mistakes, "configs/")
                continue
            accepted.append(file)
            config = base.configuration(read=[file])
            for model in file.models:
                for task in model.tasks:
                    planner.add_task(made, task, config, around(root))
                planner.add_model(made, model, config, around(root))
        tally.count["names refused"] += BATCH - len(listing.files)
        planner.finished(made, base.partial(listing, accepted).inputs, root)
        check_rules(made)
        tally.slowest = max(tally.slowest, time.process_time() - begun)
        if batches % 8 == 0 and made.models:
            check_make(root, made)
            tally.count["plans read by make"] += 1
        assert not (root / CANARY).exists()

    holds()
    tally.check(cases)
    assert tally.count["plans read by make"] > cases / 200, tally


BESIDES = [yaml.safe_load(text) for text in BASE.values()]


@each_round
def test_any_other_file_yields_mistakes_or_the_expected_rules(
    root: Path, tally: Tally, seed: int, cases: int
) -> None:
    """Providers, tasks, engines and config.yaml, with one valid model."""
    (root / "configs/models/good.yaml").write_text(yaml.safe_dump(SEEDS[1]))
    places = st.sampled_from([*BASE, "config.yaml", "providers/other.yaml", "tasks/other.yaml"])
    seeds = [*BESIDES, {"paths": {"hf_cache": "x"}, "evaluation": {"default_limit": 5}}]

    @hypothesis.seed(seed)
    @property_settings(cases // 10 + 1)
    @hypothesis.given(places, files(seeds))
    def holds(place: str, text: bytes) -> None:
        path = root / "configs" / place
        path.write_bytes(text)
        begun = time.process_time()
        try:
            house = loader.load(root)
            made = planner.expand(house, around(root), None)
        except ConfigError as error:
            check_told(error.mistakes, "configs/")
            tally.count["files refused"] += 1
        else:
            tally.count["files accepted"] += 1
            check_rules(made)
            if tally.count["files accepted"] % 8 == 0:
                check_make(root, made)
        finally:
            path.write_text(BASE[place]) if place in BASE else path.unlink()
        tally.slowest = max(tally.slowest, time.process_time() - begun)
        assert not (root / CANARY).exists()

    holds()
    tally.check(cases // 10)
