"""A run: what is stale, in which order, who waits for what; status and summary."""
