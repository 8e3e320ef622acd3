"""Predict time and cost on machines one does not have, by simulating steps from measured costs.

Measuring the costs belongs in `study.bench`; only the network is timed here (`probe`).
"""
