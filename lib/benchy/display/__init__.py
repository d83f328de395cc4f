"""Messages, progress, live lines, notes of what is under way."""
