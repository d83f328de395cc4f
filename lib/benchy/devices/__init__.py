"""GPUs, leases, the waiting line, ports."""
