"""Checks an environment from inside: does the release import, list its options, load a model?

    ENV/bin/python -I lib/benchy/scripts/probe_environment.py SPEC.json MODEL_DIR OUT_DIR

Runs under the environment's own Python (3.8+), with only the standard library until the package
under test is imported. Reads the environment's spec and the tiny model. Writes OUT/check.json and,
for engines, OUT/flags.json. Status 1 if a step fails; check.json then names the step and the
package that is the likely cause. Reports the installed version; the caller compares it with the
requested one. Needs no GPU. Loading a tokenizer is part of the check because that is how old
releases break (vLLM 0.8.5 with transformers 5), even if they resolve and import.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Modules of the OpenAI server's parser and the tokenizer loader, by release; newest first.
# An engine that is not vLLM may have make_arg_parser in its top-level module.
PARSERS = (
    ".entrypoints.openai.api_server", ".entrypoints.common.cli_args",
    ".entrypoints.launchers.cli_args",
    ".entrypoints.openai.cli_args", "",
)  # fmt: skip
PARSER_CLASSES = (".utils.argparse_utils", ".utils")
WRAPPERS = ("_optional_type", "_parse_type")
TOKENIZERS = ("vllm.tokenizers", "vllm.transformers_utils.tokenizer")
NOTED = ("torch", "transformers", "tokenizers", "numpy", "triton", "xgrammar", "datasets")
SENTENCE = "¿Dónde está la biblioteca? A manhã é fria."


class Broken(Exception):
    """A step found something wrong that raised no exception."""


def distribution(package: str) -> str:
    """Return the installed version of a package. Raises Broken if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise Broken(f"{package} is not installed") from None


def exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def on_cpu() -> bool:
    """Make vLLM treat this machine as CPU-only if it finds no device. Return whether it did.

    On a machine without a GPU, a CUDA build has no platform at all. Some releases (0.9 to 0.11)
    then cannot even list their options: "Failed to infer device type". Modules hold references to
    the platform object, so its class is replaced and not the object.
    """
    module = sys.modules.get("vllm.platforms")
    if module is None:
        return False
    now = module.current_platform
    if getattr(now, "device_type", ""):
        return False
    now.__class__ = importlib.import_module("vllm.platforms.cpu").CpuPlatform
    return True


def on_any_machine(work: Callable[[], Any]) -> Any:
    """Call work(). If it fails because vLLM finds no device, call it again as on a CPU machine."""
    try:
        return work()
    except Exception:
        if not on_cpu():
            raise
        return work()


def parser(module: str) -> argparse.ArgumentParser:
    """Return the argument parser of the release's server. Raises Broken if none is found."""
    for suffix in PARSERS:
        name = module + suffix
        if not exists(name):
            continue
        loaded = importlib.import_module(name)
        make = getattr(loaded, "make_arg_parser", None)
        if make is None:
            continue
        empty = getattr(loaded, "FlexibleArgumentParser", None)
        for place in PARSER_CLASSES:
            if empty is None and exists(module + place):
                empty = getattr(
                    importlib.import_module(module + place), "FlexibleArgumentParser", None
                )
        built = make((empty or argparse.ArgumentParser)())
        assert isinstance(built, argparse.ArgumentParser)
        return built
    raise Broken(f"{module} has no make_arg_parser where vLLM's releases have it")


def flags(built: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Return a parser's long options, without the --no- forms of two-sided ones."""
    out: dict[str, dict[str, Any]] = {}
    for action in built._actions:
        kind = type(action).__name__
        for flag in action.option_strings:
            if not flag.startswith("--") or (flag.startswith("--no-") and "Boolean" in kind):
                continue
            out[flag] = {
                "name": action.dest,
                "type": type_name(action.type),
                "nargs": action.nargs,
                "default": plain(action.default),
                "choices": None if action.choices is None else [plain(c) for c in action.choices],
                "action": kind,
                "help": action.help,
            }
    return dict(sorted(out.items()))


def type_name(kind: Any) -> str | None:
    """Return the name of an option's type: int, loads, nullable_kvs …

    The name never contains an address, so that the file is the same every time.
    """
    if kind is None:
        return None
    inner = getattr(kind, "func", kind)  # a functools.partial
    name = str(getattr(inner, "__name__", type(inner).__name__))
    # vLLM wraps types: optional_type(int) returns a closure over the real type.
    held = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or ()]
    meant = [content for content in held if callable(content)]
    return type_name(meant[0]) if name in WRAPPERS and len(meant) == 1 else name


def plain(value: Any) -> Any:
    """Convert a value to one that JSON can represent."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(plain(item)) for item in value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    text = getattr(value, "value", None)  # an Enum
    return text if isinstance(text, (int, str)) else type(value).__name__


def round_trip(tokenizer: Any) -> None:
    numbers = tokenizer.encode(SENTENCE, add_special_tokens=False)
    back = tokenizer.decode(numbers)
    if back != SENTENCE:
        raise Broken(f"its tokenizer turns {SENTENCE!r} into {back!r}")


def vllm_tokenizer(model: str) -> str:
    for name in TOKENIZERS:
        if exists(name):
            load = getattr(importlib.import_module(name), "get_tokenizer", None)
            if load:
                round_trip(load(model))
                return name
    raise Broken("no tokenizer loader where vLLM's releases have it")


def vllm_model(model: str) -> str:
    """Load the config and resolve the model's class, as a starting server does."""
    config_class = importlib.import_module("vllm.config").ModelConfig
    registry = importlib.import_module("vllm").ModelRegistry
    known = {
        "model": model, "task": "auto", "tokenizer": model, "tokenizer_mode": "auto",
        "trust_remote_code": False, "dtype": "float32", "seed": 0,
    }  # fmt: skip
    takes = inspect.signature(config_class).parameters
    config = config_class(**{key: value for key, value in known.items() if key in takes})
    names = list(config.hf_config.architectures)
    resolve = registry.resolve_model_cls
    two = len(inspect.signature(resolve).parameters) > 1
    resolved = resolve(names, config) if two else resolve(names)
    return str(getattr(resolved[0], "__name__", resolved[0]))


def harness(module: str, model: str) -> str:
    """Import the harness's completions client, and test the tokenizer that it loads."""
    for part in (".evaluator", ".models.openai_completions"):
        if exists(f"{module}.models") and exists(module + part):
            importlib.import_module(module + part)
    if not exists("transformers"):
        return "no transformers here"
    auto = importlib.import_module("transformers").AutoTokenizer
    round_trip(auto.from_pretrained(model))
    return "transformers"


def culprit(error: BaseException) -> str:
    """Return the package that most likely caused an error, with its version, or "".

    An example is "transformers 5.23.0". It is the package that a name could not be imported from,
    or else the one whose code raised the error.
    """
    frames = traceback.extract_tb(error.__traceback__)
    tops = [parts_after(frame.filename) for frame in reversed(frames)]
    if isinstance(error, ImportError) and error.name:
        tops.insert(0, error.name.split(".")[0])
    owners = getattr(importlib.metadata, "packages_distributions", None)  # Python 3.10 on
    known = owners() if owners else {}
    for top in filter(None, tops):
        for name in known.get(top, [top]):
            try:
                return f"{name} {importlib.metadata.version(name)}"
            except importlib.metadata.PackageNotFoundError:
                continue
    return ""


def parts_after(filename: str) -> str:
    """Return the top-level package of a file in site-packages, or ""."""
    parts = Path(filename).parts
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts[:-1] else ""


def steps(spec: dict[str, Any], model: str, out: Path) -> list[tuple[str, Callable[[], Any]]]:
    """Return (name, function) of the checks for this spec, in order."""
    module, kind = spec["module"], spec["kind"]

    def options() -> str:
        table = flags(on_any_machine(lambda: parser(module)))
        (out / "flags.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        return f"{len(table)} options"

    todo: list[tuple[str, Callable[[], Any]]] = [
        ("version", lambda: distribution(spec["package"])),
        (f"import {module}", lambda: importlib.import_module(module) and None),
    ]
    if kind == "harness":
        todo.append(("load a tokenizer", lambda: harness(module, model)))
        return todo
    todo.append(("list its options", options))
    if module == "vllm":
        todo.append(("load a tokenizer", lambda: on_any_machine(lambda: vllm_tokenizer(model))))
        todo.append(("load a model's class", lambda: on_any_machine(lambda: vllm_model(model))))
    return todo


def main(argv: list[str]) -> int:
    spec_file, model, out = argv[0], argv[1], Path(argv[2])
    spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
    os.dup2(2, 1)  # libraries print to stdout; all output belongs in the log
    done: list[dict[str, Any]] = []
    result: dict[str, Any] = {"ok": True, "python": platform.python_version(), "steps": done}
    for name, work in steps(spec, model, out):
        print(f"check: {name}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            detail = work()
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            text = str(error) if isinstance(error, Broken) else text
            result.update(ok=False, failed={"step": name, "error": text.splitlines()[0][:500]})
            result["failed"]["culprit"] = "" if isinstance(error, Broken) else culprit(error)
            break
        done.append({"step": name, "seconds": round(time.monotonic() - start, 1), "found": detail})
        if name == "version":
            result["version"] = detail
    result["packages"] = {}
    for name in NOTED:
        try:
            result["packages"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    (out / "check.json").write_text(text, encoding="utf-8")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    # Threads and processes that an import started are no longer needed, and may never end.
    sys.stderr.flush()
    os._exit(status)
