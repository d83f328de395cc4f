"""Launchers, their job queues, servers over several nodes."""
