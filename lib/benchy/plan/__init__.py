"""From the configuration to rules and specs; what is stale and why."""
