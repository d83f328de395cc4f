"""The options of each engine release."""
