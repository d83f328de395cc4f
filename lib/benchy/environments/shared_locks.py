"""Read and write the shared locks, which are committed in configs/locks.

Also reads the locks of a wheelhouse.
"""

from __future__ import annotations

from benchy.core import files, paths
from benchy.core.errors import UsageError
from benchy.display.messages import say
from benchy.environments import environment_spec, lock_file, pip_settings, uv_options
from benchy.environments.environment_spec import BuildSpec


def shared_text(spec: BuildSpec) -> str | None:
    """Return the text of a shared lock that was made from the same inputs; None if there is none.

    A lock of other inputs is skipped with a warning. Using it would install outdated packages, and
    an error would stop every model whenever an engine's file gets a new repair. Results record
    their lock, so the substitution stays visible.
    """
    wheels = pip_settings.wheelhouse()
    if wheels:  # a wheelhouse contains the files of its own locks
        path = wheels / "locks" / f"{spec.env}.lock"
        if wrong := lock_file.flaw(path):
            say("WARNING", f"{path} {wrong}; it is ignored")
        elif lock_file.header(path).get("inputs") == spec.inputs:
            return path.read_text(encoding="utf-8")
    path = paths.shared_lock(spec.env)
    header = lock_file.header(path)
    if wrong := lock_file.flaw(path):
        say("WARNING", f"{path} {wrong}; it is ignored")
        return None
    if not header:
        return None
    same = (
        header.get("inputs") == spec.inputs and header.get("platform") == environment_spec.PLATFORM
    )
    late = header.get("machine_cutoff") != uv_options.machine_cutoff() and uv_options.holding(
        header.get("cutoff")
    )
    if same and not late:
        return path.read_text(encoding="utf-8")
    if same:
        why = f"may contain files newer than this machine's cutoff, {late}; it is ignored"
    elif header.get("platform") != environment_spec.PLATFORM:
        why = f"is for {header.get('platform')}, not {environment_spec.PLATFORM}; it is ignored"
    else:
        why = f"was made from another configuration; bin/venv lock --fresh {spec.env} renews it"
    say("WARNING", f"{path} {why}")
    return None


def share(spec: BuildSpec, text: str | None = None) -> None:
    """Write configs/locks/<env>.lock, to be committed. text: the lock; None: the one in venvs/.

    Raises UsageError for the main environment and for a lock that names a local file.
    """
    if spec.kind == "main":
        raise UsageError(
            "the main environment's lock is uv.lock, which is shared", "make lock-main"
        )
    text = paths.lock(spec.env).read_text(encoding="utf-8") if text is None else text
    if "file://" in text:
        hint = "use its URL or a release instead, or do not share the lock"
        raise UsageError(f"the lock of {spec.env} refers to a file on this machine", hint, "SHARE")
    files.replace(paths.shared_lock(spec.env), text)
