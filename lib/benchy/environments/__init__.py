"""Environments: resolve, lock, build, check, list; the settings of uv and pip."""
