"""`python -m lm_eval …`: ask, score, and write the files that lm_eval 0.4.13 writes."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import __version__, asking
from .arguments import Arguments, parse

HELD = 900  # seconds; a test of benchy may take as long


def fault(tasks: tuple[str, ...]) -> str:
    pattern = os.environ.get("STANDIN_HARNESS_FAIL_TASK", "*")
    hit = any(fnmatch(task, pattern) for task in tasks)
    return os.environ.get("STANDIN_HARNESS_FAIL", "") if hit else ""


def wait_while_held() -> None:
    """Wait while the file exists that STANDIN_HARNESS_HOLD names. RuntimeError after HELD."""
    end = time.monotonic() + HELD
    while os.path.exists(os.environ.get("STANDIN_HARNESS_HOLD", "")):  # noqa: PTH110
        if time.monotonic() > end:
            raise RuntimeError(f"STANDIN_HARNESS_HOLD: the file is still there after {HELD} s")
        time.sleep(0.02)


def record(**fields: object) -> None:
    if path := os.environ.get("STANDIN_LOG_FILE"):
        with Path(path).open("ab", buffering=0) as log:
            log.write(json.dumps(fields).encode() + b"\n")


def cache(options: Arguments) -> Path | None:
    """Where answers are kept, one JSON line each; None if they are not."""
    wanted = options.use_cache if os.environ.get("STANDIN_HARNESS_CACHE") else ""
    return Path(f"{wanted}_rank0.jsonl") if wanted else None


def kept(options: Arguments) -> dict[tuple[str, int], dict[str, Any]]:
    """What an interrupted run left: (task, document) → its sample."""
    path = cache(options)
    lines = path.read_text().splitlines() if path and path.exists() else []
    return {(task, number): sample for task, number, sample in map(json.loads, lines)}


def ask(
    options: Arguments, wrong: str, known: dict[tuple[str, int], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """The samples of each task. known: those that are not asked again. RuntimeError if a request
    fails."""
    url = options.model_args["base_url"]
    args = options.model_args
    endpoint = asking.Endpoint(
        url,
        args["model"],
        "chat" in options.model,
        float(args.get("timeout", 60)),
        int(args.get("max_retries", 1)),
    )
    count = int(os.environ.get("STANDIN_HARNESS_REQUESTS", "4"))
    documents = [
        (task, number)
        for task in options.tasks
        for number in range(min(count, options.limit or count))
    ]
    pause = float(os.environ.get("STANDIN_HARNESS_SECONDS", "0")) / max(1, len(documents))
    seed = int(options.seed.split(",")[-1])

    def one(place: int) -> tuple[str, dict[str, Any]]:
        if place == len(documents) // 2:
            if wrong == "exit":
                raise RuntimeError("the stand-in harness was asked to fail")
            if wrong == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        task, number = documents[place]
        if found := known.get((task, number)):
            return task, found
        time.sleep(pause)
        wait_while_held()
        made = asking.sample(endpoint, task, number, seed)
        if path := cache(options):
            with path.open("ab", buffering=0) as file:
                file.write(json.dumps([task, number, made]).encode() + b"\n")
        return task, made

    samples: dict[str, list[dict[str, Any]]] = {task: [] for task in options.tasks}
    # With a pause the documents go one by one, so that the whole takes the time asked for.
    threads = 1 if pause else int(options.model_args.get("num_concurrent", "1"))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for task, sample in pool.map(one, range(len(documents))):
            samples[task].append(sample)
    return samples


def scores(task: str, samples: list[dict[str, Any]], wrong: str) -> dict[str, Any]:
    """One entry of `results`: each metric with its standard error, `,none` being the filter."""
    out: dict[str, Any] = {"alias": task}
    for name in samples[0]["metrics"] if samples else []:
        values = [sample[name] for sample in samples]
        mean = math.nan if wrong == "nan" else sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values)
        error = math.sqrt(spread / (len(values) - 1) / len(values)) if len(values) > 1 else "N/A"
        out[f"{name},none"], out[f"{name}_stderr,none"] = mean, error
    return out


def write(
    options: Arguments, samples: dict[str, list[dict[str, Any]]], wrong: str, started: float
) -> None:
    """<output_path>/<model>/results_<time>.json, and samples_<task>_<time>.jsonl beside it."""
    name = options.model_args["model"]
    folder = re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)
    place = Path(options.output_path) / folder
    place.mkdir(parents=True, exist_ok=True)
    when = datetime.now().isoformat().replace(":", "-")
    full = int(os.environ.get("STANDIN_HARNESS_REQUESTS", "4"))
    metrics = ["acc", "exact_match"]
    results = {
        "results": {task: scores(task, rows, wrong) for task, rows in samples.items()},
        "group_subtasks": {task: [] for task in samples},
        "configs": {
            task: {"task": task, "num_fewshot": options.num_fewshot or 0} for task in samples
        },
        "versions": dict.fromkeys(samples, 1.0),
        "n-shot": dict.fromkeys(samples, options.num_fewshot or 0),
        "higher_is_better": {task: dict.fromkeys(metrics, True) for task in samples},
        "n-samples": {
            task: {"original": full, "effective": len(rows)} for task, rows in samples.items()
        },
        "config": {
            "model": options.model,
            "model_args": options.model_args,
            "limit": options.limit,
            "gen_kwargs": options.gen_kwargs,
            "random_seed": int(options.seed.split(",")[0]),
            "fewshot_seed": int(options.seed.split(",")[-1]),
        },
        "git_hash": None,
        "date": time.time(),
        "lm_eval_version": __version__,
        "transformers_version": "N/A",
        "task_hashes": {
            task: "".join(row["doc_hash"][:8] for row in rows) for task, rows in samples.items()
        },
        "model_source": options.model,
        "model_name": name,
        "model_name_sanitized": folder,
        "start_time": started,
        "end_time": time.perf_counter(),
        "total_evaluation_time_seconds": str(time.perf_counter() - started),
    }
    (place / f"results_{when}.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False), encoding="utf-8"
    )
    if options.log_samples:
        for task, rows in samples.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (place / f"samples_{task}_{when}.jsonl").write_text(lines, encoding="utf-8")


def main(argv: list[str]) -> int:
    if argv in (["--version"], ["-V"]):
        print(__version__)
        return 0
    started = time.perf_counter()
    options = parse(argv)
    wrong = fault(options.tasks)
    known = kept(options)
    record(
        event="eval",
        tasks=options.tasks,
        model=options.model_args.get("model"),
        limit=options.limit,
        version=__version__,
        pid=os.getpid(),
        argv=argv,
        kept=len(known),
    )
    print(f"INFO:lm_eval: {len(options.tasks)} tasks, {options.model}", file=sys.stderr)
    samples = ask(options, wrong, known)
    if wrong != "empty" and options.output_path:
        write(options, samples, wrong, started)
    for task, rows in samples.items():
        print(f"|{task}|{json.dumps(scores(task, rows, wrong))}|")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
