"""YAML files, read into validated values that keep their file and line."""
