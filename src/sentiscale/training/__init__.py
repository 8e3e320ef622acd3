"""From prepared data to a run directory: set-up, training loop, checkpoints, validation, final scores.

Nothing here measures for benchmarks (`study.bench`) or knows how ranks exchange (`parallel`).
"""
