"""Reviews to try things on: generated ones, and the public Amazon collection."""
