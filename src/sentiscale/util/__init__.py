"""General utilities that do not depend on reviews or models: atomic files, processes, progress, memory."""
