"""bin/new: write a config for a model."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from benchy.config import loader
from benchy.core import names, paths
from benchy.core.errors import ConfigError, Failure, UsageError
from benchy.devices import gpu
from benchy.display.messages import say
from benchy.hub import model_info
from benchy.maintenance import scaffold


def main(argv: list[str]) -> int:
    """Run `bin/new MODEL [--name NAME] [--provider NAME] [--tasks "A B"]`.

    Raises:
        UsageError: An argument is wrong, or the model has a config already.
        ConfigError: The new config is not valid; it is deleted again.
        Failure: The files of a local model cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="bin/new",
        description="Write a config for a model, with facts from its files.",
    )
    parser.add_argument("model", nargs="?", default=os.environ.get("MODEL", ""))
    parser.add_argument("--name", default=os.environ.get("NAME", ""), help="of the file")
    parser.add_argument("--provider", default=os.environ.get("PROVIDER", ""))
    parser.add_argument(
        "--tasks",
        default=os.environ.get("TASKS", ""),
        help=f"of configs/tasks (asks, or {scaffold.QUICK})",
    )
    args = parser.parse_args(argv)
    model = args.model
    if not model:
        raise UsageError(
            "is missing", "write make new MODEL=org/name (of the hub), or a directory", "MODEL"
        )
    folder = paths.home(Path(os.environ.get("BENCHY_CWD", "."), paths.home(model)))
    if folder.is_dir():
        model = str(folder.resolve())
    elif not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model):
        raise UsageError(
            f"{model!r} is neither a directory nor a model on the hub", "write org/name", "MODEL"
        )
    name = args.name or Path(model).name
    if not names.good(name):
        raise UsageError(
            f"{name!r} is not a valid model name", f"add NAME={scaffold.proposed(name)}", "NAME"
        )
    config = loader.ConfigLoader(paths.ROOT)
    path = scaffold.FOLDER / f"{name}.yaml"
    taken = [p for p in config.files().files if p.stem == name]
    if path.exists() or taken:
        existing = path if path.exists() else taken[0].relative_to(paths.ROOT)
        hint = f"add NAME={scaffold.proposed(name, [p.stem for p in config.files().files])}"
        raise UsageError(f"the model {name} already exists: {existing}", hint)
    cards = gpu.gpus()
    provider = args.provider or ("vllm_single_card" if cards else "vllm_cpu")
    if provider not in config.known.providers:
        near = names.near(provider, config.known.providers)
        raise UsageError(
            f"no provider is named {provider!r}", f"did you mean {near!r}?", "PROVIDER"
        )
    tasks = scaffold.tasks_of(args.tasks, config.known.tasks)
    facts, why, config_lines = None, "", []
    try:
        facts = model_info.of(model)
    except Failure as failure:
        if folder.is_dir():
            raise
        why = failure.what
    if facts:
        serving = config.known.providers[provider][0].model_dump()
        config_lines = list(scaffold.lines(facts, serving, cards if provider != "vllm_cpu" else []))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(scaffold.text(model, facts, why, provider, config_lines, tasks))
    try:
        loader.load(paths.ROOT, path)
    except ConfigError:
        path.unlink()
        raise
    say("NEW", f"{path}{f'  (without its files: {why})' if why else ''}")
    print(path.read_text(encoding="utf-8"), end="")
    if others := sorted(config.known.tasks.keys() - set(tasks)):
        say("TASKS", f"{' '.join(tasks)}; other tasks:")
        print("\n".join(scaffold.described(others, config.known.tasks)), file=sys.stderr)
        print("  make tasks lists the tasks of the harness", file=sys.stderr)
    say("", f"next: make eval CONFIG={path} TEST=1")
    sys.stdout.flush()
    return 0
