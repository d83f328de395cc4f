"""What the options of each engine release are."""
