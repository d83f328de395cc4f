"""YAML files to validated values, with file and line."""
