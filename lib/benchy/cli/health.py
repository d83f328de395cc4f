"""bin/health: check an environment against its stamp."""

from __future__ import annotations

from benchy.environments import health


def main(argv: list[str]) -> int:
    if argv:
        print("bin/health: removes the stamps of environments that were changed after their build")
        return 0 if argv[0] in ("-h", "--help") else 2
    for env in health.built():
        health.condemn(env, health.flaw)
    return 0
