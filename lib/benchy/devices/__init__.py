"""GPUs, leases of devices, the waiting line, and ports."""
