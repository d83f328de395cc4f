"""What looks after a checkout: doctor, garbage, survey, wheelhouse, scaffold."""
