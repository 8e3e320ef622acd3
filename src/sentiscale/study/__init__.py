"""Measuring how training scales: benchmarks, analysis, plans for other machines, comparison with other tools.

Pages and charts are made in `report`.
"""
