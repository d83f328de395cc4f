"""Messages, progress, live lines, and notes about work in progress."""
