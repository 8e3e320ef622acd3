"""Sources of review data: a generator of synthetic reviews, and the public Amazon collection."""
