"""Resolve, lock, build, check and list environments, with the machine's uv and pip settings."""
