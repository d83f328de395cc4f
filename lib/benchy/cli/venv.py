"""bin/venv: lock, build, check, list and remove environments."""

from __future__ import annotations

import argparse
import os
import sys

from benchy.core import knobs, names, paths
from benchy.core.errors import ConfigError, Failure, UsageError
from benchy.display import activity, units
from benchy.display.messages import agreed, colour, say
from benchy.display.progress import Step
from benchy.environments import (
    audit,
    builder,
    checker,
    health,
    inventory,
    lock_file,
    node_copies,
    release_date,
    removal,
    resolver,
    shared_locks,
    tables,
    usage_locks,
    uv,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.maintenance import activity_check
from benchy.process.signals import end_once


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/venv", description="Manage environments: one directory for each set of packages."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, takes_env: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        if takes_env:
            sub.add_argument("env", nargs="?", metavar="ENV", help="its name, as in venvs/ENV")
            sub.add_argument("--version", help="instead of ENV: a release, such as 0.8.0")
            sub.add_argument("--engine", help="of which engine (default: the main one, vllm)")
            sub.add_argument("--cutoff", help="packages as of: release, none, or a date")
        return sub

    sub = verb("lock", "resolve its packages to venvs/ENV.lock, if anything has changed")
    fresh = "resolve again in any case, and show the differences"
    sub.add_argument("--fresh", action="store_true", help=fresh)
    sub.add_argument("--share", action="store_true", help="write it to configs/locks as well")
    sub = verb("create", "build it unless it is complete and up to date")
    sub.add_argument("--anew", action="store_true", help="build it even if it is up to date")
    sub.add_argument("--soft", action="store_true", help="report a failure, but exit with 0")
    sub = verb("list", "list all environments: state, releases, models, size", takes_env=False)
    sub.add_argument("--format", choices=["text", "json"], default="text")
    sub = verb("info", "show one environment in detail")
    sub.add_argument("--format", choices=["text", "json"], default="text")
    verb(
        "check",
        "check it again: packages, files, import, options, tokenizer, model",
    )
    verb("pack", "write it to one archive, for nodes of a launcher that have local disks")
    verb("remove", "remove it; its lock is kept")
    sub = verb(
        "prune",
        "remove those that no config needs, and leftovers of killed builds",
        takes_env=False,
    )
    sub.add_argument("--yes", action="store_true", help="without confirmation (as YES=1)")
    options = parser.parse_args(argv)
    end_once()
    if options.verb == "list":
        return tables.show_list(options.format == "json")
    if options.verb == "prune":
        return prune(options.yes)
    env = _named(options)
    if options.verb == "remove":
        removed = removal.remove(env)
        if env == paths.MAIN:
            say("", ".venv stays: benchy runs from it; vLLM is installed again when it is needed")
        else:
            say("REMOVED" if removed else "", env if removed else f"{env} is not built")
        return 0
    if options.verb == "pack":
        if not health.stamp(env):
            BuildSpec.read(env)  # raises if nothing can be built either
        node_copies.pack(env)
        return 0
    if options.verb == "info":
        return tables.show_info(env, options.format == "json")
    spec = BuildSpec.read(env)
    try:
        return _work(options, spec)
    except release_date.NoSuchRelease as error:
        from benchy.plan import unavailable  # noqa: PLC0415 - imports the whole schema

        wrong = ConfigError(
            unavailable.mistakes(spec, error.missing, "VERSION" if options.version else "")
        )
        if not getattr(options, "soft", False):
            raise wrong from None
        for mistake in wrong.mistakes:
            print(f"{colour('error:', '31')} {mistake}", file=sys.stderr)
        return 0


def _work(options: argparse.Namespace, spec: BuildSpec) -> int:
    """Run the verb lock, check or create, and return the exit status."""
    env = spec.env
    with Step("VENV", env, "environment", env, activity.BUILDING):
        if options.verb == "lock":
            share = options.share or (options.fresh and knobs.on("SHARE"))
            relock(spec, options.fresh, share)
        elif options.verb == "check":
            if not health.stamp(env):
                raise UsageError(f"{env} is not built", f"bin/venv create {env}")
            print(f"{env}: {inspect(spec)} works")
        else:
            return create(spec, options.soft, options.anew)
    return 0


def relock(spec: BuildSpec, fresh: bool, share: bool) -> None:
    """Resolve the lock if needed.

    Args:
        spec: The environment.
        fresh: Resolve in any case, and print the packages that changed.
        share: Also write the lock to configs/locks.
    """
    path = paths.lock(spec.env)
    before = lock_file.packages(path)
    changed = builder.ensure_lock(spec, fresh)
    now = lock_file.packages(path)
    if changed:
        cutoff = lock_file.header(path).get("cutoff")
        day = f" as of {cutoff[:10]}" if cutoff else "" if spec.kind == "main" else " as of today"
        say("LOCKED", f"{path}: {len(now)} packages{day}")
    if fresh and before:
        lines = list(lock_file.differences(before, now))
        print("\n".join(lines) or f"{path}: the same {len(now)} packages as before")
    if share:
        shared_locks.share(spec)
    if share or (fresh and paths.shared_lock(spec.env).exists()):
        say("SHARED", f"{paths.shared_lock(spec.env)}: commit it")


def create(spec: BuildSpec, soft: bool, anew: bool = False) -> int:
    """Build an environment if needed.

    Args:
        spec: The environment.
        soft: Print a failure and return 0, for `make results`, which then uses a fallback. A
            release that does not exist is raised all the same.
        anew: Build in any case.
    """
    try:
        if builder.create(spec, anew):
            builder.say_built(spec)
    except Failure as error:
        if not soft or isinstance(error, release_date.NoSuchRelease):
            raise
        print(f"{colour('failed:', '31')} {error}", file=sys.stderr)
    return 0


def inspect(spec: BuildSpec) -> str:
    """Run every check on a built environment, and return the version that it has.

    An environment that differs from what was built loses its stamp, so that the next run rebuilds
    it. Raise Failure if it differs or a check fails.
    """
    folder, log = paths.env_dir(spec.env), resolver.log_path(spec.env)
    edited: dict[str, list[str]] = {}

    def difference(env: str) -> str:
        edited.clear()
        if why := health.flaw(env) or audit.against_lock(spec, log):
            return why
        edited.update(audit.against_records(folder, health.stamp(env).get("distributions")))
        return health.EditedFiles.of([name for names in edited.values() for name in names])

    with usage_locks.used(spec.env):  # another make must not replace it during the check
        if health.condemn(spec.env, difference):
            packages = " ".join(name.rpartition("-")[0] for name in edited)
            hint = f"{uv.word()} cache clean {packages}   (it may share those files); then "
            again = f"bin/venv create {spec.env} builds it again"
            raise Failure(f"{spec.env} is broken", f"{hint if edited else ''}{again}")
        return checker.check(spec, folder)


def _named(options: argparse.Namespace) -> str:
    """Return the environment that ENV names, or --version, --engine and --cutoff.

    The spec of an environment that is not named by ENV is written. Raise UsageError or ConfigError.
    """
    if options.env and (options.version or options.engine or options.cutoff):
        raise UsageError("ENV and --version name different environments", "write only one of them")
    if options.env:
        if options.env != os.path.basename(options.env) or options.env.startswith("."):  # noqa: PTH119
            raise UsageError(f"{options.env!r} is not an environment's name", "bin/venv list")
        return str(options.env)
    return _of_version(options.version or "", options.engine or "", options.cutoff or "")


def _of_version(version: str, engine_name: str, cutoff: str) -> str:
    """Return the environment of a release of an engine as of a cutoff, and write its spec.

    Each argument may be "": then the engine's default release, the main engine and the engine's own
    cutoff apply. The main engine without a release gives the main environment, and writes nothing.
    """
    # Importing pydantic takes a quarter of a second, so these imports are here.
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    from benchy.config import loader, provider_schema  # noqa: PLC0415
    from benchy.core import files, hashing  # noqa: PLC0415
    from benchy.plan import environment_specs  # noqa: PLC0415

    if version:
        try:
            Version(version)
        except InvalidVersion:
            raise UsageError(
                f"{version!r} is not a release", "write e.g. VERSION=0.8.0", "VERSION"
            ) from None
    engines = loader.load_engines(paths.ROOT)
    if not engine_name:
        engine_name = next((name for name, e in engines.items() if e and e.main), "vllm")
    engine = engines.get(engine_name)
    if engine is None:
        nearest = names.near(engine_name, engines)
        known = f"known engines: {', '.join(sorted(engines))}"
        hint = f"did you mean ENGINE={nearest}?" if nearest else known
        raise UsageError(f"no engine is named {engine_name!r}", hint, "ENGINE")
    if not version and engine.main:
        if cutoff:
            raise UsageError(
                "uv.lock defines the main environment",
                "add a release, as in VERSION=0.8.0",
                "CUTOFF",
            )
        return paths.MAIN
    version = version or engine.default_version or ""
    if not version:
        raise UsageError(
            f"no release of {engine_name} is given", "add one, as in VERSION=0.8.0", "VERSION"
        )
    try:
        varied = provider_schema.Provider(cutoff=cutoff or None)
    except ValueError:
        what = f"{cutoff!r} is not a date, `release` or `none`"
        raise UsageError(what, "write e.g. CUTOFF=2025-04-01", "CUTOFF") from None
    spec = environment_specs.environment_spec(
        environment_specs.ReleaseRequest(engine_name, engine, version, "the command line", varied)
    )
    path = paths.env_spec(spec["env"])
    files.write(path, hashing.canonical(environment_specs.stored(spec, paths.ROOT)))
    return str(spec["env"])


def prune(really: bool) -> int:
    """Show the orphans, ask, and remove them. Leftovers of killed builds are removed unasked.

    really: do not ask. Raise UsageError without a plan, because everything would be an orphan.
    """
    if not inventory.plan():
        raise UsageError("the needed environments are unknown", inventory.PLAN_FIRST)
    removal.sweep()
    needed = inventory.users()
    for plan in activity_check.plans():  # runs that began before a config changed
        needed |= {env: ["a run under way"] for env in plan["environments"]}
    rows = [inventory.row(env, needed) for env in inventory.names()]
    orphans = [row for row in rows if row.state == "orphan" and row.env != paths.MAIN]
    for row in orphans:
        say("ORPHAN", f"{row.env}: {units.human(row.alone)} of {units.human(row.size)} freed")
    if orphans and (really or agreed(f"Remove {len(orphans)} that no config needs?")):
        for row in orphans:
            with usage_locks.free(row.env) as free:
                if free:
                    removal.take_away(row.env)
                    paths.lock(row.env).unlink(missing_ok=True)
            say("REMOVED" if free else "KEPT", row.env if free else f"{row.env}: it is in use")
    return 0
