"""A run of many models: scheduling, dispatch, cluster jobs, status and summary."""
