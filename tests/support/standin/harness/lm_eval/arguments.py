"""The part of lm_eval's command line that changes what the stand-in does; the rest is let pass."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Arguments:
    """rest: what was given besides and has no effect here."""

    model: str
    model_args: dict[str, str]
    tasks: tuple[str, ...]
    output_path: str
    limit: int | None
    num_fewshot: int | None
    seed: str
    log_samples: bool
    gen_kwargs: str
    use_cache: str
    rest: tuple[str, ...] = field(default=())


def pairs(words: Sequence[str]) -> dict[str, str]:
    """`a=1,b=2`, `a=1 b=2` or a JSON object."""
    text = ",".join(words)
    if text.lstrip().startswith("{"):
        return {key: str(value) for key, value in json.loads(text).items()}
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)


def parse(argv: Sequence[str]) -> Arguments:
    """What `lm_eval run …` or, as before 0.4.10, `lm_eval …` was asked for."""
    words = list(argv[1:] if argv[:1] == ["run"] else argv)
    parser = argparse.ArgumentParser(prog="lm-eval", allow_abbrev=False)
    parser.add_argument("--model", "-M", default="local-completions")
    parser.add_argument("--model_args", "-a", nargs="+", default=[])
    parser.add_argument("--tasks", "-t", nargs="+", required=True)
    parser.add_argument("--output_path", "-o", default="")
    parser.add_argument("--limit", "-L", type=float, default=None)
    parser.add_argument("--num_fewshot", "-f", type=int, default=None)
    parser.add_argument("--seed", default="0,1234,1234,1234")
    parser.add_argument("--gen_kwargs", nargs="+", default=[])
    parser.add_argument("--log_samples", "-s", action="store_true")
    parser.add_argument("--use_cache", "-c", default="")
    known, rest = parser.parse_known_args(words)
    return Arguments(
        model=known.model,
        model_args=pairs(known.model_args),
        tasks=tuple(name for word in known.tasks for name in word.split(",") if name),
        output_path=known.output_path,
        limit=None if known.limit is None else int(known.limit),
        num_fewshot=known.num_fewshot,
        seed=known.seed,
        log_samples=known.log_samples,
        gen_kwargs=",".join(known.gen_kwargs),
        use_cache=known.use_cache,
        rest=tuple(rest),
    )
