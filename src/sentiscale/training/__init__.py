"""From prepared data to a run directory: setup, training loop, checkpoints, validation, final scores.

Nothing here measures for benchmarks (`study.bench`) or implements the exchange between ranks (`parallel`).
"""
