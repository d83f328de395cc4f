"""Reading, comparison, ranking, pages and publication of results."""
