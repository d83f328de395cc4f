"""Results read, compared, ranked, drawn and published."""
