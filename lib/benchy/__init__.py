"""Evaluates many language models, each on the vLLM release that it needs.

Rooms, from the top down. A room imports only rooms below it (tests/unit/test_rooms.py).

  cli            one module for each command of bin/: argparse, then a call
  maintenance    looks after a checkout: doctor, garbage, survey, wheelhouse, scaffold
  run            a run of many models: schedule, dispatcher, jobs, status, summary
  reporting      results collected, compared, ranked, drawn, published
  evaluation     one task on one server: preflight, harness, output, result
  serving        one engine server: preparation, start, proof, log, known failures
  cluster        launchers, their queues, servers over several nodes
  plan           from configuration to rules and specs; what is stale and why
  engines        the options of each engine release
  hub            the model hub: tokens, cache, access, model facts
  environments   resolve, lock, build, check, list; settings of uv and pip
  config         YAML to validated, merged configuration; its schema and reference
  devices        GPUs, leases, the waiting line, ports
  process        child processes that never outlive their parent
  scripts        programs that other environments' Pythons run
  display        messages, progress, live lines, notes of what is under way
  core           errors, paths, names, files, specs, hashes, versions, knobs
"""

# pyproject.toml has it too; a test compares them.
__version__ = "0.1.0"
