# Each include adds its own lines: help is a double-colon goal.

.PHONY: help
