"""Measure how training scales: benchmarks, analysis, capacity plans, and comparison with other tools.

Pages and charts belong in `report`.
"""
