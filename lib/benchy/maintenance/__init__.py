"""Maintenance of a checkout: doctor, garbage collection, survey, wheelhouse, scaffolding."""
