"""Evaluates many language models, each on the vLLM release that it needs.

The packages, from the top down. A package imports only packages below it
(tests/unit/test_packages.py).

  cli            one module for each command of bin/: argparse, then a call
  maintenance    doctor, garbage collection, survey of releases, wheelhouse, scaffolding
  run            a run of many models: schedule, dispatcher, cluster jobs, status, summary
  reporting      collecting, comparing, ranking, drawing and publishing results
  evaluation     one task on one server: preflight, harness, output, result
  serving        one engine server: preparation, start, check of its identity, log, failures
  cluster        launchers, their job queues, servers over several nodes
  plan           generates rules and specs from the configuration; what is stale and why
  engines        the options of each engine release
  hub            the model hub: tokens, cache, access, model facts
  environments   resolving, locking, building, checking, listing; settings of uv and pip
  config         validates and merges YAML files; the schema and its reference
  devices        GPUs, leases, the queue for them, ports
  process        child processes, which never outlive their parent
  scripts        programs that run in other environments
  display        messages, progress, live lines, records of current activity
  core           errors, paths, names, files, specs, hashes, versions, knobs
"""

# pyproject.toml has it too; a test compares them.
__version__ = "0.1.0"
