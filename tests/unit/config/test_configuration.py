"""Tests of configuration errors: each reports file, line, key, and what to write instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchy.config import loader, set_knob, yaml_file
from benchy.core import versions
from benchy.core.errors import ConfigError
from benchy.plan import planner
from benchy.plan.environment_specs import PlanContext
from config_files import ENGINE, MODEL, PROVIDER, TASK, lay, overrides

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="root")
def root_(tmp_path: Path) -> Path:
    return lay(tmp_path)


# (name, file below configs/, its text or bytes, texts that the messages must contain)
MISTAKES: list[tuple[str, str, str | bytes, list[str]]] = [
    ("unknown key", "single_card/m.yaml", MODEL + "taks: [a]\n",
     ["configs/single_card/m.yaml:7: taks: unknown key", "did you mean 'tasks'?"]),
    ("the name of a limit's results", "single_card/limit-10.yaml", MODEL,
     ["configs/single_card/limit-10.yaml: is called limit-10, but results/limit-10 has"]),
    ("a package for a directory", "single_card/m.yaml",
     'model:\n  name: /models\n  package: {name: p, version: "1.0", sha256: "' + "0" * 64 + '"}\n'
     "vllm: {provider_config: card}\ntasks: [spanish]\n",
     ["m.yaml:3: model.package: the model is not one of the hub"]),
    ("unknown nested key", "single_card/m.yaml", MODEL.replace("  name:", "  nmae:"),
     ["m.yaml:2: model.nmae: unknown key\n  did you mean 'name'?"]),
    ("a directory as path", "single_card/m.yaml", MODEL.replace("  name:", "  path: /x\n  name:"),
     ["model.path: unknown key", "model: {name: /x}"]),
    ("a task's key in the model's file", "single_card/m.yaml", MODEL + "num_fewshot: 3\n",
     ["m.yaml:7: num_fewshot: unknown key", "a key of a task's file, configs/tasks/spanish.yaml"]),
    ("the model's key in vllm", "single_card/m.yaml",
     MODEL.replace("vllm:", "vllm:\n  use_chat_completions: true"),
     ["use_chat_completions: unknown key", "a key of the model's file, next to vllm and tasks"]),
    ("a python of words", "single_card/m.yaml", overrides("python: three"),
     ["m.yaml:6: vllm.overrides.python: 'three'", 'write python: "3.11" or python: ">=3.10"']),
    ("wrong type", "single_card/m.yaml", overrides("max_model_len: lots"),
     ["m.yaml:6: vllm.overrides.max_model_len: 'lots' is not a whole number"]),
    ("number in quotes", "single_card/m.yaml", overrides('max_model_len: "4096"'),
     ["m.yaml:6", "write max_model_len: 4096 without quotes"]),
    ("a group of an unknown task", "config.yaml",
     "leaderboard: {groups: {G: {tasks: [spanihs]}}}\n",
     ["config.yaml:1: leaderboard.groups.G.tasks: there is no task 'spanihs'", "'spanish'?"]),
    ("a weight below nought", "config.yaml",
     "leaderboard:\n  groups:\n    G:\n      tasks: {spanish: -1}\n",
     ["config.yaml:4: leaderboard.groups.G.tasks.spanish: '-1' should be greater than 0"]),
    ("unknown provider", "single_card/m.yaml", MODEL.replace('"card"', '"crad"'),
     ["m.yaml:4: vllm.provider_config: there is no provider 'crad'", "did you mean 'card'?"]),
    ("unknown task", "single_card/m.yaml", MODEL.replace('["spanish"]', '["spanihs"]'),
     ["m.yaml:6: tasks.0: there is no task 'spanihs'", "did you mean 'spanish'?"]),
    ("task as a text", "single_card/m.yaml", MODEL.replace('["spanish"]', "spanish"),
     ["m.yaml:6: tasks: 'spanish' is not a list", 'tasks: ["spanish"]']),
    ("a command as version", "single_card/m.yaml", overrides('vllm_version: "0.8.0; rm -rf ~"'),
     ["m.yaml:6: vllm.overrides.vllm_version", "is not a version"]),
    ("a word as version", "single_card/m.yaml", overrides('vllm_version: "latest!"'),
     ["m.yaml:6", "is not a version"]),
    ("0.8 without quotes", "single_card/m.yaml", overrides("vllm_version: 0.8"),
     ["0.8 is a number without quotes", 'vllm_version: "0.8"']),
    ("0.10 without quotes", "single_card/m.yaml", overrides("vllm_version: 0.10"),
     ["0.10 is a number without quotes, which YAML reads as the number 0.1",
      'vllm_version: "0.10"']),
    ("duplicate key", "single_card/m.yaml", MODEL + "tasks: [spanish]\n",
     ["m.yaml:7: tasks: is defined twice (first on line 6)"]),
    ("tab", "single_card/m.yaml", "model:\n\tname: a\n", ["m.yaml:2: has a tab", "spaces"]),
    ("empty", "single_card/m.yaml", "", ["m.yaml: is empty"]),
    ("only comments", "single_card/m.yaml", "# nothing\n", ["m.yaml: is empty"]),
    ("a list", "single_card/m.yaml", "- a\n", ["m.yaml:1: is not a mapping"]),
    ("latin-1", "single_card/m.yaml", b"model:\n  name: \xf1and\xfa\n",
     ["m.yaml:2: is not UTF-8"]),
    ("a python tag", "single_card/m.yaml", "model: !!python/object/apply:os.system [ls]\n",
     ["m.yaml:1: model: has the tag", "remove the tag"]),
    ("an unknown tag", "single_card/m.yaml", MODEL.replace('"org/model"', '!env "X"'),
     ["m.yaml:2: model.name: has the tag !env"]),
    ("an alias bomb", "single_card/m.yaml",
     "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
         f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
     ["is too large after its aliases are expanded"]),
    ("a ring of aliases", "single_card/m.yaml", "a: &a [*a]\n",
     ["m.yaml:1: a.0: contains an alias of itself"]),
    ("deep nesting", "single_card/m.yaml", "a: " + "[" * 200 + "]" * 200 + "\n", ["m.yaml"]),
    ("two documents", "single_card/m.yaml", MODEL + "---\n" + MODEL,
     ["has a second document"]),
    ("not finite", "single_card/m.yaml", overrides("gpu_memory_utilization: .nan"),
     ["m.yaml:6: vllm.overrides.gpu_memory_utilization: is .nan"]),
    ("out of range", "single_card/m.yaml", overrides("gpu_memory_utilization: 90"),
     ["m.yaml:6: vllm.overrides.gpu_memory_utilization: '90' should be less than or equal to 1"]),
    ("a slip in an option", "single_card/m.yaml", overrides("max_modle_len: 1"),
     ["m.yaml:6: vllm.overrides.max_modle_len: unknown key", "did you mean 'max_model_len'?"]),
    ("a slip in a provider", "providers/card.yaml", PROVIDER + "startup_timeuot: 1\n",
     ["card.yaml:3: startup_timeuot: unknown key", "did you mean 'startup_timeout'?"]),
    ("no option's name", "single_card/m.yaml", overrides('"--seed": 1'),
     ["is not an option name"]),
    ("a variable's name", "providers/card.yaml", PROVIDER + 'engine_env: {"A B": "1"}\n',
     ["card.yaml:3: engine_env", "is not a name of an environment variable"]),
    ("no such directory", "single_card/m.yaml", MODEL.replace("org/model", "/no/such/model"),
     ["m.yaml:2: model.name: /no/such/model is not a directory"]),
    ("unknown engine", "providers/card.yaml", "engine: vlm\n",
     ["card.yaml:1: engine: there is no engine 'vlm'", "did you mean 'vllm'?"]),
    ("a harness as engine", "providers/card.yaml", "engine: lm_eval\n",
     ["lm_eval is a harness, not an engine"]),
    ("task without its name", "tasks/spanish.yaml", "seed: 1\n",
     ["spanish.yaml: task_name: is missing"]),
    ("a version specifier", "engines/vllm.yaml", ENGINE +
     "repairs: [{versions: '0.8 to 0.9', why: x}]\n", ["vllm.yaml:5: repairs.0.versions"]),
    ("a requirement of two lines", "tasks/spanish.yaml", TASK + 'extra_packages: ["a\\n--b"]\n',
     ["spanish.yaml:2: extra_packages.0"]),
    ("a requirement that is an option", "tasks/spanish.yaml", TASK +
     "extra_packages: [--index-url=x]\n", ["spanish.yaml:2: extra_packages.0"]),
    ("a token in a requirement", "tasks/spanish.yaml", TASK +
     'extra_packages: ["x @ git+https://me:s3cret@host/x@main"]\n',
     ["spanish.yaml:2: extra_packages.0: 'x @ git+https://***@host/x@main' contains credentials"]),
    ("a token in an index", "single_card/m.yaml", overrides('index: "https://s3cret@host/simple"'),
     ["m.yaml:6: vllm.overrides.index.0: 'https://***@host/simple' contains credentials", "netrc",
      "UV_INDEX_NAME_PASSWORD"]),
    ("a token in one of two indexes", "engines/vllm.yaml", ENGINE +
     'index: ["https://host/simple", "own=https://me:s3cret@host/simple"]\n',
     ["vllm.yaml:5: index.1: 'own=https://***@host/simple' contains credentials"]),
    ("a token where a list belongs", "tasks/spanish.yaml", TASK +
     'extra_packages: "x @ https://s3cret@host/x.whl"\n', ["is not a list"]),
    ("no index", "single_card/m.yaml", overrides("index: --extra"),
     ["m.yaml:6: vllm.overrides.index.0: '--extra' is not a package index", "write its URL"]),
    ("a token in a source", "single_card/m.yaml",
     overrides('engine_source: "git+https://s3cret@host/vllm@main"'),
     ["m.yaml:6: vllm.overrides.engine_source: 'git+https://***@host/vllm@main' contains"]),
    ("a source with no revision", "single_card/m.yaml",
     overrides('engine_source: "git+ssh://git@host/vllm"'),
     ["m.yaml:6: vllm.overrides.engine_source", "is neither a git revision nor a wheel",
      "@REVISION"]),
    ("a wheel that is not there", "single_card/m.yaml", overrides("engine_source: no/vllm.whl"),
     ["m.yaml:6: vllm.overrides.engine_source: there is no wheel no/vllm.whl"]),
    # Found by the property tests: these once caused a traceback or never finished.
    *((f"{text[:12]!r} for a value", "single_card/m.yaml", overrides(f"dtype: {text}"),
       ["m.yaml:6: vllm.overrides.dtype", what])
      for text, what in [
          ("!!bool x", "has the tag !!bool"), ("!!int ''", "has the tag !!int"),
          ("!!float ''", "has the tag !!float"), ("!!map a", "has the tag !!map"),
          ("!!seq a", "has the tag !!seq"), ('"a\\0b"', "contains a NUL character"),
          ("0x" + "f" * 5000, "is too large"),
          ("&a {<<: *a}", "contains an alias of itself"),
          ("&a {<<: [*a, *a]}", "contains an alias of itself"),
      ]),
    ("merges of merges", "single_card/m.yaml", "a0: &a0 {x: 1}\n"
     + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 700)), ["is too large after"]),
    ("brackets without end", "single_card/m.yaml", "[" * 500_000, ["m.yaml:1: is nested too deep"]),
    ("dashes without end", "single_card/m.yaml", "\n" + "- " * 400_000,
     ["m.yaml:2: is nested too deep"]),
    ("a home of nobody", "single_card/m.yaml", MODEL.replace("org/model", "~nosuch/model"),
     ["m.yaml:2: model.name: ~nosuch/model is not a directory"]),
    ("a wheel of nobody", "single_card/m.yaml", overrides("engine_source: ~nosuch/a.whl"),
     ["m.yaml:6: vllm.overrides.engine_source: there is no wheel"]),
    ("a version longer than a name", "single_card/m.yaml",
     overrides(f"vllm_version: '1.0+{'a' * 300}'"), ["m.yaml:6", "is too long for a version"]),
    ("no such day", "single_card/m.yaml", overrides("cutoff: 2026-02-30"),
     ["m.yaml:6", "is not release, none"]),
    ("devices in other digits", "single_card/m.yaml", overrides("cuda_devices: '٣'"), ["m.yaml:6"]),
    ("devices of 5,000 digits", "single_card/m.yaml", overrides(f"cuda_devices: '{'9' * 5000}'"),
     ["m.yaml:6"]),
    ("a device below none", "single_card/m.yaml", overrides("cuda_devices: -1"), ["m.yaml:6"]),
    ("a device named twice", "single_card/m.yaml",
     overrides("cuda_devices: '0,00'\n    tensor_parallel_size: 2"),
     ["m.yaml:6: vllm.overrides.cuda_devices: lists 0 twice", "remove one"]),
    ("a device named twice by its UUID", "single_card/m.yaml",
     overrides("cuda_devices: [GPU-1f, GPU-1f]"), ["m.yaml:6", "lists GPU-1f twice"]),
    ("too few devices", "single_card/m.yaml",
     overrides("cuda_devices: 0\n    tensor_parallel_size: 2\n    pipeline_parallel_size: 2"),
     ["m.yaml:6: vllm.overrides.cuda_devices: lists 1 of the 4 GPUs that m needs",
      "remove the key to use any free GPUs"]),
    ("too few devices of a provider", "providers/card.yaml",
     PROVIDER + "cuda_devices: '0'\ntensor_parallel_size: 2\n",
     ["configs/providers/card.yaml:3: cuda_devices: lists 1 of the 2 GPUs that m needs"]),
    ("a device of another maker", "single_card/m.yaml", overrides("cuda_devices: TPU-0"),
     ["m.yaml:6: vllm.overrides.cuda_devices: 'TPU-0' has invalid characters"]),
    ("a matrix over no engines", "single_card/m.yaml", MODEL + "matrix: {engine: [vlm, vllm]}\n",
     ["m.yaml:7: matrix.engine: there is no engine 'vlm'", "did you mean 'vllm'?"]),
    ("a host that is an option", "single_card/m.yaml", overrides("host: --help"), ["m.yaml:6"]),
    ("a model that is an option", "single_card/m.yaml", MODEL.replace("org/model", "--help"),
     ["m.yaml:2: model.name"]),
    ("a hundred million cells", "single_card/m.yaml",
     MODEL + "matrix:\n" + "".join(f"  k{i}: [{', '.join('0123456789')}]\n" for i in range(8)),
     ["m.yaml:7: matrix: has 100000000 cells"]),
    ("cells of long names", "single_card/m.yaml",
     MODEL + "matrix:\n" + "".join(f"  k{i}: [{'a' * 40}]\n" for i in range(6)),
     ["m.yaml:7: matrix: the names of its cells are too long"]),
    ("a name with a line break at its end", "single_card/m\n.yaml", MODEL,
     ["m\\n.yaml: has an invalid name"]),
    ("a name that leaves no room", f"single_card/{'m' * 201}.yaml", MODEL,
     ["has an invalid name"]),
    ("a folder that Make can't watch", "models (2)/n.yaml", MODEL,
     ["configs/models (2): has an invalid name"]),
    ("a folder of no characters", "models\n2/n.yaml", MODEL,
     ["configs/models\\n2: has an invalid name"]),
    ("a key that a terminal obeys", "single_card/m.yaml", MODEL + '"a\\nb\\x1b[2J": 1\n',
     ["m.yaml:7: a\\nb\\x1b[2J: unknown key"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "text", "says"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistake_is_reported_with_place_and_hint(
    root: Path, name: str, file: str, text: str | bytes, says: list[str]
) -> None:
    path = root / "configs" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        loader.load(root)
    for part in says:
        assert part in str(error.value)
    assert "s3cret" not in str(error.value)


SOURCES = [
    ("git+https://host/vllm@v0.9.0", True),
    ("git+https://host/org/vllm@feature/x#subdirectory=a", True),
    ("git+ssh://git@host/vllm@0123456", True),
    ("git+file:///srv/vllm@main", True),
    ("https://host/vllm-1.0-py3-none-any.whl", True),
    ("https://host/vllm-1.0-py3-none-any.whl#sha256=00", True),
    ("https://host/vllm.tar.gz", False),
    ("ftp://host/vllm.whl", False),
    ("git+https://host/vllm", False),
    ("git+ssh://git:s3cret@host/vllm@main", False),
    ("vllm", False),
    ("a.whl\nb.whl", False),
]


@pytest.mark.parametrize(("source", "fits"), SOURCES)
def test_engine_source_is_a_git_revision_or_a_wheel(root: Path, source: str, fits: bool) -> None:
    text = overrides(f"engine_source: {json.dumps(source)}")
    (root / "configs/single_card/m.yaml").write_text(text)
    if fits:
        (model,) = loader.load(root).models
        assert model.serving.engine_source == source
        assert "engine_source" not in model.options
    else:
        with pytest.raises(ConfigError, match="engine_source"):
            loader.load(root)


LIMITS = [
    ("{image: 16, video: 2}", {"image": 16, "video": 2}),
    ("{images: 16, videos: 2}", {"image": 16, "video": 2}),
    ("image=16,video=2", {"image": 16, "video": 2}),
    ("images=16, video=2", {"image": 16, "video": 2}),
    ('\'{"image": 16, "videos": 2}\'', {"image": 16, "video": 2}),
    ("as many as you like", "as many as you like"),  # the release's parser reports the error
]


@pytest.mark.parametrize(("written", "read"), LIMITS)
def test_multimodal_limits_become_a_mapping_from_every_notation(
    root: Path, written: str, read: object
) -> None:
    text = overrides(f"limit_mm_per_prompt: {written}")
    (root / "configs/single_card/m.yaml").write_text(text)
    (model,) = loader.load(root).models
    assert model.options["limit_mm_per_prompt"] == read


def test_engine_inherits_from_the_engine_in_its_like_key(root: Path) -> None:
    engines = root / "configs/engines"
    gone = 'neutral: [a]\ngone: [{options: [b], since: "1.0"}]\n'
    (engines / "vllm.yaml").write_text(ENGINE + gone)
    other = "package: x\nmodule: x\ndefault_version: '1.0'\nneutral: [c]\n"
    (engines / "x.yaml").write_text(other + "like: vllm\n")
    found = loader.load_engines(root)["x"]
    assert found.neutral == ["a", "c"]
    assert found.gone_options().keys() == {"b"} and found.gone[0].since == "1.0.0"
    (engines / "y.yaml").write_text(other + "like: x\n")
    (engines / "z.yaml").write_text(other + "like: vlm\n")
    with pytest.raises(ConfigError) as error:
        loader.load(root)
    told = [str(mistake).splitlines()[0] for mistake in error.value.mistakes]
    what = "like: does not name an engine without a `like` of its own"
    assert told == [f"configs/engines/{name}.yaml:5: {what}" for name in "yz"]


# JSON that cannot be serialized again, and digits that are not ASCII: the value stays text.
@pytest.mark.parametrize(
    "text", ["[" * 60_000, '{"a": NaN}', '{"a": 1e999}', r'{"a": "\ud800"}', "a=٣,b=" + "9" * 5000]
)
def test_multimodal_limits_that_cannot_be_parsed_stay_text(root: Path, text: str) -> None:
    path = root / "configs/single_card/m.yaml"
    path.write_text(overrides(f"limit_mm_per_prompt: {json.dumps(text)}"))
    assert loader.load(root).models[0].options["limit_mm_per_prompt"] == text


def test_mistakes_of_all_files_are_reported_at_once(root: Path) -> None:
    (root / "configs/single_card/m.yaml").write_text(MODEL + "taks: []\n" + "mdoel: {}\n")
    (root / "configs/single_card/n.yaml").write_text("")
    (root / "configs/providers/card.yaml").write_text("port: 99999\n")
    with pytest.raises(ConfigError) as error:
        loader.load(root)
    text = str(error.value)
    assert all(part in text for part in ("taks", "mdoel", "n.yaml: is empty", "card.yaml:1: port"))
    # A provider that exists but is invalid is not also reported as missing.
    assert "there is no provider" not in text


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('"card"', '"crad"', 4, "vllm.provider_config"),
        ('["spanish"]', "spanish", 9, "tasks"),
        ('["spanish"]', "[{name: spanish, num_fewshot: 5}]", 9, "tasks.0"),
    ],
)
def test_one_mistake_does_not_hide_others_in_the_file(
    root: Path, old: str, new: str, line: int, key: str
) -> None:
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs/options.json", root / "docs")
    (root / "configs/single_card/m.yaml").write_text(
        overrides('vllm_version: "0.8.5"\n    dtyp: auto\n    max_modl_len: 5').replace(old, new)
    )
    base = loader.ConfigLoader(root)
    with pytest.raises(ConfigError) as caught:
        planner.checked(base, base.files(), PlanContext(root, lambda: "0.32.0", {}))
    told = [(m.line, m.key) for m in caught.value.mistakes]
    beside = [(7, "vllm.overrides.dtyp"), (8, "vllm.overrides.max_modl_len")]
    assert told == sorted([*beside, (line, key)]), str(caught.value)
    assert "max_log_len" not in str(caught.value)


def test_all_mistakes_of_one_model_are_reported_at_once(root: Path) -> None:
    """Unknown keys, unknown names, invalid values and options that the release lacks."""
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs/options.json", root / "docs")
    (root / "configs/single_card/m.yaml").write_text(
        'model: {name: "org/model"}\nfoo: 1\nvllm:\n  provider_config: card\n  overrides:\n'
        '    vllm_version: "0.8.5"\n    max_model_len: abc\n    no_such_option: 3\n'
        '    swap_space_gb: 4\ntasks: ["spanihs"]\nuse_chat_completions: 7\n'
    )
    around = PlanContext(root, lambda: "0.32.0", {})
    base = loader.ConfigLoader(root)
    with pytest.raises(ConfigError) as caught:
        planner.checked(base, base.files(), around)
    told = [(m.line, m.key) for m in caught.value.mistakes]
    assert told == [
        (2, "foo"), (7, "vllm.overrides.max_model_len"), (8, "vllm.overrides.no_such_option"),
        (9, "vllm.overrides.swap_space_gb"), (10, "tasks.0"), (11, "use_chat_completions"),
    ], str(caught.value)  # fmt: skip
    (root / "configs/single_card/m.yaml").write_text(MODEL.replace('"card"', '"crad"') + "foo: 1\n")
    base = loader.ConfigLoader(root)
    with pytest.raises(ConfigError) as caught:
        planner.checked(base, base.files(), around)
    assert [m.key for m in caught.value.mistakes] == ["vllm.provider_config", "foo"]


def test_generation_arguments_that_cannot_take_effect_are_refused(root: Path) -> None:
    (root / "configs/engines/vllm.yaml").write_text(ENGINE + "request_options: [top_p, min_p]\n")
    task = root / "configs/tasks/spanish.yaml"
    task.write_text(TASK + "gen_kwargs:\n  max_new_tokens: 4096\n  topp: 0.9\n  stop: [x]\n")
    with pytest.raises(ConfigError) as error:
        loader.load(root)
    room, unknown = map(str, error.value.mistakes)
    assert room.startswith("configs/tasks/spanish.yaml:3: gen_kwargs.max_new_tokens: answers of up")
    assert "max_model_len 4096 of m" in room and "configs/providers/card.yaml:1" in room
    assert unknown.startswith("configs/tasks/spanish.yaml:4: gen_kwargs.topp: is not a generation")
    assert "did you mean 'top_p'?" in unknown
    task.write_text(TASK + "gen_kwargs: {max_gen_toks: 4095, top_p: 0.9, min_p: null, n: 1}\n")
    assert loader.load(root).models


def test_a_directory_that_ends_in_yaml_is_refused(root: Path) -> None:
    (root / "configs/single_card/x.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"x\.yaml: is a directory"):
        loader.load(root)


def test_two_models_of_one_name_are_refused(root: Path) -> None:
    (root / "configs/other").mkdir()
    (root / "configs/other/m.yaml").write_text(MODEL)
    with pytest.raises(ConfigError, match=r"has the name of configs/other/m\.yaml"):
        loader.load(root)


@pytest.mark.parametrize("name", ["a b", "$(shell ls)", "-n", "a;b", "ä", "a#b", "a%b", "a:b"])
def test_a_config_name_that_make_cannot_handle_is_refused(root: Path, name: str) -> None:
    (root / f"configs/single_card/{name}.yaml").write_text(MODEL)
    with pytest.raises(ConfigError, match="has an invalid name"):
        loader.load(root)


def test_users_files_load_unchanged(root: Path) -> None:
    """Existing configs use only the keys model, vllm and tasks."""
    (root / "configs/single_card/m.yaml").write_text(MODEL)
    (model,) = loader.load(root).models
    assert (model.name, model.facts.name, model.gpus) == ("m", "org/model", 1)
    assert model.options == {"max_model_len": 4096}
    assert model.defaults == {"seed": 0}


def test_values_are_merged_in_order_of_precedence(root: Path) -> None:
    """Precedence: engine < provider < overrides < SET. Each value keeps its file and line."""
    (root / "configs/engines/vllm.yaml").write_text(ENGINE.replace("0}", "0, dtype: auto, a: 1}"))
    (root / "configs/providers/card.yaml").write_text("dtype: half\nmax_model_len: 1\na: 2\nb: 2\n")
    (root / "configs/single_card/m.yaml").write_text(overrides("max-model-len: 2\n    b: 3"))
    (model,) = loader.load(root, knobs={"SET": "max_model_len=3 vllm_version=0.10"}).models
    assert model.options == {"dtype": "half", "max_model_len": 3, "a": 2, "b": 3}
    assert model.defaults == {"seed": 0}
    assert model.serving.vllm_version == "0.10.0"
    assert model.origin["dtype"] == "configs/providers/card.yaml:1"
    assert model.origin["b"] == "configs/single_card/m.yaml:7"
    assert model.origin["max_model_len"].startswith("SET")


@pytest.mark.parametrize(
    "knob", ["x", "a=1 a=2", "--a=1", "max_model_len=lots", "max_model_len=[", "port=0"]
)
def test_an_invalid_set_knob_is_refused(root: Path, knob: str) -> None:
    with pytest.raises(ConfigError):
        loader.load(root, knobs={"SET": knob})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("max_num_batched_tokens=512  a=1", "max_num_batched_tokens=512 a=1"),
        ('engine_env={"OMP":"1"}', 'engine_env={"OMP":"1"}'),
        ("engine_source=git+https://x:y@host/a@b", "engine_source=git+https://***@host/a@b"),
    ],
)
def test_set_is_kept_without_secrets(given: str, kept: str) -> None:
    assert set_knob.without_secrets(given) == kept


def test_a_broken_config_does_not_stop_a_model_loaded_alone(root: Path, tmp_path: Path) -> None:
    (root / "configs/single_card/broken.yaml").write_text("")
    elsewhere = tmp_path / "else where" / "mine.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(MODEL)
    (model,) = loader.load(root, elsewhere).models
    assert model.name == "mine"


@pytest.mark.parametrize(
    ("written", "release"),
    [("0.8", "0.8.0"), ("v0.8.0", "0.8.0"), ("0.8.5.post1", "0.8.5.post1"), ("0.10", "0.10.0"),
     ("0.11.0rc2", "0.11.0rc2"), ("1.0.0.1", "1.0.0.1")],
)  # fmt: skip
def test_spellings_of_a_release_have_one_canonical_form(written: str, release: str) -> None:
    assert versions.normalized(written) == release


def test_merge_keys_are_merged_and_dates_stay_text() -> None:
    text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nday: 2026-09-05\n"
    document = yaml_file.parse(text, "f.yaml")
    assert document.data["more"] == {"x": 1, "y": 3}
    assert document.data["day"] == "2026-09-05"
