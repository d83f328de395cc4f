"""Tests of hints: every command, knob, key, page and path that a message names exists, and a
configuration is accepted once its hints are followed.

The messages are read from the source, so that new ones are tested too.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from benchy.config import field_types, loader
from benchy.core import knob_table, paths
from benchy.core.errors import ConfigError, Mistake
from benchy.plan import planner, selection
from benchy.plan.environment_specs import PlanContext
from config_files import HARNESS, MODEL, TASK, lay, overrides

ROOT = paths.ROOT
SOURCES = sorted(ROOT.glob("lib/**/*.py"))
HOLE = "\N{WHITE SQUARE}"  # replaces the values of an f-string
MK = "".join(path.read_text() for path in sorted((ROOT / "mk").glob("*.mk")))
# Words after "make" where it is an English verb.
VERB = {"again", "it", "uv", "says", "builds", "goes", "tells", "is", "can", "use", "of", "results"}


def texts(path: Path) -> list[tuple[str, str]]:
    """Return (file:line, text) of every string of a module except docstrings."""
    tree = ast.parse(path.read_text())
    said, inner = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                said.add(first.value)
        if isinstance(node, ast.JoinedStr):
            inner |= {part for part in ast.walk(node) if part is not node}
    found = []
    for node in ast.walk(tree):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if node in said or node in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((where, node.value))
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else HOLE for p in node.values]
            found.append((where, "".join(map(str, parts))))
    return found


ALL = [(where, text) for path in SOURCES for where, text in texts(path)]
ALL += [
    (f"{path.relative_to(ROOT)}:{n}", line)
    for path in (ROOT / "bin/bootstrap", ROOT / "lib/launch", *sorted((ROOT / "mk").glob("*.mk")))
    for n, line in enumerate(path.read_text().splitlines(), 1)
    if "echo" in line or "error" in line
]


@cache
def goals() -> set[str]:
    named = re.search(r"^goals := ((?:.*\\\n)*.*)$", MK, re.M)
    assert named
    return set(named[1].replace("\\\n", " ").split())


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return (goal, knobs) of each `make GOAL KNOB=…` in a text."""
    found = []
    for match in re.finditer(r"\bmake((?: -[jk]\d*)?(?: [A-Z_]+=\S*)*) ([a-z][a-z-]*)\b(.*)", text):
        before, goal, after = match[1], match[2], match[3].partition(" make ")[0]
        given = re.match(r"((?:,? \[?[A-Z][A-Z_]*=(?:\"[^\"]*\"|'[^']*'|[^\s,;)]*))*)", after)
        words = f"{before} {given[1] if given else ''}"
        found.append((goal, re.findall(r"\b([A-Z][A-Z_]*)=", words)))
    return found


def test_every_goal_and_knob_of_a_message_exists() -> None:
    seen = 0
    for where, text in ALL:
        for goal, given in commands(text):
            if goal not in goals():
                assert goal in VERB or not given, f"{where}: make {goal}: no such goal"
                # The text before it shows whether it is a goal or an English word.
                assert not re.search(rf"[`(]make {goal}|write make {goal}|run make {goal}", text), (
                    f"{where}: {text!r}"
                )
                continue
            seen += 1
            wrong = selection.mistakes(given, [goal], dict.fromkeys(given, ""))
            assert not wrong, f"{where}: {wrong}"
    assert seen > 50


def test_commands_are_found_and_wrong_knobs_are_detected() -> None:
    assert commands("write make evl CONFIG=x LIMIT=1") == [("evl", ["CONFIG", "LIMIT"])]
    assert selection.mistakes(["CONFIG"], ["results"], {"CONFIG": ""})


def test_every_knob_of_a_message_exists() -> None:
    ours = {"BENCHY_LEASES", "UV_CACHE_DIR", "HF_TOKEN", "NAME", "PATH", "RELEASE", "MODEL", "A"}
    for where, text in ALL:
        if "mk/" in where:
            continue
        for match in re.finditer(r"(?:write|add|with|without|did you mean|as in) ([A-Z_]+)=", text):
            assert match[1] in {*knob_table.KNOBS} - ours | {"MODEL", "NAME", "A"}, (
                f"{where}: {text!r}"
            )


@cache
def help_of(verb: str, *sub: str) -> str:
    main = "import sys; from benchy.cli import entry, {0}; sys.exit(entry.run({0}.main))"
    done = subprocess.run(
        [sys.executable, "-c", main.format(verb.replace("-", "_")), *sub, "-h"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT / "lib"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else ""


def test_every_program_of_a_message_accepts_its_options() -> None:
    seen = 0
    for where, text in ALL:
        for match in re.finditer(r"(?<![/\w.])bin/([a-z][a-z-]*)((?: [^;,`()&]*)?)", text):
            verb, words = match[1], match[2].partition(" -- ")[0].split()
            if not (ROOT / "bin" / verb).exists() and verb in ("python", "activate", "uv"):
                continue  # a program of an environment
            assert (ROOT / "bin" / verb).exists(), f"{where}: bin/{verb}"
            options = [word for word in words if word.startswith("--")]
            if not options:
                continue
            seen += 1
            sub = words[:1] if verb == "venv" else []
            about = help_of(verb, *sub)
            for option in options:
                assert option.partition("=")[0] in about, f"{where}: bin/{verb} has no {option}"
    assert seen >= 5


def test_every_page_and_file_of_a_message_exists() -> None:
    for where, text in ALL:
        for match in re.finditer(r"\b(?:docs|configs|mk)/[\w./-]*\w\.(?:md|yaml|mk|json)\b", text):
            name = match[0]
            if "NAME" in name or HOLE in text[match.start() - 1 : match.end() + 1]:
                continue
            assert (ROOT / name).exists(), f"{where}: {name}"
        for page in re.findall(r"\bP(\d\d)\b", text):
            assert section(int(page)), f"{where}: P{page}"
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            page = node.value if isinstance(node, ast.keyword) and node.arg == "page" else None
            if isinstance(page, ast.Constant) and isinstance(page.value, int) and page.value:
                assert section(page.value), f"{path}:{page.lineno}"


def section(page: int) -> bool:
    return f"P{page:02} " in (ROOT / "docs/problems.md").read_text()


# Placeholders that hints may print, and why the program knows no name instead.
PLACEHOLDERS = {
    "configs/tasks/NAME.yaml": "of several tasks",
    "configs/launchers/NAME.yaml": "any launcher",
    "/NAME.yaml": "names follow",
    "NAME=https://": "an index of a person's own",
    "MODEL=org/name": "a model that nobody named yet",
    "@REVISION": "of somebody's repository",
    "UV_INDEX_NAME_": "as uv spells it",
    "configs/engines/NAME.yaml": "any engine",
    "configs/providers/NAME.yaml": "any provider",
    "ENV and --version": "as bin/venv -h has it",
}
RAISED = {"Mistake", "UsageError", "Failure", "Died", "ConfigError", "NoSuchRelease", "mistake",
          "failure", "BadOption", "ValueError", "Refusal", "Problem"}  # fmt: skip


# Modules in which every text is a message.
TABLES = (
    "evaluation/output_checks.py",
    "evaluation/task_checks.py",
    "evaluation/tokenizer_checks.py",
    "maintenance/doctor.py",
    "serving/known_failures.py",
)


@cache
def hints() -> list[tuple[str, str]]:
    """Return (file:line, text) of the strings of messages: those in TABLES, in calls of RAISED, and
    assigned to a name for hints."""
    assert all((ROOT / "lib/benchy" / name).exists() for name in TABLES)
    found = [
        (where, text)
        for where, text in ALL
        if where.partition(":")[0].removeprefix("lib/benchy/") in TABLES
        and " " in text
        and not re.search(r"[\\^]|\(\?", text)  # a log pattern
    ]
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            inside: list[ast.AST] = []
            if isinstance(node, ast.Call):
                called = node.func
                name = getattr(called, "id", getattr(called, "attr", ""))
                inside = [*node.args, *node.keywords] if name in RAISED else []
            elif isinstance(node, ast.Assign):
                names = {getattr(target, "id", "") for target in node.targets}
                inside = [node.value] if names & {"hint", "HINTS", "FILES"} else []
            found += [
                (f"{path.relative_to(ROOT)}:{each.lineno}", str(each.value))
                for part in inside
                for each in words(part)
                if " " in str(each.value)
            ]
    return found


def words(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the strings of an expression, except those inside the values of an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FormattedValue):
            yield from words(child)


def test_no_hint_prints_a_placeholder() -> None:
    """A hint may print MODEL, NAME or TASK only where the program knows no name."""
    literal = re.compile(r"\b(MODEL|NAME|TASK|VERSION|ENV|DIR|RELEASE|REVISION)\b(?![=.])|=…")
    assert len(hints()) > 400
    wrong = []
    for where, text in hints():
        plain = text
        for known in PLACEHOLDERS:
            plain = plain.replace(known, "")
        if not literal.search(plain):
            continue
        if not where.startswith("lib/benchy/config/misplaced_keys.py"):  # home() replaces it
            wrong.append(f"{where}: {text}")
    assert not wrong, "\n".join(wrong)


def known_keys() -> set[str]:
    """Return every key of every kind of file, at any depth."""
    found: set[str] = set()
    kinds = [field_types.Strict]
    while kinds:
        kind = kinds.pop()
        found |= set(kind.model_fields)
        kinds += kind.__subclasses__()
    return found


def engine_options() -> set[str]:
    return set(re.findall(r'"--?([a-z][a-z0-9-]*)"', (ROOT / "docs/options.json").read_text())) | {
        word.replace("_", "-") for word in json.dumps(yaml.safe_load(
            (ROOT / "configs/engines/vllm.yaml").read_text())).replace('"', " ").split()
    }  # fmt: skip


# Names with an underscore in hints that are not config keys: other programs' files use them.
OTHERS = {
    "gen_kwargs", "doc_to_text", "model_type", "tokenizer_config", "chat_template", "data_files",
    "test_split", "dataset_path", "process_results", "metric_list", "max_gen_toks", "max_tokens",
    "dataset_name", "output_type", "generate_until", "sys_path", "mistral_common",
}  # fmt: skip


def test_every_key_of_a_hint_is_known() -> None:
    """Keys are words with an underscore, and words between "write" and a colon."""
    known, options, wrong = known_keys(), engine_options(), []
    known |= {path.stem for path in (ROOT / "configs").glob("*/*.yaml")}
    for where, text in hints():
        written = re.findall(r"\bwrite ([a-z_]+): ", text)
        written += re.findall(r"(?<![\w./-])([a-z]+(?:_[a-z]+)+)\b(?![\w/.(])", text)
        for key in written:
            if not (key in known or key in OTHERS or key.replace("_", "-") in options):
                wrong.append(f"{where}: {key}: {text}")
    assert not wrong, "\n".join(wrong)


# --- follow hints -------------------------------------------------------------------------------


def mistakes(root: Path) -> list[Mistake]:
    base = loader.ConfigLoader(root)
    try:
        planner.checked(base, base.files(), PlanContext(root, lambda: "0.32.0", {}))
    except ConfigError as error:
        return error.mistakes
    return []


WRITE = r"(?:write|quotes:) ([a-z_]+: [^;]*?)(?: without quotes| or .*)?(?:;|$)"


def obey(root: Path, told: Mistake) -> bool:
    """Follow a mistake's hint at its line, as a user would. Return whether it can be followed
    literally."""
    path, hint = root / told.file, told.hint
    lines = path.read_text().splitlines()
    name = told.key.rpartition(".")[2]
    if hint == "rename it to .yaml":
        path.rename(path.with_suffix(".yaml"))
        return True
    if found := re.fullmatch(r"did you mean ['\"]?([\w.-]+)['\"]?\?", hint):
        wrong = re.findall(r"'([^']+)'", told.what) or [name]
        lines[told.line - 1] = lines[told.line - 1].replace(wrong[0], found[1])
    elif found := re.search(WRITE, hint):
        at = lines[told.line - 1]
        if told.what == "is missing":
            indent = "" if "." not in told.key else "  "
            lines.insert(told.line, indent + found[1]) if told.line else lines.append(found[1])
        elif told.what == "unknown key":
            lines[told.line - 1] = found[1]
        elif re.match(rf"\s*{name}\s*:", at):
            lines[told.line - 1] = re.match(r"\s*", at)[0] + found[1]  # type: ignore[index]
        else:
            lines[told.line - 1] = re.sub(rf"{name}: ?[^,}}]+", found[1], at)
    elif hint in ("leave it out", "remove it", "keep one", "remove one"):
        if told.key.startswith("tasks."):
            lines[told.line - 1] = lines[told.line - 1].replace(', "spanish"', "")
        else:
            del lines[told.line - 1]
    elif found := re.fullmatch(r"(?:name an? \w+|known in [\w/]+): (\w+).*", hint):
        at = lines[told.line - 1]
        lines[told.line - 1] = re.sub(r": \w+$", f": {found[1]}", at)
    elif hint == "indent with spaces":
        lines = [line.replace("\t", "  ") for line in lines]
    else:
        return False
    path.write_text("\n".join(lines) + "\n")
    return True


CARD = "providers/card.yaml"
M = "single_card/m.yaml"
# Name → (file, its text). Each has a mistake whose hint can be followed literally.
CASES = {
    "a key": (M, MODEL.replace("tasks:", "taks:")),
    "a nested key": (M, MODEL.replace("  name:", "  nmae:")),
    "an option": (M, overrides("max_modle_len: 512")),
    "an option in a flow": (M, MODEL.replace("{}", "{max_modl_len: 512}")),
    "a provider": (M, MODEL.replace('"card"', '"crad"')),
    "a task": (M, MODEL.replace('["spanish"]', '["spanihs"]')),
    "a text for a list": (M, MODEL.replace('["spanish"]', '"spanish"')),
    "tasks in one text": (M, MODEL.replace('["spanish"]', '"spanish, "')),
    "a task by its path": (M, MODEL.replace('["spanish"]', '["configs/tasks/spanish.yaml"]')),
    "no task": (M, MODEL.replace('["spanish"]', "[]")),
    "a name alone": (M, MODEL.replace('model:\n  name: "org/model"\n', "model: org/model\n")),
    "an empty name": (M, MODEL.replace('"org/model"', "")),
    "devices in words": (M, overrides("cuda_devices: all")),
    "arguments as a text": ("tasks/spanish.yaml", TASK + "gen_kwargs: temperature=0\n"),
    "a default of a task": ("tasks/spanish.yaml", TASK + "batch_size: 8\n"),
    "a default of the settings": ("config.yaml", "default_limit: 5\n"),
    "a task twice": (M, MODEL.replace('["spanish"]', '["spanish", "spanish"]')),
    "no tasks": (M, MODEL.replace('tasks: ["spanish"]\n', "")),
    "no model": (M, MODEL.replace('model:\n  name: "org/model"\n', "")),
    "a number as version": (M, overrides("vllm_version: 0.10")),
    "a number as version in a flow": (M, MODEL.replace("{}", "{vllm_version: 0.10}")),
    "a word as python": (M, overrides("python: three")),
    "a number in quotes": (M, overrides('max_model_len: "4096"')),
    "a truth in quotes": (M, overrides('enforce_eager: "true"')),
    "a tab": (M, MODEL.replace("  name", "\tname")),
    "a provider's key": (CARD, "max_model_len: 4096\nstartup_timeuot: 60\n"),
    "an engine": (CARD, "engine: vlm\n"),
    "an engine near to a harness": (CARD, "engine: lm_evl\n"),
    "a harness as engine": (CARD, "engine: lm_eval\n"),
    "a harness": ("tasks/spanish.yaml", TASK + "harness: lm_evl\n"),
    "an engine as harness": ("tasks/spanish.yaml", TASK + "harness: vllm\n"),
    "a task's key": ("tasks/spanish.yaml", TASK + "num_fewshots: 3\n"),
    "a task's name": ("tasks/spanish.yaml", "task_nmae: spanish_bench\n"),
    "a task without its name": ("tasks/spanish.yaml", "seed: 1\n"),
    "two sources": (
        "tasks/spanish.yaml",
        TASK + "lm_eval_path: .\nlm_eval_git: https://host/x.git@0123456\n",
    ),
    "an engine's key": ("engines/lm_eval.yaml", HARNESS.replace("module", "modul")),
    "an engine without its package": ("engines/lm_eval.yaml", HARNESS.replace(
        "package: lm_eval\n", "")),
    "the settings": ("config.yaml", "evaluaton: {default_limit: 5}\n"),
    "a neutral key in a matrix": (
        M, MODEL + "matrix:\n  port: [1, 2]\n  max_model_len: [512, 1024]\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_configuration_is_accepted_once_its_hints_are_followed(tmp_path: Path, name: str) -> None:
    lay(tmp_path)
    (tmp_path / "uv.lock").touch()
    file, text = CASES[name]
    (tmp_path / "configs" / file).write_text(text)
    seen = []
    for _ in range(3):  # fixing one mistake may reveal the next
        found = mistakes(tmp_path)
        if not found:
            break
        seen += found
        assert obey(tmp_path, found[0]), f"{found[0]}: nothing that can be done as it stands"
    assert seen, f"{text}: no mistake"
    assert not mistakes(tmp_path), [*map(str, seen), (tmp_path / "configs" / file).read_text()]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("path", "/x", "write a directory as the name: model: {name: /x}"),
        ("temperature", 0.5,
         "write it in a task's file: gen_kwargs: {temperature: 0.5} in configs/tasks/spanish.yaml"),
        ("limit", 7, "it is a knob: make eval CONFIG=configs/single_card/m.yaml LIMIT=7, or "),
        ("limit", "all", "it is a knob: make eval CONFIG=configs/single_card/m.yaml LIMIT=10, or "),
        ("num_fewshot", 3, "it is a key of a task's file, configs/tasks/spanish.yaml"),
        ("default_limit", 3, ""),
    ],
)  # fmt: skip
def test_hints_for_misplaced_keys_use_real_names(
    tmp_path: Path, key: str, value: object, told: str
) -> None:
    lay(tmp_path)
    (tmp_path / "uv.lock").touch()
    path = tmp_path / "configs" / M
    path.write_text(MODEL + f"{key}: {json.dumps(value)}\n")
    (found,) = mistakes(tmp_path)
    assert found.hint.startswith(told), found
    if "gen_kwargs" in told:
        task = tmp_path / "configs/tasks/spanish.yaml"
        task.write_text(TASK + "gen_kwargs: {temperature: 0.5}\n")
        path.write_text(MODEL)
        assert not mistakes(tmp_path)
