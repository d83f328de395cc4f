"""Errors, paths, names, files, hashes, versions, knobs."""
