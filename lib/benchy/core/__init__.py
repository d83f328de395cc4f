"""Errors, paths, names, files, specs, hashes, versions, knobs."""
