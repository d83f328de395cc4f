"""One task on one server: checks, the harness, its output, the result."""
