"""bin/health: check an environment against its stamp."""

from __future__ import annotations

from benchy.core import paths
from benchy.environments import health, usage_locks


def main(argv: list[str]) -> int:
    if argv:
        print("bin/health: removes the stamps of environments that were changed after their build")
        return 0 if argv[0] in ("-h", "--help") else 2
    for env in health.built():
        if health.flaw(env):
            # Check again under the builder's lock: an environment being replaced looks broken.
            with usage_locks.held(env):
                if paths.stamp(env).exists() and (why := health.flaw(env)):
                    health.condemn(env, why)
    return 0
