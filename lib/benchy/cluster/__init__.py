"""Launchers, their queues of jobs, servers over several nodes."""
